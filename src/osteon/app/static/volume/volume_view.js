// NiiVue in one element: an image, label volumes coloured by a table, three linked slices and a 3D view.
import { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, DRAG_MODE, MULTIPLANAR_TYPE } from "niivue";
import figure, { FIGURE } from "osteon-volume/figure.js";
import { drawKept, drawnLines } from "osteon-volume/kept_lines.js";
import { linkScans } from "osteon-volume/linked_scans.js";

const LAYOUTS = {
  all: SLICE_TYPE.MULTIPLANAR, slices: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, solid: SLICE_TYPE.RENDER,
};
export const PLANES = [ // by NiiVue's numbers; axes of the patient: 0 to the right, 1 to the front, 2 to the head
  { name: "Axial", normal: 2, across: 0, up: 1 },
  { name: "Coronal", normal: 1, across: 0, up: 2 },
  { name: "Sagittal", normal: 0, across: 1, up: 2 },
];
const LAYOUT_PLANES = { axial: [0], coronal: [1], sagittal: [2], solid: [] };
const ARROWS = { ArrowLeft: ["across", -1], ArrowRight: ["across", 1], ArrowUp: ["up", 1], ArrowDown: ["up", -1],
  PageUp: ["normal", 1], PageDown: ["normal", -1] };
const WHEEL_PIXELS = 40; // pixels that a wheel turns for one slice: a mouse gives more at once, a touchpad less
const CROSSHAIR_PIXELS = 1.5; // pixels of the crosshair, however small a tile or far a zoom
const MAX_EDGE_RATIO = 2; // times the finest edge: the ends of longer voxels have no outline, which would fill slices
const linked = (window.osteonViews ??= new Map());
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// NiiVue 0.69 makes each label's alpha 1, and less at its edge, fills outlines, and takes the scan for solid in 3D.
const SHADER_PATCHES = [
  ["uniform uint activeIndex;", "uniform uint activeIndex;\nuniform vec3 edges;", "activeIndex"],
  [/if \(clr\.a > 0\.0\)\s*clr\.a = 1\.0;/, "", "activeIndex"],
  ["FragColor.a /= 7.0;", "FragColor.a = centerColor.a;", "activeIndex"],
  [/if \(xyzaFrac\.a != 0\.0\) \{ \/\/outline[\s\S]*?(?=if \(layer < 1\.0\) return;)/, `
    bool border = (edges.x > 0.0 && (idx != R || idx != L)) || (edges.y > 0.0 && (idx != A || idx != P)) ||
      (edges.z > 0.0 && (idx != S || idx != I));
    if (xyzaFrac.a != 0.0 && FragColor.a > 0.0) FragColor.a = border ? xyzaFrac.a : 0.0;
    `, "activeIndex"],
  [/(float val = texture\(volume, samplePos\.xyz\)\.a;\s*if \()(val > 0\.01\))/, "$1backOpacity > 0.0 && $2", "uniform float backOpacity"],
];

function patchShaders(gl) { // the context through which NiiVue makes its shaders
  const source = gl.shaderSource.bind(gl), patch = (text, [from, to, where]) => (text.includes(where) ? text.replace(from, to) : text);
  gl.shaderSource = (shader, text) => source(shader, SHADER_PATCHES.reduce(patch, text));
}

export default {
  mixins: [figure],
  template: `
    <div class="osteon-view">
      <div class="osteon-canvas-box">
        <canvas ref="canvas" tabindex="0" role="img" :aria-label="label"></canvas>
        <img v-if="poster && !ready" class="osteon-poster" :src="poster" alt="Three slices, while the viewer loads">
        ${FIGURE}
        <div v-if="problem" class="osteon-problem" role="alert">{{ problem }}</div>
        <div class="osteon-position">{{ position }}</div>
      </div>
      <div class="osteon-slices">
        <label v-for="slice in slices" :key="slice.name">{{ slice.name }}
          <input type="range" class="osteon-slider" min="1" :max="slice.most" :value="slice.at"
            :aria-label="slice.name + ' slice'" :aria-valuetext="slice.number + ' of ' + slice.count"
            @input="goToSlice(slice.plane, +$event.target.value)">
          <span aria-hidden="true">{{ slice.number }} / {{ slice.count }}</span>
        </label>
      </div>
    </div>`,
  props: { label: String, poster: String, group: String, linked: String, scene: Object },
  watch: { "scene.key"() { this.show(this.scene); } },
  data: () => ({ ready: false, problem: "", position: "", slices: [] }),
  mounted() {
    const canvas = this.$refs.canvas;
    canvas.osteonView = this; // for tests and benchmarks
    // NiiVue's focus in the midst of a drag would pull the canvas into view, and the image away from under the mouse.
    canvas.focus = (options) => HTMLElement.prototype.focus.call(canvas, { preventScroll: true, ...options });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false }); // before NiiVue's
    canvas.addEventListener("pointerdown", (event) => { this.plane = PLANES[this.tile(event)?.axCorSag] ?? this.plane; });
    canvas.addEventListener("keydown", (event) => this.key(event));
    [this.plane, this.wheelPixels, this.crosshairWidth, this.scanIn3D] = [PLANES[0], 0, 0, false];
    this.started = this.start();
    if (this.scene) this.show(this.scene);
  },
  unmounted() {
    linked.get(this.group)?.delete(this);
    this.nv?.cleanup?.();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  },
  methods: {
    async start() {
      const nv = new Niivue({ dragAndDropEnabled: false, backColor: [0, 0, 0, 1], crosshairColor: [0.95, 0.75, 0.2, 0.8],
        crosshairWidthUnit: "mm", isRadiologicalConvention: true, sagittalNoseLeft: true, isNearestInterpolation: false,
        isForceMouseClickToVoxelCenters: true, viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", dragMode: DRAG_MODE.pan, logLevel: "silent",
        multiplanarShowRender: SHOW_RENDER.NEVER, isOrientationTextVisible: true, fontColor: [1, 0.85, 0.4, 1],
        rulerWidth: 2, rulerColor: [0.3, 0.9, 1, 1], measureLineColor: [0.3, 0.9, 1, 1], measureTextColor: [0.3, 0.9, 1, 1], loadingText: "" });
      this.nv = nv;
      nv.__v_skip = true; // Vue must not wrap it: NiiVue compares objects by identity
      this.watchFigure(nv);
      nv.keyDownListener = () => {}; // the keys are osteon's
      if (this.linked) linkScans(nv, this.linked);
      const refresh = nv.refreshLayers.bind(nv); // outlines are NiiVue's for all layers at once; here each has its own
      nv.refreshLayers = (volume, number) => {
        nv.opts.atlasOutline = volume.osteonOutline ? 1 : 0;
        refresh(volume, number);
        this.hideScanIn3D();
      };
      const crosshairs = nv.drawCrosshairs3D.bind(nv);
      nv.drawCrosshairs3D = (depth, alpha, matrix, flat = false, mm = true) => {
        this.setCrosshairWidth(flat);
        crosshairs(depth, alpha, matrix, flat, mm);
      };
      nv.onLocationChange = (where) => { this.position = this.describe(where); this.updateSlices(); };
      try {
        const gl = this.$refs.canvas.getContext("webgl2", { alpha: true, antialias: false }); // as NiiVue asks for it
        if (gl) patchShaders(gl);
        await nv.attachToCanvas(this.$refs.canvas, false);
      } catch (error) {
        this.problem = `This browser shows no 3D graphics (WebGL 2): ${error.message}`;
        throw error;
      }
      const info = nv.gl.getExtension("WEBGL_debug_renderer_info");
      const name = info ? nv.gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
      this.software = /swiftshader|llvmpipe|software/i.test(name);
      if (this.group) this.link();
    },
    link() {
      const views = [...(linked.get(this.group) ?? []), this];
      linked.set(this.group, new Set(views));
      for (const view of views) view.nv.broadcastTo(views.filter((other) => other !== view).map((other) => other.nv), { "2d": true, "3d": true });
    },
    syncOthers() { // as NiiVue's sync, which does nothing unless the canvas has the keyboard
      for (const { nv, ready } of linked.get(this.group) ?? []) {
        if (nv === this.nv || !ready) continue;
        this.nv.doSync2d(nv);
        this.nv.doSync3d(nv);
        nv.drawScene();
        nv.createOnLocationChange();
      }
    },
    async show(request) {
      const start = performance.now(), scene = JSON.parse(JSON.stringify(request)); // plain, without Vue's proxies
      await this.started;
      this.shown = scene;
      try {
        const volumes = await Promise.all([scene.image, ...scene.layers.map((layer) => layer.url)].map(
          (url) => NVImage.loadFromUrl({ url: new URL(url, location.href).href, name: url.split("/").pop() })));
        volumes.slice(1).forEach((volume, number) => this.setColours(volume, scene.layers[number]));
        [volumes[0].cal_min, volumes[0].cal_max] = scene.window;
        const kept = this.nv.volumes.length ? [...this.nv.scene.crosshairPos] : null;
        this.nv.volumes = volumes;
        this.nv.back = volumes[0];
        this.nv.overlays = volumes.slice(1);
        this.nv.opts.isSliceMM = scene.sheared; // along the world's axes: only there are lengths of sheared scans true
        this.nv.opts.isOrientationTextVisible = scene.oriented;
        this.setEdges(volumes[0].pixDimsRAS.slice(1, 4));
        this.layout(scene.layout === "all" && this.software && !scene.asked ? "slices" : scene.layout);
        this.nv.updateGLVolume();
        this.nv.scene.crosshairPos = this.nv.vox2frac(this.nv.frac2vox(kept ?? this.nv.scene.crosshairPos));
        this.nv.createOnLocationChange();
        this.nv.drawScene();
      } catch (error) {
        this.problem = `The scan could not be shown: ${error.message}. Reload the page to try again.`;
        throw error;
      }
      this.ready = true;
      this.$emit("ready", { seconds: (performance.now() - start) / 1000, software: this.software });
    },
    setColours(volume, layer) {
      volume.hdr.intent_code = 1002; // labels: never interpolated, coloured by a table
      volume.osteonOutline = layer.outline;
      const table = { I: [0], R: [0], G: [0], B: [0], A: [0], labels: [""] };
      layer.structures.forEach((s, n) => {
        const [red, green, blue] = rgb(s.colour);
        table.I.push(n + 1); table.R.push(red); table.G.push(green); table.B.push(blue);
        table.A.push(Math.round(255 * s.opacity)); table.labels.push(s.name);
      });
      volume.setColormapLabel(table);
    },
    setEdges(spacing) { // along which axes a voxel's neighbours make it an outline's
      const { gl } = this.nv, finest = Math.min(...spacing);
      for (const { program } of [this.nv.orientShaderAtlasU, this.nv.orientShaderAtlasI]) {
        gl.useProgram(program);
        gl.uniform3fv(gl.getUniformLocation(program, "edges"), spacing.map((edge) => +(edge <= MAX_EDGE_RATIO * finest)));
      }
    },
    hideScanIn3D() { // in 3D the bones alone, unless the scan around them is asked for, or there are none
      const { gl, renderShader } = this.nv;
      renderShader.use(gl);
      gl.uniform1f(renderShader.uniforms.backOpacity, this.scanIn3D || !this.nv.overlays.length ? 1 : 0);
    },
    setCrosshairWidth(flat) { // NiiVue's crosshair is a rod in the world; in a slice it is made as wide as a line
      const tile = this.nv.screenSlices.at(-1);
      const wide = flat && tile ? CROSSHAIR_PIXELS * this.nv.uiData.dpr * Math.abs(tile.fovMM[0] / tile.leftTopWidthHeight[2])
        : this.nv.sceneExtentsMinMax()[2][0] / 200;
      if (wide !== this.crosshairWidth && this.nv.crosshairs3D) this.nv.crosshairs3D.mm[0] = NaN; // made anew
      this.nv.opts.crosshairWidth = this.crosshairWidth = wide;
    },
    styles(layer, changes) {
      const lut = this.nv.volumes[layer + 1]?.colormapLabel?.lut;
      if (!lut) return;
      for (const [number, colour, opacity] of changes) lut.set([...rgb(colour), Math.round(255 * opacity)], 4 * (number + 1));
      this.repaint();
    },
    outline(layer, on) { this.nv.volumes[layer + 1].osteonOutline = on; this.repaint(); },
    repaint() {
      this.nv.refreshColormaps();
      this.nv.overlays.forEach((volume, number) => this.nv.refreshLayers(volume, number + 1));
      this.nv.drawScene();
      this.nv.gl.finish();
      this.painted = performance.now();
    },
    window(low, high) {
      [this.nv.volumes[0].cal_min, this.nv.volumes[0].cal_max] = [low, high];
      this.nv.refreshLayers(this.nv.volumes[0], 0);
      this.repaint();
    },
    layout(name) {
      this.nv.opts.multiplanarShowRender = name === "all" ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
      this.nv.opts.multiplanarLayout = name === "all" ? MULTIPLANAR_TYPE.GRID : MULTIPLANAR_TYPE.AUTO;
      this.nv.setSliceType(LAYOUTS[name] ?? SLICE_TYPE.MULTIPLANAR);
      this.planes = LAYOUT_PLANES[name] ?? [0, 1, 2];
      this.plane = PLANES[this.planes[0] ?? 0];
      this.updateSlices();
    },
    convention(radiological) { this.nv.setRadiologicalConvention(radiological); this.nv.drawScene(); },
    surround(on) { this.scanIn3D = on; this.hideScanIn3D(); this.nv.drawScene(); },
    measure(on) { this.nv.opts.dragModePrimary = on ? DRAG_MODE.measurement : DRAG_MODE.crosshair; },
    clear() { this.nv.clearAllMeasurements(); },
    measured() { return drawnLines(this.nv); },
    keep(lines) { if (this.ready) drawKept(this.nv, JSON.parse(JSON.stringify(lines))); },
    pointer({ clientX, clientY }) { // in the canvas's own pixels
      const box = this.$refs.canvas.getBoundingClientRect(), { dpr } = this.nv.uiData;
      return [(clientX - box.left) * dpr, (clientY - box.top) * dpr];
    },
    tile(event) { return this.nv.screenSlices[this.nv.tileIndex(...this.pointer(event))]; },
    wheel(event) {
      const tile = this.ready && this.tile(event);
      if (tile?.axCorSag > 2) return; // 3D: nearer and farther, by NiiVue
      event.preventDefault();
      event.stopImmediatePropagation();
      if (!tile) return;
      this.plane = PLANES[tile.axCorSag];
      if (event.ctrlKey || event.metaKey) { // so browsers tell of a pinch, too
        const mm = this.nv.screenXY2mm(...this.pointer(event));
        this.zoom(Math.exp(-Math.min(25, Math.max(-25, event.deltaY)) / 100), Number.isFinite(mm[0]) ? mm : undefined);
        return;
      }
      const delta = event.deltaY || event.deltaX; // Shift makes it deltaX
      if (delta * this.wheelPixels < 0) this.wheelPixels = 0;
      this.wheelPixels += event.deltaMode ? Math.sign(delta) * WHEEL_PIXELS : Math.min(WHEEL_PIXELS, Math.max(-WHEEL_PIXELS, delta));
      const steps = Math.trunc(this.wheelPixels / WHEEL_PIXELS);
      this.wheelPixels -= steps * WHEEL_PIXELS;
      if (steps) this.move(this.plane.normal, -steps * (event.shiftKey ? 10 : 1));
    },
    move(axis, steps) {
      this.nv.moveCrosshairInVox(...[0, 1, 2].map((n) => (n === axis ? steps : 0)));
      this.syncOthers();
    },
    goToSlice(plane, at) {
      const position = [...this.nv.frac2vox(this.nv.scene.crosshairPos)];
      position[PLANES[plane].normal] = at - 1;
      this.plane = PLANES[plane];
      this.nv.scene.crosshairPos = this.nv.vox2frac(position);
      this.nv.createOnLocationChange();
      this.nv.drawScene();
      this.syncOthers();
    },
    goTo(mm) { // in the slices that show it
      this.nv.scene.crosshairPos = this.nv.vox2frac(this.nv.frac2vox(this.nv.mm2frac(mm)));
      this.nv.createOnLocationChange();
      this.nv.drawScene();
      this.syncOthers();
    },
    updateSlices() { // the numbers of the slices on the screen: those of the whole scan, where a preview shows each n-th
      if (!this.nv.volumes[0]?.dims) return; // not yet drawn
      const position = this.nv.frac2vox(this.nv.scene.crosshairPos);
      this.slices = this.planes.map((plane) => {
        const { name, normal } = PLANES[plane], { count, step, flipped } = this.shown.slices[normal];
        const most = this.nv.volumes[0].dimsRAS[normal + 1], at = Math.min(most, Math.max(1, Math.round(position[normal]) + 1));
        const index = Math.min(count - 1, (flipped ? most - at : at - 1) * step + (step >> 1)); // in the file's order
        return { plane, name, most, at, count, number: 1 + (flipped ? count - 1 - index : index) };
      });
    },
    zoom(factor, about) { // nearer to a position in mm, the crosshair's unless another is given
      const pan = this.nv.scene.pan2Dxyzmm, mm = about ?? this.nv.frac2mm(this.nv.scene.crosshairPos);
      const to = Math.min(20, Math.max(0.2, pan[3] * factor));
      this.nv.setPan2Dxyzmm(factor ? [...[0, 1, 2].map((n) => pan[n] + mm[n] * (pan[3] - to)), to] : [0, 0, 0, 1]);
      this.syncOthers();
    },
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.ready) return;
      if (event.key in ARROWS) { // as one sees it: to the right on the screen is to the patient's left, or to the back
        const [way, sign] = ARROWS[event.key], axis = this.plane[way];
        const mirrored = way === "across" && (axis === 1 || this.nv.opts.isRadiologicalConvention) ? -1 : 1;
        this.move(axis, sign * mirrored * (event.shiftKey ? 10 : 1));
      } else if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else if (event.key === "Home") this.zoom(0);
      else return;
      event.preventDefault();
    },
    describe(where) {
      const coordinate = (v, n) => (this.shown?.oriented ? `${["RL", "AP", "SI"][n][+(v < 0)]} ${Math.abs(v).toFixed(1)}` : v.toFixed(1));
      const position = [...where.mm].slice(0, 3).map(coordinate).join("  ");
      const names = where.values.slice(1).map((v, n) => this.shown?.layers[n]?.structures[Math.round(v.value) - 1]?.name);
      const value = where.values[0] ? `  ·  ${+where.values[0].value.toFixed(1)} ${this.shown?.intensity ?? ""}` : "";
      return [`${position} ${this.shown?.unit ?? "mm"}${value}`, ...names.filter(Boolean)].join("  ·  ");
    },
    colours() { // pixels of the canvas that have a colour: for tests
      this.nv.drawScene();
      const { gl } = this.nv, { width, height } = gl.canvas, pixels = new Uint8Array(4 * width * height);
      gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      let count = 0;
      for (let at = 0; at < pixels.length; at += 4) {
        const [r, g, b] = pixels.subarray(at, at + 3);
        if (Math.max(r, g, b) - Math.min(r, g, b) > 24) count++;
      }
      return count;
    },
  },
};
