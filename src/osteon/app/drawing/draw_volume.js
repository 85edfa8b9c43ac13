// Drawing on the slices of a volume: the viewer, with a label volume of its own over the scan. Calls: drawing/views.py.
import VolumeView, { PLANES } from "osteon-volume/volume_view.js";
import { drawnAround, putAnswer } from "osteon-volume/clicks.js";
import { LabelVolume } from "osteon-volume/label_edits.js";
import { TOOLS } from "osteon-volume/draw_tools.js";

const NORMALS = [2, 1, 0]; // the axis that a plane of NiiVue's numbering is perpendicular to
const TEXTURE = 33991; // gl.TEXTURE7, which NiiVue's shaders take a drawing from
export default {
  extends: VolumeView,
  mounted() {
    Object.assign(this, { rows: [], row: -1, tool: "move", options: {}, stroke: null });
    const canvas = this.$refs.canvas, box = canvas.parentElement;
    this.overlay = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.overlay.classList.add("osteon-draw-overlay");
    this.overlay.innerHTML = "<ellipse hidden></ellipse><polyline></polyline>";
    box.appendChild(this.overlay);
    const on = (name, then) => box.addEventListener(name, then, { capture: true, passive: false }); // before NiiVue's
    on("pointerdown", (event) => this.pressed(event));
    on("pointermove", (event) => this.moved(event));
    on("pointerup", (event) => this.released(event));
    on("pointercancel", () => this.cancelStroke());
    on("pointerleave", () => this.showBrush(null));
    for (const name of ["mousedown", "mousemove", "mouseup", "touchstart", "touchmove", "touchend"])
      on(name, (event) => { if (this.stroke) { event.stopPropagation(); event.preventDefault(); } });
    canvas.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.ctrlKey) this.applyHere(event); });
  },
  methods: {
    async show(scene) {
      await VolumeView.methods.show.call(this, scene);
      const { nv } = this, scan = nv.volumes[0];
      this.nv.opts.isSliceMM = false; // along the voxels: a slice of the drawing is one of the scan's
      if (scan.permRAS.some((axis, n) => axis !== n + 1)) {
        this.problem = "This scan lies so obliquely that the viewer turns it: it cannot be drawn on here.";
        return;
      }
      [this.slope, this.intercept] = [scan.hdr.scl_slope || 1, scan.hdr.scl_inter || 0];
      this.shownOnce = true;
      this.tell("ready", {});
    },
    tell(name, detail) { this.$refs.canvas.dispatchEvent(new CustomEvent(`osteon-${name}`, { bubbles: true, detail })); },
    say(text) { this.tell("said", { text }); },

    // What the panel calls

    tools() { return TOOLS; },
    load(bytes, rows) {
      this.aside = null;
      this.lay(bytes);
      this.setRows(rows);
      this.tell("drawn", { undo: 0, redo: 0, rows: [] });
    },
    lay(bytes, edits) { // a label over the scan
      const { nv } = this, [, ...dims] = nv.volumes[0].dimsRAS;
      if (bytes.length !== dims[0] * dims[1] * dims[2]) throw new Error("the drawing has another size than the scan");
      this.edits = edits ?? new LabelVolume(bytes, dims, [...nv.volumes[0].pixDimsRAS].slice(1, 4));
      nv.drawBitmap = bytes;
      nv.drawOpacity = 1; // each structure has its own, in the table of colours
      if (!this.texture || this.texture !== nv.drawTexture) this.texture = nv.drawTexture = nv.r8Tex(nv.drawTexture, TEXTURE, nv.volumes[0].dimsRAS, false);
      this.upload([0, 0, 0], dims.map((n) => n - 1));
    },
    setRows(rows) {
      this.rows = rows;
      const lut = new Uint8ClampedArray(1024);
      rows.forEach(({ colour, opacity, visible }, n) => lut.set([...[1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)), visible ? 255 * opacity : 0], 4 * (n + 1)));
      this.nv.drawLut = { lut, labels: ["", ...rows.map(({ name }) => name)] };
      if (this.edits) this.edits.locked = Uint8Array.from({ length: 256 }, (_, n) => +(rows[n - 1]?.locked ?? false));
      this.nv.refreshColormaps();
      this.hideScanIn3D();
      this.nv.drawScene();
    },
    setStructure(row) { this.row = row; this.showBrush(null); },
    setTool(name, options) {
      const tool = TOOLS.find((one) => one.name === name);
      const chosen = { ...Object.fromEntries(tool.options.map((option) => [option.name, option.value])), ...options };
      if (tool.once) { if (this.mayDraw()) this.apply(name, chosen); return; }
      [this.tool, this.options] = [name, chosen];
      this.$refs.canvas.style.cursor = name === "move" ? "" : "crosshair";
      this.showBrush(null);
    },
    setOutlines(on) { this.nv.drawRimOpacity = on ? 1 : -1; this.nv.drawScene(); },
    present() { return this.rows.map((_, n) => n).filter((n) => this.edits.labels.includes(n + 1)); },
    peek(bytes, rows) { // another label is looked at; the drawing, and what can be undone, is kept aside
      this.aside ??= this.edits;
      this.lay(bytes);
      this.setRows(rows);
    },
    back(rows) {
      this.edits = this.aside;
      this.aside = null;
      this.lay(this.edits.labels, this.edits);
      this.setRows(rows);
    },
    undo() { this.changed(!this.aside && this.edits?.undo()); },
    redo() { this.changed(!this.aside && this.edits?.redo()); },
    mask() { return (this.aside ?? this.edits).labels; },

    // The pointer

    voxel(event, tile) { // where in the scan, with fractions; in the slice that the tile shows
      const frac = this.nv.screenXY2TextureFrac(...this.pointer(event), tile, false), { dims } = this.edits;
      if (!(frac[0] >= -9)) return null;
      const voxel = [0, 1, 2].map((n) => frac[n] * dims[n] - 0.5);
      const normal = NORMALS[this.nv.screenSlices[tile].axCorSag];
      voxel[normal] = this.here()[normal];
      return voxel;
    },
    here() { return [...this.nv.frac2vox(this.nv.scene.crosshairPos)].slice(0, 3).map(Math.round); },
    pressed(event) {
      if (this.stroke && !this.stroke.ended) { // a second finger: this was no stroke
        if (event.pointerId !== this.stroke.pointer) this.cancelStroke();
        return;
      }
      const tile = this.nv.tileIndex(...this.pointer(event)), plane = this.nv.screenSlices[tile]?.axCorSag;
      if (!this.edits || event.target !== this.$refs.canvas || this.tool === "move" || !(plane <= 2)) return;
      if (event.shiftKey || (event.button !== 0 && event.button !== 5)) return; // the crosshair, the image: NiiVue's
      this.$refs.canvas.focus();
      this.plane = PLANES[plane];
      const voxel = this.voxel(event, tile);
      if (!voxel || !this.mayDraw()) return;
      event.stopPropagation();
      event.preventDefault();
      this.$refs.canvas.setPointerCapture(event.pointerId);
      const erases = event.ctrlKey || event.metaKey || event.button === 5 || (event.buttons & 32) > 0; // or a pen's other end
      this.stroke = { pointer: event.pointerId, tile, normal: NORMALS[plane], last: voxel, points: [voxel], erases };
      if (this.tool === "brush" || this.tool === "eraser") {
        this.edits.begin();
        this.paint(voxel);
      } else if (this.tool !== "outline") {
        this.apply(this.tool, this.options, voxel.map(Math.round), this.stroke.normal, erases);
      }
    },
    moved(event) {
      this.showBrush(event);
      if (event.pointerId !== this.stroke?.pointer) return;
      event.stopPropagation();
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) {
        const voxel = this.voxel(each, this.stroke.tile);
        if (!voxel) continue;
        if (this.edits.step) this.paint(voxel);
        else if (this.tool === "outline") { this.stroke.points.push(voxel); this.showOutline(each); }
      }
    },
    released(event) {
      if (event.pointerId !== this.stroke?.pointer || this.stroke.ended) return;
      event.stopPropagation();
      const { points, normal, erases } = this.stroke;
      if (this.tool === "outline" && points.length > 2) {
        this.edits.begin();
        const value = erases || this.options.what === "erase" ? 0 : this.row + 1;
        this.edits.polygon(points, normal, points[0][normal], value, this.may(value, true));
      }
      if (this.edits.step) this.finish();
      this.showOutline(null);
      const ended = Object.assign(this.stroke, { ended: true });
      setTimeout(() => { if (this.stroke === ended) this.stroke = null; }, 0); // after the mouse's event that follows this one
    },
    cancelStroke() {
      if (this.edits?.step) { const { low, high } = this.edits.cancel(); this.upload(low, high); this.nv.drawScene(); }
      this.showOutline(null);
      this.stroke = null;
    },

    // Tools

    mayDraw() {
      const row = this.rows[this.row];
      if (this.aside) this.say("This is an older version: go back to the drawing, or restore it.");
      else if (!row) this.say("Choose a structure first, or add one.");
      else if (row.locked) this.say(`${row.name} is protected: unlock it to draw on it.`);
      else if (!row.visible) this.say(`${row.name} is hidden: show it to draw on it.`);
      else return true;
      return false;
    },
    may(value, erasesOne) { // which voxels a tool changes
      const { labels } = this.edits, { limit, from, to } = this.options, own = this.row + 1;
      const only = value === 0 && erasesOne ? (at) => labels[at] === own : () => true;
      if (limit !== "range") return only;
      return (at) => { const grey = this.grey(at); return grey >= from && grey <= to && only(at); };
    },
    grey(at) { return this.nv.volumes[0].img[at] * this.slope + this.intercept; },
    paint(voxel) {
      const { normal, last, erases } = this.stroke, { size, reach, what } = this.options;
      const value = erases || this.tool === "eraser" ? 0 : this.row + 1;
      const painted = this.edits.capsule(last, voxel, size / 2, reach === "slice" ? normal : undefined, value, this.may(value, what !== "all"));
      this.stroke.last = voxel;
      this.upload(...painted);
      this.nv.drawScene();
    },
    applyHere(event) { // by the keyboard: at the crosshair
      if (this.tool === "move" || this.tool === "outline" || !this.mayDraw()) return;
      event.preventDefault();
      const at = this.here(), { normal } = this.plane;
      if (this.tool !== "brush" && this.tool !== "eraser") { this.apply(this.tool, this.options, at, normal, event.altKey); return; }
      this.stroke = { normal, last: at, erases: event.altKey };
      this.edits.begin();
      this.paint(at);
      this.finish();
      this.stroke = null;
    },
    apply(tool, options, at, normal, erases) {
      const { edits } = this, value = this.row + 1, slice = options.reach === "slice";
      const plane = slice ? normal ?? this.plane.normal : undefined;
      if (at && !edits.inside(at)) return;
      if (tool === "click") { this.tell("clicked", { at, positive: !erases }); return; }
      const under = at ? edits.labels[edits.index(at)] : 0;
      edits.begin();
      if (tool === "fill") this.fill(at, plane, under, value);
      else if (tool === "take") this.take(at, plane, under, value);
      else if (tool === "grow") this.grow(at, plane, under, value);
      else if (tool === "smooth") edits.smooth(value, options.sigma, plane, this.here()[this.plane.normal]);
      else if (!edits.between(value, this.plane.normal))
        this.say(`There is nothing between: draw ${this.rows[this.row].name} in two slices of the ${this.plane.name.toLowerCase()} plane first.`);
      this.finish();
    },
    around(points, margin) { return drawnAround(this.edits, this.row + 1, points, margin); },
    answered(box, bytes) {
      this.edits.begin();
      putAnswer(this.edits, this.row + 1, box, bytes);
      this.finish();
    },
    fill(at, plane, under, value) {
      if (under === value) { this.say("This is filled already."); return; }
      const region = this.edits.region(at, plane, (n) => this.edits.labels[n] === under);
      if (!region || (!under && region.open)) this.say("The contour is not closed: the fill would run out of it.");
      else this.edits.put(region, value);
    },
    take(at, plane, under, value) {
      if (!under || under === value) { this.say("Click a piece of another structure."); return; }
      if (this.rows[under - 1].locked) { this.say(`${this.rows[under - 1].name} is protected: unlock it to take from it.`); return; }
      const region = this.edits.region(at, plane, (n) => this.edits.labels[n] === under);
      if (region) this.edits.put(region, value);
    },
    grow(at, plane, under, value) {
      if (under && under !== value) { this.say("Click what is empty: here is another structure."); return; }
      const { spacing, labels } = this.edits, { tolerance, distance } = this.options;
      let sum = 0, count = 0;
      for (const i of [-1, 0, 1]) for (const j of [-1, 0, 1]) for (const k of [-1, 0, 1]) {
        const near = [at[0] + i, at[1] + j, at[2] + k];
        if (this.edits.inside(near)) { sum += this.grey(this.edits.index(near)); count++; }
      }
      const mean = sum / count, region = this.edits.region(at, plane, (n) => {
        if ((labels[n] && labels[n] !== value) || Math.abs(this.grey(n) - mean) > tolerance) return false;
        const away = this.edits.place(n);
        return away.reduce((total, v, axis) => total + ((v - at[axis]) * spacing[axis]) ** 2, 0) <= distance ** 2;
      });
      if (!region?.voxels.length) this.say("Nothing here is as bright as around the pointer.");
      else this.edits.put(region, value);
    },
    finish() { this.changed(this.edits.end()); },
    changed(step) {
      if (!step) return;
      this.upload(step.low, step.high);
      this.hideScanIn3D();
      this.nv.drawScene();
      const { steps, undone } = this.edits;
      this.tell("drawn", { undo: steps.length, redo: undone.length, rows: [...step.values].filter((v) => v > 0).map((v) => v - 1) });
    },

    // The screen

    upload(low, high) { // a box of the drawing to the graphics card
      const { gl } = this.nv, { dims, labels } = this.edits;
      if (low.some((v, n) => v > high[n])) return;
      gl.activeTexture(TEXTURE);
      gl.bindTexture(gl.TEXTURE_3D, this.nv.drawTexture);
      const settings = [[gl.UNPACK_ALIGNMENT, 1], [gl.UNPACK_ROW_LENGTH, dims[0]], [gl.UNPACK_IMAGE_HEIGHT, dims[1]],
        [gl.UNPACK_SKIP_PIXELS, low[0]], [gl.UNPACK_SKIP_ROWS, low[1]], [gl.UNPACK_SKIP_IMAGES, low[2]]];
      for (const [name, value] of settings) gl.pixelStorei(name, value);
      gl.texSubImage3D(gl.TEXTURE_3D, 0, ...low, ...high.map((v, n) => v - low[n] + 1), gl.RED, gl.UNSIGNED_BYTE, labels);
      for (const [name] of settings.slice(1)) gl.pixelStorei(name, 0);
    },
    hideScanIn3D() { // as the viewer, but the bones are the drawing's
      const { gl, renderShader } = this.nv;
      if (!renderShader) return;
      renderShader.use(gl);
      gl.uniform1f(renderShader.uniforms.backOpacity, this.scanIn3D || !this.rows?.length ? 1 : 0);
    },
    showBrush(event) { // a circle of the brush's size around the pointer
      const ellipse = this.overlay.firstChild, tile = event && this.edits && this.tile(event);
      const shown = tile && tile.axCorSag <= 2 && (this.tool === "brush" || this.tool === "eraser");
      ellipse.style.display = shown ? "" : "none";
      if (!shown) return;
      const box = this.$refs.canvas.getBoundingClientRect(), pixels = Math.abs(tile.leftTopWidthHeight[2] / tile.fovMM[0]) / this.nv.uiData.dpr;
      const values = { cx: event.clientX - box.left, cy: event.clientY - box.top, rx: (pixels * this.options.size) / 2, ry: (pixels * this.options.size) / 2 };
      for (const [name, value] of Object.entries(values)) ellipse.setAttribute(name, value);
      ellipse.style.stroke = this.tool === "eraser" || event.ctrlKey ? "#fff" : this.rows[this.row]?.colour ?? "#fff";
    },
    showOutline(event) {
      const line = this.overlay.lastChild, box = this.$refs.canvas.getBoundingClientRect();
      const points = event ? `${line.getAttribute("points") ?? ""} ${event.clientX - box.left},${event.clientY - box.top}` : "";
      line.setAttribute("points", points);
      line.style.stroke = this.rows[this.row]?.colour ?? "#fff";
    },
    describe(where) {
      const line = VolumeView.methods.describe.call(this, where), value = this.edits?.labels[this.edits.index([...where.vox].slice(0, 3))];
      return value ? `${line}  ·  ${this.rows[value - 1]?.name ?? ""}` : line;
    },
  },
};
