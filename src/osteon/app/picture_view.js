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
  props: { label: String, poster: String, group: String, linked: String, scene: Object },
  watch: { "scene.key"() { this.show(this.scene); } },
  mounted() {
    const canvas = this.$refs.canvas;
    Object.assign(this, { lines: [], kept: [] });
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
      for (const [from, to] of this.lines) this.drawLines(pen, "#4de6ff", [from, to], this.length(from, to));
      for (const { ends, text } of this.kept) this.drawLines(pen, "#ffd84d", ends, text);
      Object.assign(pen, { strokeStyle: "#ffd166", fillStyle: "#ffd166", lineWidth: 2 });
      for (const { kind, points } of this.drawings ?? []) {
        const ends = points.map((point) => this.screen(point));
        pen.beginPath();
        if (kind === "sphere") pen.arc(...ends[0], Math.hypot(ends[0][0] - ends[1][0], ends[0][1] - ends[1][1]), 0, 7);
        else ends.forEach((end, n) => pen[n ? "lineTo" : "moveTo"](...end));
        pen.stroke();
        if (kind !== "sphere") for (const end of ends) { pen.beginPath(); pen.arc(...end, 3.5, 0, 7); pen.fill(); }
      }
    },
    drawLines(pen, colour, ends, text) { // one, or the two of an angle
      const points = ends.map((end) => this.screen(end));
      Object.assign(pen, { strokeStyle: colour, fillStyle: colour, lineWidth: 2, font: "13px sans-serif" });
      for (let n = 0; n < points.length; n += 2) { pen.beginPath(); pen.moveTo(...points[n]); pen.lineTo(...points[n + 1]); pen.stroke(); }
      const [x, y] = points.length === 2 ? points[1] : [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
      pen.fillText(text, x + 6, y - 6);
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
    drawAll() { // and the others at the same part of their width and height
      this.draw();
      for (const other of linked.get(this.group) ?? []) {
        if (other === this || !other.shown) continue;
        const [across, down] = [0, 1].map((axis) => other.shown.size[axis] / this.shown.size[axis]), { x, y, scale } = this.at;
        Object.assign(other.at, { x: x * across, y: y * down, scale: scale / across });
        other.draw();
      }
    },
    measure(on) { this.measuring = on; },
    clear() { Object.assign(this, { lines: [], kept: [] }); this.draw(); },
    keep(lines) { this.kept = JSON.parse(JSON.stringify(lines)); this.draw(); }, // what was saved
    figure(drawings) { this.drawings = drawings; this.draw(); }, // [{kind, name, points: columns and rows}]
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
