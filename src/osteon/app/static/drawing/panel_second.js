// The panel's part of a second reading: begun empty, so that the first does not lead, and saved beside what counts.
const SECOND = "second reading"; // what a draft of one begins with

export default {
  data() { return { second: this.asSecond }; },
  computed: {
    saved() { return { kind: this.second ? "second reading" : "correction", what: this.what.replace(/^second reading(, )?/, "") }; },
  },
  methods: {
    noteReading(what) { // of what was begun; whether it is a second reading
      this.second = what.startsWith(SECOND);
      return this.second;
    },
    beginSecond([result]) {
      const entries = this.state.structures.map(({ name, value }) => [name, value]);
      const voxels = this.state.shape.reduce((all, length) => all * length, 1);
      this.lay(new Uint8Array(voxels * (this.kind === "picture" ? 4 * Math.ceil(entries.length / 32) : 1)), entries, this.state.current, SECOND);
      this.status = "Nothing is drawn yet.";
      const instead = (query, what) => () => { this.notices = []; return this.attempt(() => this.begin(query, `${SECOND}, ${what}`)); };
      const ways = [["Begin with the first", instead({ version: this.state.current }, "from the first")]];
      if (result) ways.push([`Begin with the prediction ${result.title}`, instead({ version: "result", result: result.id }, `from the prediction ${result.title}`)]);
      this.notice("This is a second reading: it begins empty, so that the first does not lead you, and replaces nothing.", ways);
    },
  },
};
