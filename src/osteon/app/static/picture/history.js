// Changes of a picture's bits, and the way back: each step keeps, as bits, which pixels of a box it turned over.
import { unite } from "osteon-picture/shapes.js";

const MAX_BYTES = 64 * 2 ** 20; // of all steps; the oldest are forgotten first

export class History {
  constructor(words, size, most = MAX_BYTES) {
    Object.assign(this, { words, size, most, done: [], undone: [], bytes: 0 });
    this.turned = new Map(); // by structure: a byte for each pixel that the step in the making turned over
    this.boxes = new Map();
    this.spare = []; // such bytes, all 0
  }
  has(structure, n) { return (this.words[structure >> 5][n] >>> (structure & 31)) & 1; }
  mask(structure) { // a byte for each pixel
    const words = this.words[structure >> 5], bit = structure & 31, mask = new Uint8Array(words.length);
    for (let n = 0; n < words.length; n++) mask[n] = (words[n] >>> bit) & 1;
    return mask;
  }
  pack(structure) { // a bit for each pixel
    const words = this.words[structure >> 5], bit = structure & 31, bits = new Uint8Array(Math.ceil(words.length / 8));
    for (let n = 0; n < words.length; n++) bits[n >> 3] |= ((words[n] >>> bit) & 1) << (n & 7);
    return bits;
  }
  owners() { // the number of a pixel's structure and 1, where structures exclude one another
    const owners = new Uint8Array(this.words[0].length);
    this.words.forEach((words, layer) => { for (let n = 0; n < words.length; n++) if (words[n]) owners[n] = 32 * layer + 32 - Math.clz32(words[n]); });
    return owners;
  }
  set(structure, n, on) {
    if (this.has(structure, n) === +on) return;
    let turned = this.turned.get(structure);
    if (!turned) this.turned.set(structure, (turned = this.spare.pop() ?? new Uint8Array(this.size[0] * this.size[1])));
    const x = n % this.size[0], y = (n - x) / this.size[0], box = this.boxes.get(structure);
    if (!box) this.boxes.set(structure, [x, y, x + 1, y + 1]);
    else {
      if (x < box[0]) box[0] = x; else if (x >= box[2]) box[2] = x + 1;
      if (y < box[1]) box[1] = y; else if (y >= box[3]) box[3] = y + 1;
    }
    turned[n] ^= 1;
    this.words[structure >> 5][n] ^= 1 << (structure & 31);
  }
  commit(polygon = null) { // end a step; null where it changed nothing. `polygon`: what is edited before and after it
    const parts = [];
    for (const [structure, box] of this.boxes) {
      const turned = this.turned.get(structure), bits = new Uint8Array(Math.ceil(((box[2] - box[0]) * (box[3] - box[1])) / 8));
      let bit = 0, any = 0;
      each(box, this.size[0], (n) => { if (turned[n]) { bits[bit >> 3] |= 1 << (bit & 7); turned[n] = 0; any = 1; } bit++; });
      if (any) parts.push({ structure, box, bits });
    }
    this.clear();
    if (!parts.length && !polygon) return null;
    const step = { parts, polygon, bytes: parts.reduce((sum, { bits }) => sum + bits.length, 200) + (polygon?.bytes ?? 0) };
    for (const gone of this.undone) this.bytes -= gone.bytes;
    this.undone = [];
    this.done.push(step);
    this.bytes += step.bytes;
    while (this.bytes > this.most && this.done.length > 1) this.bytes -= this.done.shift().bytes;
    return step;
  }
  cancel() { // take back the step in the making; its box
    let all = null;
    for (const [structure, box] of this.boxes) {
      const turned = this.turned.get(structure), words = this.words[structure >> 5], bit = 1 << (structure & 31);
      each(box, this.size[0], (n) => { if (turned[n]) { words[n] ^= bit; turned[n] = 0; } });
      all = unite(all, box);
    }
    this.clear();
    return all;
  }
  clear() { // the step in the making, whose bytes are 0 by now
    this.spare = [...this.turned.values()].slice(0, 2);
    this.turned.clear();
    this.boxes.clear();
  }
  undo() { return this.move(this.done, this.undone); }
  redo() { return this.move(this.undone, this.done); }
  move(from, to) { // the step, or null where there is none
    const step = from.pop();
    if (!step) return null;
    for (const { structure, box, bits } of step.parts) {
      const words = this.words[structure >> 5], bit = 1 << (structure & 31);
      let at = 0;
      each(box, this.size[0], (n) => { if ((bits[at >> 3] >> (at & 7)) & 1) words[n] ^= bit; at++; });
    }
    to.push(step);
    return step;
  }
}

function each([left, top, right, bottom], width, what) {
  for (let y = top; y < bottom; y++) for (let n = y * width + left, end = n + right - left; n < end; n++) what(n);
}
