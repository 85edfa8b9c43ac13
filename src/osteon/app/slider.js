// A slider that screen readers know by its name and by its value in words, and that keeps its place while it is dragged.
export default {
  template: `
    <input type="range" class="osteon-slider" :min="lowest" :max="highest" :step="step" v-model.number="at"
      :aria-label="label" :aria-valuetext="valueText" :title="valueText" @input="$emit('moved', at)">`,
  props: { label: String, lowest: Number, highest: Number, step: Number, to: Array, factor: Number, unit: String },
  data() { return { at: this.to[0] }; },
  watch: { to([value]) { this.at = value; } },
  computed: { valueText() { return `${Number((this.at * this.factor).toPrecision(5))} ${this.unit}`.trim(); } },
};
