// Beside a drawing view: tools, structures, undo, autosave, saving, versions, who else is here. Its calls: drawing/views.py.
import CLICKING from "osteon-drawing/panel_clicks.js";
import { heldKeys, keyList, keys } from "osteon-drawing/panel_keys.js";
import SAVING from "osteon-drawing/panel_saving.js";
import SECOND_READING from "osteon-drawing/panel_second.js";
import TEMPLATE from "osteon-drawing/panel_template.js";
import { Session, duration, moment, pieceColour } from "osteon-drawing/session.js";

const HEARTBEAT_MS = 10_000;
const icon = (name) => ({ class: "q-icon notranslate material-icons", "aria-hidden": "true", innerHTML: name });

export default {
  mixins: [SAVING, CLICKING, SECOND_READING],
  template: TEMPLATE,
  props: { viewId: Number, url: String, kind: String, presets: Array, layouts: Object, unit: String, cases: Array, asSecond: Boolean },
  data: () => ({
    loaded: false, status: "Loading the label …", said: "", notices: [], state: {}, rows: [], chosen: -1, tools: [], tool: "move", shown: "", options: {},
    undoable: 0, redoable: 0, dirty: false, drafted: false, base: 0, what: "", peeked: null, opacity: 55, outlines: false, preset: 0, range: [0, 1], layout: "slices",
    author: "", question: {}, others: [], newer: null,
  }),
  computed: {
    shownTool() { return this.tools.find(({ name }) => name === this.shown); },
    visibleOptions() {
      const set = this.options[this.shownTool.name];
      return this.shownTool.options.filter(({ name }) => !["from", "to"].includes(name) || set.limit === "range");
    },
    entries() { return this.rows.map(({ structure, value }) => [structure, value]); },
    othersLocked() { return this.rows.length > 1 && this.rows.every((row, n) => row.locked === (n !== this.chosen)); },
    canAddPiece() { return this.rows[this.chosen]?.piece ?? false; },
    otherDrafts() { return (this.state.drafts ?? []).filter(({ author }) => author !== (this.author || "somebody")); },
    versions() {
      const own = (this.state.versions ?? []).map((one) => ({ ...one, title: `Version ${one.number}: ${one.kind} by ${one.author || "somebody"}`,
        text: [moment(one.at), one.seconds ? duration(one.seconds) : "", one.base ? `from version ${one.base}` : this.state.imported ? "from the imported label" : "", one.what].filter(Boolean).join(" · ") }));
      const imported = this.state.imported ? [{ number: 0, kind: "imported", title: "The imported label", text: "" }] : [];
      return [...imported, ...own].reverse();
    },
    keyList() { return keyList(this.tools, this.kind); },
  },
  mounted() {
    this.session = new Session(this.url);
    this.author = this.session.author;
    this.range = this.presets[0].slice(1);
    this.off = new AbortController();
    const on = (target, name, then, options) => target.addEventListener(name, then, { signal: this.off.signal, ...options });
    for (const name of ["pointerdown", "pointermove", "wheel", "keydown"]) on(window, name, () => this.session.noteActivity(), { passive: true });
    on(window, "keydown", (event) => this.key(event));
    on(window, "beforeunload", (event) => { if (this.dirty && !this.stashed) event.preventDefault(); });
    on(window, "pagehide", () => this.session.leave());
    on(document, "visibilitychange", () => { if (document.hidden) this.keep(); });
    for (const name of ["ready", "drawn", "picked", "set", "said", "clicked"]) on(document, `osteon-${name}`, ({ detail }) => this[`on_${name}`](detail));
    this.find();
  },
  unmounted() { this.off.abort(); clearInterval(this.heartbeat); clearTimeout(this.timer); this.session.leave(); },
  methods: {
    icon,
    moment,
    async find() { // the view beside it, which may be ready already
      for (;;) {
        const view = getElement(this.viewId);
        if (view?.tools) { this.view = view; break; }
        await new Promise((then) => setTimeout(then, 30));
      }
      this.tools = this.view.tools();
      this.options = Object.fromEntries(this.tools.map((tool) => [tool.name, Object.fromEntries(tool.options.map((one) => [one.name, one.value]))]));
      if (this.view.shownOnce) this.on_ready();
    },
    async on_ready() {
      if (this.started || !this.view) return;
      this.started = true;
      await this.attempt(() => this.open());
      this.heartbeat = setInterval(() => this.beat(), HEARTBEAT_MS);
      this.beat();
    },
    async attempt(then) { try { return await then(); } catch (error) { this.status = error.message; if (!error.status && error.name !== "Error") console.error(error); return undefined; } },

    // What is drawn on

    async open() { // a draft of one's own, else the label that counts, else a prediction, else nothing
      this.state = await this.session.state();
      this.offerClickTools();
      this.notices = [];
      const stashed = await this.session.stash().catch(() => undefined);
      if (stashed?.author === this.author && this.takeStashed(stashed)) return;
      const own = this.state.drafts.find(({ author }) => author === (this.author || "somebody")), [result] = this.state.results;
      if (own) {
        await this.begin({ version: "draft" }, own.what, own.base);
        this.session.seconds = own.seconds;
        this.drafted = true;
        this.notice(`This is your unsaved draft of ${moment(own.at)}.`, [["Discard it", () => this.discard()]]);
        if (this.asSecond && !this.second) this.notice("A second reading begins when this draft is saved or discarded.", []);
        if (!this.second && own.base !== this.state.current) this.noticeNewer(this.state.current, this.state.versions[this.state.current - 1]?.author);
      } else if (this.asSecond) this.beginSecond(this.state.results);
      else if (!this.state.current && !this.state.imported && result) {
        await this.begin({ version: "result", result: result.id }, `from the prediction ${result.title}`);
        this.notice(`Begun with the prediction ${result.title}.`, [["Begin empty", () => { this.notices = []; this.begin({ version: 0 }, ""); }]]);
      } else await this.begin({ version: this.state.current }, "");
    },
    takeStashed({ bytes, entries, base, what, seconds, at }) {
      try { this.lay(bytes, entries, base, what); } catch { return false; } // of another scan, or structures that are gone
      [this.session.seconds, this.hasStash, this.stashed, this.dirty, this.changedAt] = [seconds, true, true, true, performance.now()];
      this.notice(`This is your drawing of ${moment(at)}, which this browser kept while the server did not answer.`, [["Discard it", () => this.discard()]]);
      this.keep();
      return true;
    },
    async begin(query, what, base) {
      this.status = "Loading the label …";
      const { bytes, entries } = await this.session.label(query);
      this.lay(bytes, entries, base ?? this.state.current, what);
      const saved = this.state.current ? `version ${this.state.current}` : this.state.imported ? "the imported label" : "an empty label";
      this.status = query.version === "draft" ? "Your draft; nothing of it is saved as a version yet." : this.saved.what ? `Begun ${this.saved.what}; nothing is saved yet.` : `This is ${saved}.`;
    },
    lay(bytes, entries, base, what) {
      [this.base, this.what, this.dirty, this.drafted, this.session.seconds] = [base, what, false, false, 0];
      this.noteReading(what);
      this.setEntries(entries);
      this.view.load(bytes, this.plainRows());
      this.loaded = true;
      if (this.chosen < 0 && this.rows.length) this.choose(0);
      this.useTool(this.tools.find(({ name }) => name === this.tool), true);
    },
    setEntries(entries) {
      const before = new Map(this.rows.map((row) => [row.value, row])), named = new Map(this.state.structures.map((s) => [s.name, s]));
      this.rows = entries.map(([name, value]) => {
        const structure = named.get(name), number = value - structure.value + 1, old = before.get(value);
        return { key: value, structure: name, value, piece: !!structure.instances, name: structure.instances ? `${name}, piece ${number}` : name,
          colour: structure.instances ? pieceColour(structure.colour, number) : structure.colour, visible: old?.visible ?? true, locked: old?.locked ?? false };
      });
    },
    plainRows() { return this.rows.map(({ name, value, colour, visible, locked }) => ({ name, value, colour, visible, locked, opacity: this.opacity / 100 })); },
    showRows() { this.view.setRows(this.plainRows()); },
    choose(n) { this.said = ""; this.chosen = n; this.view.setStructure(n); this.showPoints(); },
    lockOthers() { const on = !this.othersLocked; this.rows.forEach((row, n) => { row.locked = on && n !== this.chosen; }); this.showRows(); },
    addPiece() { // the structure's next free value
      const { structure, value } = this.rows[this.chosen], all = this.state.structures.find(({ name }) => name === structure);
      const taken = new Set(this.rows.map((row) => row.value));
      let free = all.value;
      while (taken.has(free)) free++;
      if (free > all.last_value || this.rows.length >= 255) { this.status = `${structure} has no room for another piece.`; return; }
      this.setEntries([...this.entries, [structure, free]]);
      this.showRows();
      this.choose(this.rows.length - 1);
      return value;
    },

    // Structures of the dataset

    async addStructure() {
      const name = await this.askText("Add a structure", ["In cases that are labelled already it is unknown until somebody looks for it there."], "", "Add");
      if (!name) return;
      await this.attempt(async () => {
        this.state = { ...this.state, ...(await this.session.post("structures", { name, add: true })) };
        const fresh = this.state.structures.at(-1);
        this.setEntries([...this.entries, [fresh.name, fresh.value]]);
        this.showRows();
        this.choose(this.rows.length - 1);
        this.status = `${fresh.name} was added to the dataset.`;
      });
    },
    async rename(row) {
      const name = await this.askText(`Rename ${row.name}`, ["In the whole dataset."], row.name, "Rename");
      if (name && name !== row.structure) await this.changeStructure(row, { rename: name });
    },
    recolour(row, colour) { return this.changeStructure(row, { colour }); },
    async changeStructure(row, change) {
      await this.attempt(async () => {
        this.state = { ...this.state, ...(await this.session.post("structures", { name: row.structure, ...change })) };
        this.setEntries(this.entries.map(([name, value]) => [this.state.structures.find((s) => s.value <= value && value <= (s.last_value ?? s.value))?.name ?? name, value]));
        this.showRows();
      });
    },

    // Tools

    useTool(one, quiet = false) {
      if (!one) return;
      this.said = "";
      if (!quiet) this.shown = one.options.length || !one.once ? one.name : this.shown;
      if (one.once) { if (!one.options.length) this.runTool(one); return; }
      this.tool = this.shown = one.name;
      this.view.setTool(one.name, { ...this.options[one.name] });
    },
    runTool(one) { this.view.setTool(one.name, { ...this.options[one.name] }); },
    setOption(tool, option, value) {
      const set = this.options[tool.name];
      set[option.name] = option.choices ? value : Math.min(option.most ?? Infinity, Math.max(option.least ?? -Infinity, Number.isFinite(value) ? value : option.value));
      for (const other of this.tools) if (["size", "limit", "from", "to"].includes(option.name) && option.name in (this.options[other.name] ?? {})) this.options[other.name][option.name] = set[option.name];
      if (!tool.once) this.view.setTool(tool.name, { ...set });
    },
    step(name, change) { // of the tool that is used
      const tool = this.tools.find((one) => one.name === this.tool), option = tool?.options.find((one) => one.name === name);
      if (option) this.setOption(tool, option, change(this.options[tool.name][name], option));
    },
    key(event) {
      if (event.target.closest("input:not([type=range]), select, textarea, dialog") || document.querySelector("dialog[open]") || !this.loaded) return;
      const held = event.ctrlKey || event.metaKey, key = event.key.toLowerCase(), commands = held ? heldKeys(this, event) : keys(this);
      if (event.altKey || !commands[key] || (this.peeked && held)) return;
      event.preventDefault();
      commands[key]();
    },
    visit(n) { if (this.cases[n]) location.href = this.cases[n]; },
    setWindow() { this.range = this.presets[this.preset].slice(1); this.view.window(...this.range); },
    async setAuthor(name) { // a draft goes with its author
      const before = this.author;
      this.session.setAuthor(name);
      this.author = this.session.author;
      this.beat();
      if (!this.drafted || this.author === before) return;
      await this.session.dropDraft(before).catch(() => {});
      [this.dirty, this.changedAt] = [true, performance.now()];
      this.schedule();
    },

    // What the view tells

    on_drawn({ undo, redo, rows }) {
      [this.undoable, this.redoable] = [undo, redo];
      this.followClicks(undo);
      if (!rows.length) return;
      [this.dirty, this.stashed, this.said] = [true, false, ""];
      this.status = "Not kept yet …";
      this.changedAt = performance.now();
      this.firstChange ??= this.changedAt;
      this.schedule();
    },
    on_picked({ row }) { this.choose(row); },
    on_set({ option, value }) { this.step(option, () => value); },
    on_said({ text }) { this.said = text; }, // until something else is done: what is kept meanwhile does not hide it
  },
};
