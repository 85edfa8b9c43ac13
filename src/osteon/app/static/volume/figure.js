// A figure that was measured, drawn over NiiVue's slices: lines are seen through the bones, in each plane.
export const FIGURE = `
  <svg v-if="tiles.length" class="osteon-overlay osteon-figure" aria-hidden="true">
    <svg v-for="(tile, t) in tiles" :key="t" :x="tile.x" :y="tile.y" :width="tile.width" :height="tile.height">
      <g v-for="(shape, s) in tile.shapes" :key="s">
        <circle v-if="shape.radius" :cx="shape.at[0]" :cy="shape.at[1]" :r="shape.radius" />
        <template v-else><polyline :points="shape.line" /><circle v-for="(end, e) in shape.ends" :key="e" class="osteon-end" :cx="end[0]" :cy="end[1]" r="3.5" /></template>
      </g>
    </svg>
  </svg>`;
const AXES = [[0, 1], [0, 2], [1, 2]]; // across and up of axial, coronal and sagittal slices

export default {
  data: () => ({ tiles: [] }),
  methods: {
    figure(drawings) { // [{kind, name, points in mm}]; none: nothing is drawn
      this.drawings = drawings;
      this.placeFigure();
    },
    watchFigure(nv) { // whatever moves the slices moves the figure
      const draw = nv.drawScene.bind(nv);
      nv.drawScene = (...given) => { draw(...given); this.placeFigure(); };
    },
    placeFigure() {
      if (!this.drawings?.length && !this.tiles.length) return;
      const { dpr } = this.nv.uiData, volume = this.nv.volumes[0];
      const tiles = !volume || !this.drawings?.length ? [] : this.nv.screenSlices.filter((tile) => tile.axCorSag < 3);
      this.tiles = tiles.map((tile) => {
        const [left, top, wide, high] = tile.leftTopWidthHeight, width = Math.abs(wide), [a, b] = AXES[tile.axCorSag];
        const place = (mm) => { // in the tile's own pixels
          const at = this.nv.frac2mm(this.nv.mm2frac(mm)), x = (at[a] - tile.leftTopMM[0]) / tile.fovMM[0];
          return [(wide < 0 ? 1 - x : x) * width / dpr, (1 - (at[b] - tile.leftTopMM[1]) / tile.fovMM[1]) * high / dpr];
        };
        const shapes = this.drawings.map(({ kind, points }) => {
          const ends = points.map(place);
          if (kind !== "sphere") return { line: ends.map((end) => end.join()).join(" "), ends };
          const radius = Math.hypot(...points[0].map((v, n) => v - points[1][n]));
          return { at: ends[0], radius: radius * width / Math.abs(tile.fovMM[0]) / dpr };
        });
        return { x: (wide < 0 ? left + wide : left) / dpr, y: top / dpr, width: width / dpr, height: high / dpr, shapes };
      });
    },
    crosshair() { return [...this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)].slice(0, 3); },
  },
};
