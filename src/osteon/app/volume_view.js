// NiiVue in one element: an image, label volumes coloured by a table, three linked slices and a 3D view.
import { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, DRAG_MODE, MULTIPLANAR_TYPE } from "niivue";

const LAYOUTS = {
  all: SLICE_TYPE.MULTIPLANAR, slices: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, solid: SLICE_TYPE.RENDER,
};
const MOVES = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
const linked = (window.osteonViews ??= new Map());
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

export default {
  template: `
    <div class="osteon-view">
      <canvas ref="canvas" tabindex="0" role="img" :aria-label="label"></canvas>
      <img v-if="poster && !ready" class="osteon-poster" :src="poster" alt="Three slices, while the viewer loads">
      <div v-if="problem" class="osteon-problem" role="alert">{{ problem }}</div>
      <div class="osteon-place">{{ place }}</div>
    </div>`,
  props: { label: String, poster: String, group: String, scene: Object },
  watch: { "scene.key"() { this.show(this.scene); } },
  data: () => ({ ready: false, problem: "", place: "" }),
  mounted() {
    this.$refs.canvas.osteonView = this; // for tests and benchmarks
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
        crosshairWidth: 0.5, crosshairWidthUnit: "percent", isRadiologicalConvention: true, isNearestInterpolation: false,
        viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", dragMode: DRAG_MODE.pan, logLevel: "silent",
        multiplanarShowRender: SHOW_RENDER.NEVER, isOrientationTextVisible: true, fontColor: [1, 0.85, 0.4, 1],
        rulerWidth: 2, measureLineColor: [0.3, 0.9, 1, 1], measureTextColor: [0.3, 0.9, 1, 1], loadingText: "" });
      this.nv = nv;
      nv.__v_skip = true; // Vue must not wrap it: NiiVue compares objects by identity
      nv.keyDownListener = () => {}; // the keys are osteon's
      const refresh = nv.refreshLayers.bind(nv); // outlines are NiiVue's for all layers at once; here each has its own
      nv.refreshLayers = (volume, number) => { nv.opts.atlasOutline = volume.osteonOutline ? 1 : 0; refresh(volume, number); };
      nv.onLocationChange = (where) => { this.place = this.told(where); };
      try {
        await nv.attachToCanvas(this.$refs.canvas, false);
      } catch (error) {
        this.problem = `This browser shows no 3D graphics (WebGL 2): ${error.message}`;
        throw error;
      }
      const info = nv.gl.getExtension("WEBGL_debug_renderer_info");
      const name = info ? nv.gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
      this.software = /swiftshader|llvmpipe|software/i.test(name);
      this.$refs.canvas.addEventListener("keydown", (event) => this.key(event));
      if (this.group) this.link();
    },
    link() {
      if (!linked.has(this.group)) linked.set(this.group, new Set());
      linked.get(this.group).add(this);
      const views = [...linked.get(this.group)];
      for (const view of views) view.nv.broadcastTo(views.filter((other) => other !== view).map((other) => other.nv), { "2d": true, "3d": true });
    },
    async show(wanted) {
      const began = performance.now(), scene = JSON.parse(JSON.stringify(wanted)); // plain, without Vue's proxies
      await this.started;
      this.shown = scene;
      try {
        const volumes = await Promise.all([scene.image, ...scene.layers.map((layer) => layer.url)].map(
          (url) => NVImage.loadFromUrl({ url: new URL(url, location.href).href, name: url.split("/").pop() })));
        volumes.slice(1).forEach((volume, number) => this.dress(volume, scene.layers[number]));
        [volumes[0].cal_min, volumes[0].cal_max] = scene.window;
        const kept = this.nv.volumes.length ? [...this.nv.scene.crosshairPos] : null;
        this.nv.volumes = volumes;
        this.nv.back = volumes[0];
        this.nv.overlays = volumes.slice(1);
        this.layout(scene.layout === "all" && this.software && !scene.asked ? "slices" : scene.layout);
        this.nv.updateGLVolume();
        if (kept) this.nv.scene.crosshairPos = kept;
        this.nv.createOnLocationChange();
        this.nv.drawScene();
      } catch (error) {
        this.problem = `The scan could not be shown: ${error.message}. Reload the page to try again.`;
        throw error;
      }
      this.ready = true;
      this.$emit("ready", { seconds: (performance.now() - began) / 1000, software: this.software });
    },
    dress(volume, layer) {
      volume.hdr.intent_code = 1002; // labels: never interpolated, coloured by a table
      volume.osteonOutline = layer.outline;
      const colours = layer.structures.map((s) => rgb(s.colour));
      const table = { I: [0], R: [0], G: [0], B: [0], A: [0], labels: [""] };
      layer.structures.forEach((s, n) => {
        table.I.push(n + 1); table.R.push(colours[n][0]); table.G.push(colours[n][1]); table.B.push(colours[n][2]);
        table.A.push(Math.round(255 * s.opacity)); table.labels.push(s.name);
      });
      volume.setColormapLabel(table);
      volume.opacity = layer.hidden ? 0 : 1;
    },
    style(layer, number, colour, opacity) { this.styles(layer, [[number, colour, opacity]]); },
    styles(layer, changes) {
      const lut = this.nv.volumes[layer + 1]?.colormapLabel?.lut;
      if (!lut) return;
      for (const [number, colour, opacity] of changes) {
        lut.set([...rgb(colour), Math.round(255 * opacity)], 4 * (number + 1));
      }
      this.repaint();
    },
    outline(layer, on) { this.nv.volumes[layer + 1].osteonOutline = on; this.repaint(); },
    hide(layer, hidden) { this.nv.volumes[layer + 1].opacity = hidden ? 0 : 1; this.repaint(); },
    repaint() {
      this.nv.refreshColormaps();
      this.nv.volumes.forEach((volume, number) => { if (number) this.nv.refreshLayers(volume, number); });
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
    },
    convention(radiological) { this.nv.setRadiologicalConvention(radiological); this.nv.drawScene(); },
    measure(on) { this.nv.opts.dragModePrimary = on ? DRAG_MODE.measurement : DRAG_MODE.crosshair; },
    clear() { this.nv.clearAllMeasurements(); },
    zoom(factor) {
      const pan = this.nv.scene.pan2Dxyzmm;
      this.nv.setPan2Dxyzmm([pan[0], pan[1], pan[2], Math.min(20, Math.max(0.2, factor ? pan[3] * factor : 1))]);
      if (!factor) this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    },
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const move = MOVES[event.key];
      if (move) this.nv.moveCrosshairInVox(...move.map((step) => step * (event.shiftKey ? 10 : 1)));
      else if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else if (event.key === "Home") this.zoom(0);
      else return;
      this.nv.sync();
      event.preventDefault();
    },
    told(where) {
      const letters = ["RL", "AP", "SI"];
      const place = [...where.mm].slice(0, 3).map((v, n) => `${letters[n][v < 0 ? 1 : 0]} ${Math.abs(v).toFixed(1)}`).join("  ");
      const names = where.values.slice(1).map((v, n) => this.shown?.layers[n]?.structures[Math.round(v.value) - 1]?.name);
      const value = where.values[0] ? `  ·  ${+where.values[0].value.toFixed(1)} ${this.shown?.intensity ?? ""}` : "";
      return [`${place} ${this.shown?.unit ?? "mm"}${value}`, ...names.filter(Boolean)].join("  ·  ");
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
