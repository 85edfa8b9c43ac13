// A radiograph that is drawn on: each structure is a layer of its own, and the active one changes, whatever overlaps it.
import picture from "osteon-picture/picture.js";
import { History } from "osteon-picture/history.js";
import { boxOfMask, clip, filledHoles, grow, isEmpty, smoothed, unite } from "osteon-picture/shapes.js";
import input, { ARROWS } from "osteon-picture/input.js";
import { TOOLS, toolList } from "osteon-picture/tools.js";

const OTHERS = { dimmed: [0.3, 0.5], hidden: [0, 0], shown: [1, 0.9] }; // of a structure's own opacity, and of its outline
const ACTIONS = { holes: "fillHoles", smooth: "smooth", others: "showOthers" }; // tools that are done at once

export default {
  extends: picture,
  mixins: [input],
  template: `
    <div class="osteon-view osteon-drawing">
      <div class="osteon-canvas-box">
        <canvas ref="canvas" tabindex="0" role="application" :aria-label="label" @contextmenu.prevent></canvas>
        <canvas ref="overlay" class="osteon-overlay" aria-hidden="true"></canvas>
        <div v-if="problem" class="osteon-problem" role="alert">{{ problem }}</div>
        <span v-for="(mark, n) in marks" :class="'osteon-mark osteon-mark-' + n">{{ mark }}</span>
        <div class="osteon-position">{{ position }}</div>
        <div class="osteon-unseen" aria-live="polite">{{ heard }}</div>
      </div>
    </div>`,
  props: { label: String, poster: String, group: String, linked: String, scene: Object },
  data: () => ({ heard: "" }),
  watch: { "scene.key"() { this.show(this.scene); } },
  created() {
    Object.assign(this, { active: -1, options: {}, others: "dimmed", dirty: null, points: [] });
    this.panning = new TOOLS.move(this);
    this.tool = this.panning;
  },
  mounted() { if (this.scene) this.show(this.scene); },
  unmounted() { cancelAnimationFrame(this.frame); },
  methods: {
    async show(scene) {
      this.history = null;
      await picture.methods.show.call(this, scene);
      this.shownOnce = true;
      this.tell("osteon-ready");
    },

    // What the panel asks for; drawing/views.py has the list
    load(bytes, rows) {
      this.aside = null;
      this.lay(bytes, rows);
      this.tell("osteon-drawn", { undo: 0, redo: 0, rows: [] });
    },
    lay(bytes, rows) {
      const count = this.shown.size[0] * this.shown.size[1], plain = bytes.byteOffset % 4 ? bytes.slice() : bytes;
      this.all = new Uint32Array(plain.buffer, plain.byteOffset, plain.length / 4);
      this.words = Array.from({ length: this.all.length / count }, (_, n) => this.all.subarray(n * count, (n + 1) * count));
      this.history = new History(this.words, this.shown.size);
      this.shown.layers = this.words.map(() => ({ structures: [] }));
      this.tool.restore?.(null);
      this.setRows(rows);
    },
    peek(bytes, rows) { // another label is looked at; the drawing, and what can be undone, is kept aside
      this.interrupt();
      this.tool.finish();
      const { all, words, history } = this;
      this.aside ??= { all, words, history, layers: this.shown.layers };
      this.lay(bytes, rows);
    },
    back(rows) {
      const { layers, ...kept } = this.aside;
      Object.assign(this, { ...kept, aside: null });
      this.shown.layers = layers;
      this.setRows(rows);
      this.tool.begun?.();
    },
    mask() { const { all } = this.aside ?? this; return new Uint8Array(all.buffer, all.byteOffset, all.byteLength); },
    present() {
      const there = (this.aside ?? this).words.map((words) => words.reduce((all, word) => all | word, 0));
      return (this.aside ?? this.shown).layers.flatMap((layer, l) => layer.structures.flatMap((_, bit) => (there[l] & (1 << bit) ? [32 * l + bit] : [])));
    },
    setRows(rows) {
      const { layers, size } = this.shown, count = size[0] * size[1];
      while (this.words.length * 32 < rows.length) { // what is new has no pixel yet
        const all = new Uint32Array(this.all.length + count);
        all.set(this.all);
        this.all = all;
        this.words.forEach((_, n) => { this.words[n] = all.subarray(n * count, (n + 1) * count); });
        this.words.push(all.subarray(all.length - count));
        layers.push({ structures: [] });
      }
      rows.forEach(({ name, colour, opacity, visible, locked }, n) => {
        layers[n >> 5].structures[n & 31] = { name, colour, locked, opacity: visible ? opacity : 0 };
      });
      if (rows[this.active]?.locked) this.tool.finish();
      this.touch(null);
    },
    setStructure(number) {
      this.tool.finish();
      this.active = number;
      if (this.history) this.tool.begun?.();
      this.touch(null);
    },
    tools() { return toolList(this.scene); },
    setTool(name, options = {}) {
      this.interrupt();
      if (ACTIONS[name]) return this[ACTIONS[name]](options);
      this.options = { ...options, erase: name === "eraser" || options.what === "erase" };
      if (this.tool.constructor !== TOOLS[name]) {
        this.tool.finish();
        this.tool = name === "move" ? this.panning : new TOOLS[name](this);
        if (this.history) this.tool.begun?.();
      }
      this.redraw();
    },
    undo() { if (this.interrupt() || this.tool.back?.()) return; this.travel("undo", "before"); },
    redo() { this.interrupt(); this.travel("redo", "after"); },

    fillHoles() { this.reshape((mask, size) => filledHoles(mask, size), 1, "There are no holes in this structure."); },
    smooth({ radius = 2 }) { this.reshape((mask, size) => smoothed(mask, size, radius), 2 * radius, "There is nothing to smooth."); },
    showOthers() { // dimmed, alone, as they are
      const ways = Object.keys(OTHERS);
      this.others = ways[(ways.indexOf(this.others) + 1) % ways.length];
      this.say({ dimmed: "The others are dimmed.", hidden: "The others are hidden.", shown: "The others are shown as they are." }[this.others]);
      this.touch(null);
    },

    around(points, margin) { // margin: in the picture's unit; others matter where structures exclude one another
      const { pixel, size: [width, height], exclusive } = this.shown, { history, active } = this;
      const far = [margin / pixel[1], margin / pixel[0]].map(Math.ceil), ends = [0, 1].map((axis) => points.map((at) => at[axis]));
      const low = ends.map((all, axis) => Math.max(0, Math.min(...all) - far[axis]));
      const stop = ends.map((all, axis) => Math.min([height, width][axis], Math.max(...all) + far[axis] + 1));
      const bytes = new Uint8Array((stop[0] - low[0]) * (stop[1] - low[1]));
      for (let row = low[0], at = 0; row < stop[0]; row++) for (let n = row * width + low[1], end = row * width + stop[1]; n < end; n++, at++)
        bytes[at] = history.has(active, n) || (exclusive && this.words.some((words) => words[n]) ? 2 : 0);
      return { box: [low, stop], bytes };
    },
    answered([low, stop], bytes) {
      const { shown: { size: [width], exclusive }, history, active } = this;
      for (let row = low[0], at = 0; row < stop[0]; row++) for (let n = row * width + low[1], end = row * width + stop[1]; n < end; n++, at++)
        if (history.has(active, n) || !exclusive || this.words.every((words) => !words[n])) history.set(active, n, bytes[at]);
      this.touch([low[1], low[0], stop[1], stop[0]]);
      this.commit();
    },
    mark(points) { this.points = points; this.redraw(); },

    reshape(change, margin, nothing) { // the active structure within its box
      if (!this.canDraw()) return;
      this.tool.finish();
      const { size } = this.shown, mask = this.history.mask(this.active), own = boxOfMask(mask, size);
      if (!own) return this.say(nothing);
      const box = clip(grow(own, margin), size), wide = box[2] - box[0], part = new Uint8Array(wide * (box[3] - box[1]));
      for (let y = box[1]; y < box[3]; y++) part.set(mask.subarray(y * size[0] + box[0], y * size[0] + box[2]), (y - box[1]) * wide);
      change(part, [wide, box[3] - box[1]]).forEach((on, at) => {
        const x = at % wide;
        this.put((box[1] + (at - x) / wide) * size[0] + box[0] + x, on);
      });
      this.touch(box);
      if (!this.commit()) this.say(nothing);
      this.tool.begun?.();
    },
    put(n, on) { // a pixel of the active structure; where structures exclude one another the others lose it, unless they are locked
      if (on && this.shown.exclusive) {
        const there = this.structuresAt(n).filter((number) => number !== this.active);
        if (there.some((number) => this.structure(number).locked)) return;
        for (const number of there) this.history.set(number, n, 0);
      }
      this.history.set(this.active, n, on);
    },
    canDraw() { // else it is said why not
      const row = this.active < 0 ? null : this.structure(this.active);
      const why = this.aside ? "Another version is looked at: go back to the drawing first." : !this.history || !row ? "Choose a structure first."
        : row.locked ? `${row.name} is protected.` : row.opacity ? "" : `${row.name} is hidden: show it first.`;
      if (why) this.say(why);
      return !why;
    },
    commit(polygon = null) {
      const step = this.history.commit(polygon);
      if (step) this.tellDrawn(step);
      return step;
    },
    travel(way, state) {
      const step = this.aside ? null : this.history?.[way]();
      if (!step) return;
      for (const { box } of step.parts) this.touch(box);
      const edited = step.polygon?.after.shape.structure === this.active ? step.polygon[state] : null;
      this.tool.restore?.(edited);
      if (!edited) this.tool.begun?.();
      this.tellDrawn(step);
    },
    tellDrawn(step) {
      const { done, undone } = this.history;
      this.tell("osteon-drawn", { undo: done.length, redo: undone.length, rows: step.parts.map((part) => part.structure) });
    },
    tell(name, detail = {}) { this.$refs.canvas.dispatchEvent(new CustomEvent(name, { bubbles: true, detail })); },
    say(text) { this.tell("osteon-said", { text }); },
    interrupt() { // what is going on with the pointer is taken back; whether something was
      if (!this.pressed) return false;
      (this.pressed.tool.interrupt ?? this.pressed.tool.cancel).call(this.pressed.tool);
      this.pressed = null;
      return true;
    },
    isInRange(n) {
      const { limit, from, to } = this.options, value = this.value(n);
      return limit !== "range" || (value >= from && value <= to);
    },
    othersAt(n) { // those that are shown and not locked
      return this.others === "hidden" ? [] : this.structuresAt(n).filter((number) => number !== this.active && this.structure(number).opacity && !this.structure(number).locked);
    },

    // What is on the screen
    alphas({ opacity }, _, number) {
      if (number === this.active) return [opacity, opacity && 1];
      const [inside, outline] = OTHERS[this.others];
      return [opacity * inside, opacity && outline];
    },
    touch(box) { // a box of the picture has changed, nothing where it is empty, all of it where null
      if (!box || !isEmpty(box)) this.dirty = unite(this.dirty, box ?? [0, 0, ...this.shown.size]);
      this.redraw();
    },
    redraw() { this.frame ??= requestAnimationFrame(() => this.flush()); },
    flush() {
      this.frame = null;
      if (this.dirty) {
        const box = clip(grow(this.dirty, this.edge), this.shown.size);
        this.dirty = null;
        this.paint(box);
        picture.methods.draw.call(this, box);
      }
      this.drawOverlay();
    },
    draw(box) { picture.methods.draw.call(this, box); this.drawOverlay(); },
    drawOverlay() {
      const { overlay, canvas } = this.$refs, ratio = window.devicePixelRatio || 1, pen = overlay.getContext("2d");
      if (overlay.width !== canvas.width || overlay.height !== canvas.height) Object.assign(overlay, { width: canvas.width, height: canvas.height });
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, overlay.width, overlay.height);
      if (!this.shown) return;
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.tool.draw(pen);
      const place = this.cursor ?? this.hover;
      if (!place) return;
      const [x, y] = this.screen(place), radius = (this.options.size / 2) * this.at.scale;
      pen.beginPath();
      if (this.options.size && this.tool !== this.panning) pen.arc(x, y, radius, 0, 7);
      if (this.cursor) for (const [a, b] of Object.values(ARROWS)) { pen.moveTo(x + 4 * a, y + 4 * b); pen.lineTo(x + 14 * a, y + 14 * b); }
      pen.setLineDash(this.options.erase ? [4, 3] : []);
      for (const [lineWidth, strokeStyle] of [[3, "#000a"], [1.25, "#fff"]]) { Object.assign(pen, { lineWidth, strokeStyle }); pen.stroke(); }
    },
  },
};
