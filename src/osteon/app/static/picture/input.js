// Mouse, pen, fingers and keys on a view that is drawn on (draw_picture.js): which tool does what, and where.
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const DOUBLE_MS = 350, DOUBLE_PIXELS = { touch: 24 };
const MARGIN = 24; // pixels of the screen between the keyboard's cursor and the view's edge

export default {
  created() { Object.assign(this, { fingers: new Map(), pressed: null, hover: null, cursor: null }); },
  mounted() {
    const canvas = this.$refs.canvas, on = (name, what) => canvas.addEventListener(name, (e) => this.shown && what(e));
    on("pointerdown", (e) => this.pointerDown(e));
    on("pointermove", (e) => this.pointerMoved(e));
    for (const name of ["pointerup", "pointercancel"]) on(name, (e) => this.pointerUp(e, name === "pointercancel"));
    on("pointerleave", () => { this.hover = null; this.redraw(); });
    on("keydown", (e) => this.keyDown(e));
    on("keyup", (e) => this.keyUp(e));
    on("blur", () => { this.space = null; });
  },
  methods: {
    // Mouse, pen and fingers
    event(e, point = this.pointer(e)) { return { point, kind: e.pointerType, erase: e.ctrlKey || e.metaKey || !!(e.buttons & 32), pressed: !!this.pressed }; },
    pointerDown(e) {
      const point = this.pointer(e), place = this.pixel(point);
      this.$refs.canvas.setPointerCapture(e.pointerId);
      this.$refs.canvas.focus({ preventScroll: true });
      this.cursor = null;
      this.withPen ||= e.pointerType === "pen";
      if (e.pointerType === "touch") {
        this.fingers.set(e.pointerId, point);
        if (this.fingers.size > 1) { this.interrupt(); this.pinch = this.fingers.size === 2 ? this.spread() : null; return; }
      } else this.hover = place;
      if (this.pressed) return;
      if (e.button === 2) return this.pick(place);
      const pans = e.button === 1 || e.shiftKey || this.space || (this.withPen && e.pointerType === "touch"); // a hand rests on the screen
      if (this.space) this.space.used = true;
      if (!pans && this.tool !== this.panning && !this.canDraw()) return;
      const last = this.lastDown, now = { time: e.timeStamp, point }, tool = pans ? this.panning : this.tool;
      const twice = last && now.time - last.time < DOUBLE_MS && Math.hypot(point[0] - last.point[0], point[1] - last.point[1]) < (DOUBLE_PIXELS[e.pointerType] ?? 6);
      this.lastDown = twice || pans ? null : now;
      if (twice && tool.double) return tool.double(place, this.event(e));
      this.pressed = { tool, pointer: e.pointerId };
      tool.down(place, this.event(e));
      this.redraw();
    },
    pointerMoved(e) {
      const point = this.pointer(e), place = this.pixel(point);
      if (e.pointerType === "touch") {
        if (this.fingers.has(e.pointerId)) this.fingers.set(e.pointerId, point);
        if (this.pinch && this.fingers.size === 2) return this.pinched();
      } else this.hover = place;
      this.position = this.describe(place);
      if (this.pressed && this.pressed.pointer !== e.pointerId) return;
      const tool = this.pressed?.tool ?? this.tool, parts = this.pressed ? e.getCoalescedEvents?.() ?? [] : [];
      for (const part of parts.length ? parts : [e]) { const at = this.pointer(part); tool.move(this.pixel(at), this.event(e, at)); }
      if (!this.pressed) this.redraw();
    },
    pointerUp(e, cancelled) {
      this.fingers.delete(e.pointerId);
      if (this.fingers.size < 2) this.pinch = null;
      if (this.pressed?.pointer !== e.pointerId) return;
      if (cancelled) return this.interrupt();
      this.pressed.tool.up();
      this.pressed = null;
    },
    spread() { const [a, b] = [...this.fingers.values()]; return { middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], wide: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1 }; },
    pinched() {
      const before = this.pinch, now = (this.pinch = this.spread());
      this.pan(now.middle[0] - before.middle[0], now.middle[1] - before.middle[1]);
      this.zoom(now.wide / before.wide, now.middle);
    },
    pick(place) { // the structure there becomes the active one; where several lie, one after the other
      const n = this.pixelAt(place), there = n < 0 ? [] : this.structuresAt(n).filter((number) => this.structure(number).opacity);
      if (there.length) this.tell("osteon-picked", { row: there.find((number) => number > this.active) ?? there[0] });
    },

    // The keyboard: a cursor, Space as the pointer's button
    keyDown(e) {
      if (e.ctrlKey || e.metaKey || (e.altKey && e.key !== "Enter")) return;
      const way = ARROWS[e.key];
      if (way && this.tool === this.panning) { this.pan(...way.map((step) => -step * (e.shiftKey ? 200 : 40))); this.drawAll(); }
      else if (way) this.moveCursor(way, e.shiftKey ? 10 : 1);
      else if (e.key === " ") this.space ??= { used: false };
      else if (e.key === "Enter") { if (this.tool.enter) this.tool.enter(); else this.press(e.altKey); }
      else if (e.key === "Escape") { if (!this.interrupt() && !this.tool.cancel()) return; }
      else if (e.key === "Delete" || e.key === "Backspace") this.tool.remove?.();
      else if (!this.key(e)) return;
      e.preventDefault();
      e.stopPropagation();
    },
    keyUp(e) {
      if (e.key !== " ") return;
      if (this.space && !this.space.used) this.press(false);
      this.space = null;
      e.preventDefault();
    },
    moveCursor([across, down], step) {
      const [width, height] = this.shown.size, canvas = this.$refs.canvas, [x, y] = this.cursor ?? this.pixel([canvas.clientWidth / 2, canvas.clientHeight / 2]);
      const middle = (v, count) => Math.min(count - 1, Math.max(0, Math.floor(v))) + 0.5; // of a pixel
      this.cursor = [middle(x + across * step * (this.at.mirrored ? -1 : 1), width), middle(y + down * step, height)];
      const [a, b] = this.screen(this.cursor), into = (v, most) => Math.min(0, v - MARGIN) + Math.max(0, v - most + MARGIN);
      const [right, under] = [into(a, canvas.clientWidth), into(b, canvas.clientHeight)];
      if (right || under) { this.pan(-right, -under); this.drawAll(); }
      (this.pressed?.tool ?? this.tool).move(this.cursor, { point: this.screen(this.cursor), kind: "key", pressed: !!this.pressed });
      this.heard = this.position = this.describe(this.cursor);
      this.redraw();
    },
    press(erase) {
      if (!this.cursor || (!this.pressed && !this.canDraw())) return;
      const event = { point: this.screen(this.cursor), kind: "key", erase, pressed: true };
      if (this.pressed) { this.pressed.tool.up(); this.pressed = null; }
      else {
        this.tool.down(this.cursor, event);
        if (this.tool.holds) this.pressed = { tool: this.tool, pointer: "key" };
        else this.tool.up();
      }
      this.redraw();
    },
  },
};
