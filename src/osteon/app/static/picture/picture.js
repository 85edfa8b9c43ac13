// What views of a picture share: grey and structures painted onto a canvas, and its way onto the screen.
const OUTLINE_PIXELS = 2; // pixels of an outline on the screen; of the picture, as many as it takes for them
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

export async function fetchArray(url, kind) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return new kind(await answer.arrayBuffer());
}

export default {
  data: () => ({ problem: "", position: "", marks: [] }),
  created() {
    this.at = { x: 0, y: 0, scale: 0, mirrored: false }; // the picture's place in the view's middle, pixels of the screen for one
    this.radiological = true;
    this.picture = document.createElement("canvas");
    this.edge = 0;
  },
  mounted() {
    const canvas = this.$refs.canvas;
    canvas.osteonView = this; // for tests and benchmarks
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15, this.pointer(e)); }, { passive: false });
  },
  unmounted() { this.observer.disconnect(); },
  methods: {
    async show(request) {
      const start = performance.now(), scene = JSON.parse(JSON.stringify(request)); // plain, without Vue's proxies
      try {
        const [grey, words] = await Promise.all([fetchArray(scene.image, Uint16Array), this.fetchWords(scene)]);
        Object.assign(this, { shown: scene, grey, words, range: scene.window, table: null });
      } catch (error) {
        this.problem = `The picture could not be shown: ${error.message}. Reload the page to try again.`;
        throw error;
      }
      this.orient();
      [this.picture.width, this.picture.height] = scene.size;
      if (!this.at.scale) this.fit();
      this.edge = this.edgePixels();
      this.paint();
      this.drawAll();
      this.$emit("ready", { seconds: (performance.now() - start) / 1000, software: false });
    },
    fetchWords(scene) { return Promise.all(scene.layers.map((layer) => fetchArray(layer.url, Uint32Array))); },
    alphas(structure, layer) { return layer.outline ? [0, structure.opacity && 1] : [structure.opacity, 0]; }, // inside, outline
    greys() { // what each value of the file is drawn as
      const [low, high] = this.range, { slope, intercept } = this.shown, scale = 255 / Math.max(high - low, 1e-9);
      return Uint8Array.from({ length: 65536 }, (_, v) => Math.min(255, Math.max(0, (v * slope + intercept - low) * scale)));
    },
    paint(box = null) { // grey through the window, then the mean colour of what is shown of a pixel's structures
      const { grey, shown: scene, edge } = this, [width, height] = scene.size, table = (this.table ??= this.greys());
      const [left, top, right, bottom] = box ?? [0, 0, width, height], across = right - left;
      if (across <= 0 || bottom <= top) return;
      const image = new ImageData(across, bottom - top), out = new Uint32Array(image.data.buffer);
      for (let row = top, to = 0; row < bottom; row++) {
        for (let n = row * width + left, end = n + across; n < end; n++) { const v = table[grey[n]]; out[to++] = 0xff000000 | (v << 16) | (v << 8) | v; }
      }
      scene.layers.forEach((layer, number) => {
        const words = this.words[number], far = edge * width, alphas = layer.structures.map((s, bit) => this.alphas(s, layer, number * 32 + bit));
        const filled = new Mixes(layer.structures, alphas, 0), outlined = new Mixes(layer.structures, alphas, 1);
        for (let row = top, to = 0; row < bottom; row++) {
          for (let n = row * width + left, end = n + across; n < end; n++, to++) {
            const word = words[n];
            if (!word) continue;
            if (filled.seen) out[to] = filled.over(word, out[to]);
            if (!outlined.seen) continue;
            const rim = word & ~(words[n - edge] & words[n + edge] & words[n - far] & words[n + far]);
            if (rim) out[to] = outlined.over(rim, out[to]);
          }
        }
      });
      this.picture.getContext("2d").putImageData(image, left, top);
    },
    edgePixels() { return Math.max(1, 2 ** Math.round(Math.log2(OUTLINE_PIXELS / (this.at.scale || 1)))); }, // as wide on the screen at each scale
    draw(box = null) { // everything, or a box of the picture
      const canvas = this.$refs.canvas, ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
      const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((pixels) => Math.trunc(pixels * ratio));
      if (canvas.width !== width || canvas.height !== height) { Object.assign(canvas, { width, height }); box = null; }
      if (!this.shown) return;
      const edge = this.edgePixels();
      if (edge !== this.edge) { this.edge = edge; this.paint(); box = null; }
      pen.save();
      if (box) { // and what smoothing takes from it, in whole pixels of the screen: parts of one would add up
        const [a, b] = [[box[0] - 2, box[1] - 2], [box[2] + 2, box[3] + 2]].map((corner) => this.screen(corner).map((v) => v * ratio));
        const [left, top, right, bottom] = [Math.floor(Math.min(a[0], b[0])), Math.floor(a[1]), Math.ceil(Math.max(a[0], b[0])), Math.ceil(b[1])];
        pen.beginPath();
        pen.rect(left, top, right - left, bottom - top);
        pen.clip();
      }
      pen.clearRect(0, 0, width, height);
      this.toPicture(pen, ratio);
      pen.imageSmoothingEnabled = this.at.scale < 3;
      pen.drawImage(this.picture, 0, 0);
      pen.restore();
    },
    toPicture(pen, ratio) { // let a pen draw in the picture's own pixels
      const { x, y, scale, mirrored } = this.at, { width, height } = pen.canvas, shape = this.shape();
      pen.setTransform(ratio * scale * (mirrored ? -1 : 1), 0, 0, ratio * scale * shape, width / 2 - ratio * scale * (mirrored ? -x : x), height / 2 - ratio * scale * shape * y);
    },
    drawAll() { this.draw(); },
    shape() { return this.shown.pixel[1] / this.shown.pixel[0]; },
    pointer(event) { const box = this.$refs.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; },
    pixel([a, b]) {
      const canvas = this.$refs.canvas, { x, y, scale, mirrored } = this.at;
      return [x + ((a - canvas.clientWidth / 2) / scale) * (mirrored ? -1 : 1), y + (b - canvas.clientHeight / 2) / scale / this.shape()];
    },
    screen([u, v]) {
      const canvas = this.$refs.canvas, { x, y, scale, mirrored } = this.at;
      return [canvas.clientWidth / 2 + (u - x) * scale * (mirrored ? -1 : 1), canvas.clientHeight / 2 + (v - y) * scale * this.shape()];
    },
    length(from, to) {
      const [w, h] = this.shown.pixel;
      return `${Math.hypot((to[0] - from[0]) * w, (to[1] - from[1]) * h).toFixed(1)} ${this.shown.unit}`;
    },
    pixelAt([u, v]) { // its number, or -1 beside the picture
      const [width, height] = this.shown.size, column = Math.floor(u), row = Math.floor(v);
      return column >= 0 && row >= 0 && column < width && row < height ? row * width + column : -1;
    },
    value(n) { return this.grey[n] * this.shown.slope + this.shown.intercept; },
    extent() { // of its values
      let low = 65535, high = 0;
      for (const v of this.grey) { if (v < low) low = v; if (v > high) high = v; }
      return [low, high].map((v) => v * this.shown.slope + this.shown.intercept);
    },
    structuresAt(n) { // their numbers
      return this.shown.layers.flatMap((layer, l) => layer.structures.flatMap((_, bit) => (this.words[l][n] & (1 << bit) ? [l * 32 + bit] : [])));
    },
    structure(number) { return this.shown.layers[number >> 5].structures[number & 31]; },
    describe(place) {
      const n = this.pixelAt(place);
      if (n < 0) return "";
      const { pixel, unit, size: [width] } = this.shown, names = this.structuresAt(n).map((number) => this.structure(number).name);
      const [x, y] = [(n % width) * pixel[0], Math.floor(n / width) * pixel[1]].map((length) => length.toFixed(1));
      return [`${x}, ${y} ${unit}`, +this.value(n).toFixed(1), ...new Set(names)].join("  ·  ");
    },
    pan(across, down) { // by pixels of the screen
      this.at.x -= (across / this.at.scale) * (this.at.mirrored ? -1 : 1);
      this.at.y -= down / this.at.scale / this.shape();
    },
    fit() {
      const canvas = this.$refs.canvas, [width, height] = this.shown.size;
      Object.assign(this.at, { x: width / 2, y: height / 2, scale: Math.min(canvas.clientWidth / width, canvas.clientHeight / (height * this.shape())) || 0.1 });
    },
    zoom(factor, about) {
      if (!this.shown) return;
      if (!factor) this.fit();
      else {
        const before = about && this.pixel(about);
        this.at.scale = Math.min(40, Math.max(0.02, this.at.scale * factor));
        if (about) { const after = this.pixel(about); this.at.x += before[0] - after[0]; this.at.y += before[1] - after[1]; }
      }
      this.drawAll();
    },
    goTo([column, row]) { Object.assign(this.at, { x: column + 0.5, y: row + 0.5 }); this.drawAll(); },
    styles(layer, changes) {
      if (!this.shown) return;
      for (const [number, colour, opacity] of changes) Object.assign(this.shown.layers[layer].structures[number], { colour, opacity });
      this.paint(); this.draw();
      this.painted = performance.now();
    },
    outline(layer, on) { this.shown.layers[layer].outline = on; this.paint(); this.draw(); },
    window(low, high) { Object.assign(this, { range: [low, high], table: null }); this.paint(); this.draw(); },
    layout() {},
    orient() { // as one faces the patient, or as one stands behind; what is seen from the side, or has no side, as it is
      const [left, right, ...rest] = this.shown.marks;
      this.at.mirrored = left === (this.radiological ? "L" : "R");
      this.marks = this.at.mirrored ? [right, left, ...rest] : this.shown.marks;
    },
    convention(radiological) { this.radiological = radiological; this.orient(); this.draw(); },
    surround() {},
    key(event) { // keys that every view of a picture has; whether it was one
      if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else if (event.key === "Home") this.zoom(0);
      else return false;
      return true;
    },
    colours() { // pixels of the picture that have a colour: for tests
      const pixels = this.picture.getContext("2d").getImageData(0, 0, this.picture.width, this.picture.height).data;
      let count = 0;
      for (let at = 0; at < pixels.length; at += 4) {
        const [r, g, b] = pixels.subarray(at, at + 3);
        if (Math.max(r, g, b) - Math.min(r, g, b) > 24) count++;
      }
      return count;
    },
  },
};

