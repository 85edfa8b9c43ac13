// A polygon of the active structure, while its corners are set and dragged. What it covers is drawn at once; a dragged
// corner changes only what the polygon gains or loses by that, so that an outline that was traced stays elsewhere as it is.
import { boxOf, clip, fillRings, grow, isEmpty, segmentDistance, simplified, trace } from "osteon-picture/shapes.js";

const REACH = { touch: 22, pen: 12 }; // pixels of the screen within which a corner or a side is meant
const MOUSE_REACH = 8;
const DETAIL = 0.004, FINEST = 0.75; // how far an outline may lie from what is traced of it: of its extent, and pixels at least
const FREEHAND = 5; // pixels of the screen between what is set while the pointer is drawn along
const OPEN = { rings: [], shape: null }; // `rings` are never changed in place; `shape`: what was there before, once it is closed

export class Polygon {
  constructor(view) { Object.assign(this, { view, ...OPEN, chosen: null, held: null }); }
  get holds() { return !!this.held; }

  down(place, event) {
    this.added = false;
    const reach = REACH[event.kind] ?? MOUSE_REACH, found = this.shape && (this.cornerAt(place, reach) ?? this.sideAt(place, reach));
    this.hover = place;
    if (!found) return this.missed(place, reach);
    this.held = this.rings;
    this.chosen = found;
    if (found.inserted) this.change(place, 0);
    this.view.redraw();
  }
  move(place, event) {
    this.hover = place;
    if (this.held && event.pressed) this.change(place, 1);
    else if (event.pressed && this.added && this.away(this.rings[0].at(-1), place) > FREEHAND) {
      this.rings = [[...this.rings[0], place]];
      this.freehand = true;
    }
    if (this.rings.length) this.view.redraw();
  }
  up() {
    const [ring] = this.rings;
    if (this.freehand && ring?.length > 3 && this.away(ring[0], ring.at(-1)) <= 3 * MOUSE_REACH) this.close();
    this.freehand = this.added = false;
    if (this.held && this.held !== this.rings) this.commit({ rings: this.held, shape: this.shape });
    this.held = null;
  }
  double(place, event) { // closes it, or takes a corner away
    if (!this.shape) return this.close();
    this.chosen = this.cornerAt(place, REACH[event.kind] ?? MOUSE_REACH);
    this.remove();
  }
  enter() { if (this.shape) this.finish(); else this.close(); }

  missed(place, reach) { // a corner is set, after a closed polygon the first one of the next
    if (this.shape) this.finish();
    const ring = this.rings[0] ?? [];
    if (ring.length > 2 && this.away(ring[0], place) <= reach) return this.close();
    this.before = this.rings;
    this.added = !ring.length || this.away(ring.at(-1), place) > 3;
    if (this.added) this.rings = [[...ring, place]];
    this.view.redraw();
  }
  close() {
    if (this.shape || !(this.rings[0]?.length > 2)) return;
    const before = { rings: this.rings, shape: null }, rings = this.freehand ? [simplified(this.rings[0], 1 / this.view.at.scale)] : this.rings;
    this.rings = [];
    this.begin(this.view.options.erase);
    this.apply(rings);
    this.commit(before);
  }
  begin(erase) { // from here on only what the rings gain or lose is changed
    const { active, history, shown } = this.view;
    this.shape = { structure: active, start: this.rings, base: history.pack(active), erase, owners: shown.exclusive ? history.owners() : null };
  }
  change(place, removed) { // put the chosen corner there
    const { ring, at } = this.chosen;
    this.apply(this.rings.map((corners, n) => (n === ring ? corners.toSpliced(at, removed, ...(place ? [place] : [])) : corners)));
  }
  apply(rings) {
    const { history, shown: { size } } = this.view, { structure, start, base, erase, owners } = this.shape;
    const changed = [...changedCorners(this.rings, rings)], box = changed.length ? clip(grow(boxOf(changed), 1), size) : [0, 0, 0, 0];
    this.rings = rings;
    if (isEmpty(box)) return;
    const now = fillRings(rings, box), then = fillRings(start, box);
    for (let y = box[1], at = 0; y < box[3]; y++) for (let n = y * size[0] + box[0], end = n + box[2] - box[0]; n < end; n++, at++) {
      const on = now[at] !== then[at] ? now[at] ^ erase : (base[n >> 3] >> (n & 7)) & 1, owner = owners ? owners[n] - 1 : -1;
      if (owner >= 0 && owner !== structure) { // structures exclude one another
        if (this.view.structure(owner).locked) continue;
        history.set(owner, n, !on);
      }
      history.set(structure, n, on);
    }
    this.view.touch(box);
  }
  remove() { // the chosen corner, or the last that was set; of less than three the whole ring
    if (!this.shape) this.rings = this.rings[0]?.length > 1 ? [this.rings[0].slice(0, -1)] : [];
    else if (this.chosen) {
      const before = { rings: this.rings, shape: this.shape }, few = this.rings[this.chosen.ring].length < 4;
      if (few) this.apply(this.rings.filter((_, n) => n !== this.chosen.ring));
      else this.change(null, 1);
      this.chosen = null;
      this.commit(before);
    }
    this.view.redraw();
  }
  cancel() { // a corner that is held goes back; what is not closed is gone, and what is closed stays as it is; whether there was any
    const any = this.rings.length > 0;
    if (this.held) {
      this.view.touch(this.view.history.cancel() ?? [0, 0, 0, 0]);
      Object.assign(this, { rings: this.held, held: null, chosen: null });
      this.view.redraw();
    } else this.finish();
    return any;
  }
  interrupt() { // a second finger came
    if (this.held) this.cancel();
    else if (this.added) Object.assign(this, { rings: this.before, added: false, freehand: false });
    this.view.redraw();
  }
  finish() { this.up(); Object.assign(this, { ...OPEN, chosen: null }); this.view.redraw(); }
  back() { if (this.shape || !this.rings.length) return false; this.remove(); return true; } // undo while corners are set
  commit(before) {
    const { shape, rings } = this, kept = shape.counted ? 0 : shape.base.length + (shape.owners?.length ?? 0);
    shape.counted = true;
    this.view.commit({ before, after: { rings, shape }, bytes: kept + 40 * rings.flat().length });
  }
  restore(state) { Object.assign(this, { ...(state ?? OPEN), chosen: null, held: null }); this.view.redraw(); }

