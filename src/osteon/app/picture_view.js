// A radiograph and its structures, however many overlap: a canvas, and one bit for each structure of each pixel.
const linked = (window.osteonViews ??= new Map());
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const OUTLINE_PIXELS = 2; // pixels of an outline on the screen; of the picture, as many as it takes for them

export default {
  template: `
    <div class="osteon-view">
      <div class="osteon-canvas-box">
        <canvas ref="canvas" tabindex="0" role="img" :aria-label="label"></canvas>
        <div v-if="problem" class="osteon-problem" role="alert">{{ problem }}</div>
        <span v-for="(mark, n) in marks" :class="'osteon-mark osteon-mark-' + n">{{ mark }}</span>
        <div class="osteon-position">{{ position }}</div>
      </div>
    </div>`,
  props: { label: String, poster: String, group: String, scene: Object },
  watch: { "scene.key"() { this.show(this.scene); } },
  data: () => ({ problem: "", position: "", marks: [] }),
  mounted() {
    const canvas = this.$refs.canvas;
    canvas.osteonView = this; // for tests and benchmarks
    this.at = { x: 0, y: 0, scale: 0, mirrored: false };
    this.lines = [];
    this.radiological = true;
    this.picture = document.createElement("canvas");
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
    const on = (name, what) => canvas.addEventListener(name, what, { passive: false });
    on("wheel", (e) => { e.preventDefault(); this.zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15, this.pointer(e)); });
    on("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      this.from = this.pointer(e);
      if (this.measuring) this.lines.push([this.pixel(this.from), this.pixel(this.from)]);
    });
    on("pointermove", (e) => this.pointerMoved(e));
    on("pointerup", () => { this.from = null; });
    on("dblclick", () => this.zoom(0));
    on("keydown", (e) => this.key(e));
    if (this.group) {
      if (!linked.has(this.group)) linked.set(this.group, new Set());
      linked.get(this.group).add(this);
    }
    if (this.scene) this.show(this.scene);
  },
  unmounted() { this.observer.disconnect(); linked.get(this.group)?.delete(this); },
  methods: {
    async show(request) {
      const start = performance.now(), scene = JSON.parse(JSON.stringify(request)); // plain, without Vue's proxies
      const get = async (url, kind) => {
        const answer = await fetch(url);
        if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
        return new kind(await answer.arrayBuffer());
      };
      try {
        const [grey, ...words] = await Promise.all([get(scene.image, Uint16Array), ...scene.layers.map((l) => get(l.url, Uint32Array))]);
        Object.assign(this, { shown: scene, grey, words, range: scene.window });
      } catch (error) {
        this.problem = `The picture could not be shown: ${error.message}. Reload the page to try again.`;
        throw error;
      }
      this.orient();
      [this.picture.width, this.picture.height] = scene.size;
      this.edge = 0;
      if (!this.at.scale) this.fit();
      this.updateEdges();
      this.paint();
      this.drawAll();
      this.$emit("ready", { seconds: (performance.now() - start) / 1000, software: false });
    },
    paint() { // grey through the window, then the mean colour of what is shown of a pixel's structures
      const { grey, shown: scene } = this, [low, high] = this.range, [width, height] = scene.size;
      const table = new Uint8Array(65536);
      const scale = 255 / Math.max(high - low, 1e-9);
      for (let v = 0; v < 65536; v++) table[v] = Math.min(255, Math.max(0, (v * scene.slope + scene.intercept - low) * scale));
      const image = new ImageData(width, height), out = new Uint32Array(image.data.buffer);
      for (let n = 0; n < grey.length; n++) { const v = table[grey[n]]; out[n] = 0xff000000 | (v << 16) | (v << 8) | v; }
      scene.layers.forEach((layer, number) => {
        const words = layer.outline ? this.edges[number] : this.words[number], mixes = new Map();
        let last = 0, mix = null;
        for (let n = 0; n < words.length; n++) {
          const word = words[n];
          if (!word) continue;
          if (word !== last) {
            last = word;
            mix = mixes.get(word);
            if (mix === undefined) mixes.set(word, (mix = mixColours(word, layer.structures, layer.outline)));
          }
          if (!mix) continue;
          const [r, g, b, a] = mix, v = out[n];
          out[n] = 0xff000000 | ((((v >> 16) & 255) * (1 - a) + b * a) << 16) | ((((v >> 8) & 255) * (1 - a) + g * a) << 8) | ((v & 255) * (1 - a) + r * a);
        }
      });
      this.picture.getContext("2d").putImageData(image, 0, 0);
    },
    updateEdges() { // outlines that are as wide on the screen at each scale; whether that changed anything
      const wide = Math.max(1, 2 ** Math.round(Math.log2(OUTLINE_PIXELS / (this.at.scale || 1))));
      if (wide === this.edge || !this.shown.layers.some((layer) => layer.outline)) return false;
      this.edge = wide;
      this.edges = outlines(this.words, this.shown.size[0], wide);
      return true;
    },
    draw() {
      const canvas = this.$refs.canvas, ratio = window.devicePixelRatio || 1;
      canvas.width = canvas.clientWidth * ratio;
      canvas.height = canvas.clientHeight * ratio;
      if (!this.shown) return;
      if (this.updateEdges()) this.paint();
      const { x, y, scale, mirrored } = this.at, pen = canvas.getContext("2d"), shape = this.shape();
      const transform = () => pen.setTransform(ratio * scale * (mirrored ? -1 : 1), 0, 0, ratio * scale * shape, canvas.width / 2 - ratio * scale * (mirrored ? -x : x), canvas.height / 2 - ratio * scale * shape * y);
      transform();
      pen.imageSmoothingEnabled = scale < 3;
      pen.drawImage(this.picture, 0, 0);
      for (const [from, to] of this.lines) {
        pen.lineWidth = 2 / scale; pen.strokeStyle = "#4de6ff"; pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke();
        const [a, b] = this.screen(to);
        pen.setTransform(ratio, 0, 0, ratio, 0, 0); pen.font = "13px sans-serif"; pen.fillStyle = "#4de6ff"; pen.fillText(this.length(from, to), a + 6, b - 6);
        transform();
      }
    },
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
    pointerMoved(event) {
      if (!this.shown) return;
      const now = this.pointer(event), [u, v] = this.pixel(now).map(Math.floor), [width, height] = this.shown.size;
      if (u >= 0 && v >= 0 && u < width && v < height) {
        const n = v * width + u, value = +(this.grey[n] * this.shown.slope + this.shown.intercept).toFixed(1);
        const names = this.shown.layers.flatMap((layer, l) => layer.structures.filter((s, bit) => this.words[l][n] & (1 << bit)).map((s) => s.name));
        this.position = [`${(u * this.shown.pixel[0]).toFixed(1)}, ${(v * this.shown.pixel[1]).toFixed(1)} ${this.shown.unit}`, value, ...new Set(names)].join("  ·  ");
      } else this.position = "";
      if (!this.from) return;
      if (this.measuring) this.lines.at(-1)[1] = this.pixel(now);
      else {
        this.at.x -= ((now[0] - this.from[0]) / this.at.scale) * (this.at.mirrored ? -1 : 1);
        this.at.y -= (now[1] - this.from[1]) / this.at.scale / this.shape();
        this.from = now;
      }
      this.drawAll();
    },
    drawAll() { this.draw(); for (const other of linked.get(this.group) ?? []) if (other !== this) { Object.assign(other.at, this.at); other.draw(); } },
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
    outline(layer, on) { this.shown.layers[layer].outline = on; this.updateEdges(); this.paint(); this.draw(); },
    window(low, high) { this.range = [low, high]; this.paint(); this.draw(); },
    layout() {},
    orient() { // as one faces the patient, or as one stands behind; what is seen from the side, or has no side, as it is
      const [left, right, ...rest] = this.shown.marks;
      this.at.mirrored = left === (this.radiological ? "L" : "R");
      this.marks = this.at.mirrored ? [right, left, ...rest] : this.shown.marks;
    },
    convention(radiological) { this.radiological = radiological; this.orient(); this.draw(); },
    surround() {},
    measure(on) { this.measuring = on; },
    clear() { this.lines = []; this.draw(); },
    measured() { return this.lines.map((line) => line.map((end) => [...end])); },
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.shown) return;
      const step = (event.shiftKey ? 200 : 40) / this.at.scale;
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      if (moves[event.key]) { this.at.x += moves[event.key][0] * (this.at.mirrored ? -1 : 1); this.at.y += moves[event.key][1]; this.drawAll(); }
      else if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else if (event.key === "Home") this.zoom(0);
      else return;
      event.preventDefault();
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

function mixColours(word, structures, outline) {
  let r = 0, g = 0, b = 0, clear = 1, count = 0;
  structures.forEach((s, bit) => {
    if (!(word & (1 << bit)) || !s.opacity) return;
    const [x, y, z] = rgb(s.colour);
    r += x; g += y; b += z; count++;
    clear *= 1 - (outline ? 1 : s.opacity);
  });
  return count ? [r / count, g / count, b / count, 1 - clear] : null;
}

function outlines(layers, width, wide) {
  return layers.map((words) => {
    const edges = new Uint32Array(words.length), far = wide * width;
    for (let n = 0; n < words.length; n++) {
      const word = words[n];
      if (word) edges[n] = word & ~(words[n - wide] & words[n + wide] & words[n - far] & words[n + far]);
    }
    return edges;
  });
}