class Mixes { // the colour that lies over a pixel, by the word of its structures: their mean, by how opaque each is
  constructor(structures, alphas, which) {
    this.parts = structures.map(({ colour }, bit) => [1 << bit, ...rgb(colour), alphas[bit][which]]).filter((part) => part[4] > 0);
    this.seen = this.parts.reduce((all, [bit]) => all | bit, 0);
    this.mixes = new Map();
  }
  over(word, under) {
    if (word !== this.word) {
      this.word = word;
      this.mix = this.mixes.get(word);
      if (this.mix === undefined) this.mixes.set(word, (this.mix = this.blend(word)));
    }
    if (!this.mix) return under;
    const [r, g, b, a] = this.mix;
    return 0xff000000 | ((((under >> 16) & 255) * (1 - a) + b * a) << 16) | ((((under >> 8) & 255) * (1 - a) + g * a) << 8) | ((under & 255) * (1 - a) + r * a);
  }
  blend(word) {
    let r = 0, g = 0, b = 0, clear = 1, sum = 0;
    for (const [bit, x, y, z, alpha] of this.parts) {
      if (!(word & bit)) continue;
      r += x * alpha; g += y * alpha; b += z * alpha; sum += alpha;
      clear *= 1 - alpha;
    }
    return sum ? [r / sum, g / sum, b / sum, 1 - clear] : null;
  }
}