  away(a, b) { const [p, q] = [a, b].map((place) => this.view.screen(place)); return Math.hypot(p[0] - q[0], p[1] - q[1]); }
  cornerAt(place, reach) {
    let best = null, least = reach;
    this.rings.forEach((corners, ring) => corners.forEach((corner, at) => {
      const away = this.away(corner, place);
      if (away <= least) { least = away; best = { ring, at }; }
    }));
    return best;
  }
  sideAt(place, reach) { // where a corner would be put in
    let best = null, least = reach;
    const point = this.view.screen(place);
    this.rings.forEach((corners, ring) => corners.forEach((corner, at) => {
      const away = segmentDistance(point, this.view.screen(corners.at(at - 1)), this.view.screen(corner));
      if (away <= least) { least = away; best = { ring, at, inserted: true }; }
    }));
    return best;
  }
  draw(pen) {
    if (!this.rings.length) return;
    const { view, shape, chosen, hover } = this;
    pen.setLineDash([]);
    this.rings.forEach((corners, ring) => {
      const points = corners.map((corner) => view.screen(corner));
      pen.beginPath();
      points.forEach((point) => pen.lineTo(...point));
      if (shape) pen.closePath();
      else if (hover) pen.lineTo(...view.screen(hover));
      for (const [width, colour] of [[3.5, "#000a"], [1.5, "#fff"]]) { Object.assign(pen, { lineWidth: width, strokeStyle: colour }); pen.stroke(); }
      points.forEach(([x, y], at) => {
        const isChosen = chosen?.ring === ring && chosen.at === at, first = !shape && at === 0;
        pen.beginPath();
        pen.arc(x, y, isChosen || first ? 6 : 4, 0, 7);
        Object.assign(pen, { fillStyle: isChosen ? "#ffd84d" : first ? "#4de6ff" : "#fff", strokeStyle: "#000", lineWidth: 1.5 });
        pen.fill();
        pen.stroke();
      });
    });
  }
}

export class Outline extends Polygon { // what the active structure has already, with corners
  begun() { // the outlines of the whole active structure become corners
    const { view } = this, { size } = view.shown, mask = view.history.mask(view.active);
    if (!view.canDraw()) return;
    this.rings = trace(mask, size).map((ring) => {
      const [left, top, right, bottom] = boxOf(ring);
      return simplified(ring, Math.max(FINEST, DETAIL * Math.hypot(right - left, bottom - top)));
    }).filter((ring) => ring.length > 2);
    if (this.rings.length) this.begin(false);
    else view.say("This structure has no outline here yet.");
    view.redraw();
  }
  missed() { this.chosen = null; this.view.redraw(); }
  enter() {}
  cancel() { return !!this.held && super.cancel(); }
}

function* changedCorners(before, after) { // around which something was gained or lost: those that moved, and their neighbours
  for (const [n, ring] of before.entries()) {
    const other = after.length === before.length ? after[n] : [];
    if (other === ring) continue;
    if (other.length !== ring.length) { yield* ring; yield* other; continue; }
    for (const [at, corner] of ring.entries()) {
      if (corner === other[at]) continue;
      for (const corners of [ring, other]) for (const by of [-1, 0, 1]) yield corners.at((at + by) % corners.length);
    }
  }
  if (after.length !== before.length) yield* after.flat();
}
