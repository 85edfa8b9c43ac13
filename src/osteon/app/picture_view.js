// A radiograph and its structures, however many overlap: a canvas, and one bit for each structure of each pixel.
import picture from "osteon-picture/picture.js";

const linked = (window.osteonViews ??= new Map());

export default {
  extends: picture,
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
  mounted() {
    const canvas = this.$refs.canvas;
    this.lines = [];
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      this.from = this.pointer(e);
      if (this.measuring) this.lines.push([this.pixel(this.from), this.pixel(this.from)]);
    });
    canvas.addEventListener("pointermove", (e) => this.pointerMoved(e));
    canvas.addEventListener("pointerup", () => { this.from = null; });
    canvas.addEventListener("dblclick", () => this.zoom(0));
    canvas.addEventListener("keydown", (e) => this.keyDown(e));
    if (this.group) {
      if (!linked.has(this.group)) linked.set(this.group, new Set());
      linked.get(this.group).add(this);
    }
    if (this.scene) this.show(this.scene);
  },
  unmounted() { linked.get(this.group)?.delete(this); },
  methods: {
    draw(box) {
      picture.methods.draw.call(this, box);
      if (!this.shown) return;
      const pen = this.$refs.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      Object.assign(pen, { lineWidth: 2, strokeStyle: "#4de6ff", fillStyle: "#4de6ff", font: "13px sans-serif" });
      for (const [from, to] of this.lines) {
        const [[a, b], [c, d]] = [this.screen(from), this.screen(to)];
        pen.beginPath(); pen.moveTo(a, b); pen.lineTo(c, d); pen.stroke();
        pen.fillText(this.length(from, to), c + 6, d - 6);
      }
    },
    pointerMoved(event) {
      if (!this.shown) return;
      const now = this.pointer(event);
      this.position = this.describe(this.pixel(now));
      if (!this.from) return;
      if (this.measuring) this.lines.at(-1)[1] = this.pixel(now);
      else {
        this.pan(now[0] - this.from[0], now[1] - this.from[1]);
        this.from = now;
      }
      this.drawAll();
    },
    drawAll() { this.draw(); for (const other of linked.get(this.group) ?? []) if (other !== this) { Object.assign(other.at, this.at); other.draw(); } },
    measure(on) { this.measuring = on; },
    clear() { this.lines = []; this.draw(); },
    measured() { return this.lines.map((line) => line.map((end) => [...end])); },
    keyDown(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.shown) return;
      const step = event.shiftKey ? 200 : 40;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (moves[event.key]) { this.pan(...moves[event.key]); this.drawAll(); }
      else if (!this.key(event)) return;
      event.preventDefault();
    },
  },
};
