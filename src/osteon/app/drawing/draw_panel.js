// Beside a drawing view: tools, structures, undo, autosave, saving, versions, who else is here. Its calls: drawing/views.py.
import { Session, duration, moment, pieceColour } from "osteon-drawing/session.js";

const HEARTBEAT_MS = 10_000, PAUSE_MS = 1_000, LONGEST_WAIT_MS = 10_000, RETRY_MS = 5_000;
const icon = (name) => ({ class: "q-icon notranslate material-icons", "aria-hidden": "true", innerHTML: name });

export default {
  template: `
    <div class="osteon-draw-column">
      <div v-for="line in notices" :key="line.text" class="osteon-draw-notice" role="status">
        <span>{{ line.text }}</span>
        <button v-for="[name, then] in line.then" :key="name" class="osteon-plain" @click="then()">{{ name }}</button>
      </div>
      <div class="osteon-draw-row">
        <button class="osteon-plain osteon-main" :disabled="!loaded || !!peeked" @click="save()">Save</button>
        <button class="osteon-plain" :disabled="!undoable || !!peeked" @click="view.undo()" title="Undo (Ctrl+Z)"><i v-bind="icon('undo')"></i>Undo</button>
        <button class="osteon-plain" :disabled="!redoable || !!peeked" @click="view.redo()" title="Redo (Ctrl+Y)" aria-label="Redo"><i v-bind="icon('redo')"></i></button>
        <button class="osteon-plain" :disabled="!loaded" @click="openVersions()"><i v-bind="icon('history')"></i>Versions</button>
        <button class="osteon-plain" @click="$refs.keys.showModal()" title="Keys (?)" aria-label="Keys"><i v-bind="icon('keyboard')"></i></button>
      </div>
      <p class="osteon-draw-status" role="status">{{ status }}</p>

      <div class="osteon-draw-tools" role="toolbar" aria-label="Drawing tools">
        <button v-for="one in tools" :key="one.name" class="osteon-tool" :aria-pressed="one.once ? null : String(tool === one.name)" :disabled="!!peeked"
          :title="one.label + ' (' + one.key + '): ' + one.hint" @click="useTool(one)">
          <i v-bind="icon(one.icon)"></i><span>{{ one.label }}</span></button>
      </div>
      <fieldset v-if="shownTool" class="osteon-draw-options">
        <legend>{{ shownTool.label }}</legend>
        <p class="osteon-faint">{{ shownTool.hint }}</p>
        <label v-for="option in visibleOptions" :key="option.name">
          <span>{{ option.label }}</span>
          <select v-if="option.choices" :value="options[shownTool.name][option.name]" @change="setOption(shownTool, option, $event.target.value)">
            <option v-for="[value, text] in option.choices" :key="value" :value="value">{{ text }}</option></select>
          <template v-else>
            <input v-if="option.most" type="range" class="osteon-slider" :min="option.least" :max="option.most" :step="option.step" tabindex="-1" aria-hidden="true"
              :value="options[shownTool.name][option.name]" @input="setOption(shownTool, option, +$event.target.value)">
            <input type="number" :min="option.least" :max="option.most" :step="option.step ?? 'any'" :value="options[shownTool.name][option.name]"
              @change="setOption(shownTool, option, +$event.target.value)"><span class="osteon-unit">{{ option.unit }}</span></template>
        </label>
        <button v-if="shownTool.once" class="osteon-plain" :disabled="!!peeked" @click="runTool(shownTool)">{{ shownTool.label }} now</button>
      </fieldset>

      <fieldset class="osteon-draw-options">
        <legend>Structures</legend>
        <div class="osteon-draw-list">
          <div v-for="(row, n) in rows" :key="row.key" class="osteon-draw-structure" :class="{ chosen: n === chosen }">
            <input type="color" class="osteon-swatch" :value="row.colour" :aria-label="'Colour of ' + row.name" :disabled="row.piece" @change="recolour(row, $event.target.value)">
            <button class="osteon-draw-name" :aria-pressed="String(n === chosen)" @click="choose(n)" :title="n < 9 ? 'Key ' + (n + 1) : ''">{{ row.name }}</button>
            <button class="osteon-mini" v-if="!row.piece" :aria-label="'Rename ' + row.name" title="Rename" @click="rename(row)"><i v-bind="icon('edit')"></i></button>
            <button class="osteon-mini" :aria-label="'Show ' + row.name" :aria-pressed="String(row.visible)" title="Show or hide" @click="row.visible = !row.visible; showRows()">
              <i v-bind="icon(row.visible ? 'visibility' : 'visibility_off')"></i></button>
            <button class="osteon-mini" :aria-label="'Protect ' + row.name" :aria-pressed="String(row.locked)" title="Protect from being drawn over" @click="row.locked = !row.locked; showRows()">
              <i v-bind="icon(row.locked ? 'lock' : 'lock_open')"></i></button>
          </div>
        </div>
        <div class="osteon-draw-row">
          <button class="osteon-plain" :disabled="!loaded" @click="addStructure()"><i v-bind="icon('add')"></i>Add</button>
          <button v-if="canAddPiece" class="osteon-plain" @click="addPiece()">New piece</button>
          <button class="osteon-plain" :aria-pressed="String(othersLocked)" :disabled="chosen < 0" @click="lockOthers()" title="Key k">Protect the others</button>
        </div>
        <label><span>Opacity</span><input type="range" class="osteon-slider" min="5" max="100" :value="opacity" aria-label="Opacity of the drawing" @input="opacity = +$event.target.value; showRows()"></label>
        <label v-if="kind === 'volume'"><span>Outlines only</span><input type="checkbox" v-model="outlines" @change="view.setOutlines(outlines)"></label>
      </fieldset>

      <fieldset class="osteon-draw-options">
        <legend>View</legend>
        <label><span>Window</span><select v-model.number="preset" @change="setWindow()"><option v-for="([name], n) in presets" :key="name" :value="n">{{ name }}</option></select></label>
        <label v-for="end in [0, 1]" :key="end"><span>{{ ["Black up to", "White from"][end] }}</span>
          <input type="number" step="any" v-model.number="range[end]" @change="view.window(range[0], Math.max(range[1], range[0] + 1e-6))"><span class="osteon-unit">{{ unit }}</span></label>
        <label v-if="kind === 'volume'"><span>Layout</span><select v-model="layout" @change="view.layout(layout)"><option v-for="(text, name) in layouts" :key="name" :value="name">{{ text }}</option></select></label>
        <label><span>Your name</span><input type="text" ref="author" maxlength="80" :value="author" autocomplete="name" @change="setAuthor($event.target.value)"></label>
      </fieldset>

      <dialog ref="versions" class="osteon-dialog" aria-labelledby="osteon-versions">
        <h2 id="osteon-versions">Versions</h2>
        <p v-if="!state.versions?.length && !state.imported" class="osteon-faint">No label has been saved yet.</p>
        <div v-for="one in versions" :key="one.number" class="osteon-draw-version">
          <div><b>{{ one.title }}</b><span v-if="one.number === state.current" class="osteon-chip osteon-good">counts now</span><br><span class="osteon-faint">{{ one.text }}</span></div>
          <button class="osteon-plain" @click="look(one)">Look</button>
          <button class="osteon-plain" v-if="one.number !== state.current && one.kind !== 'second reading'" @click="restore(one)">Restore</button>
        </div>
        <template v-if="state.results?.length"><h2>Predictions</h2>
          <div v-for="one in state.results" :key="one.id" class="osteon-draw-version"><div><b>{{ one.title }}</b></div>
            <button class="osteon-plain" @click="$refs.versions.close(); begin({ version: 'result', result: one.id }, 'from the prediction ' + one.title)">Begin with it</button></div></template>
        <p v-for="one in otherDrafts" :key="one.author" class="osteon-faint">{{ one.author }} has an unsaved draft of {{ moment(one.at) }}.</p>
        <div class="osteon-draw-row"><button class="osteon-plain" :disabled="!dirty && !drafted" @click="$refs.versions.close(); save('second reading')">Save as a second reading</button>
          <button class="osteon-plain" @click="$refs.versions.close()">Close</button></div>
      </dialog>

      <dialog ref="ask" class="osteon-dialog" aria-labelledby="osteon-ask" @cancel="answer(null)">
        <h2 id="osteon-ask">{{ question.title }}</h2>
        <p v-for="line in question.lines" :key="line">{{ line }}</p>
        <label v-if="question.text !== undefined" class="osteon-draw-ask"><span>Name</span><input type="text" v-model="question.text" maxlength="120" @keydown.enter.prevent="answer(question.buttons[0][1])"></label>
        <label v-for="box in question.boxes ?? []" :key="box.name" class="osteon-draw-ask"><input type="checkbox" v-model="box.on"><span>{{ box.name }}</span></label>
        <div class="osteon-draw-row"><button v-for="([name, value], n) in question.buttons" :key="name" class="osteon-plain" :class="{ 'osteon-main': n === 0 }" @click="answer(value)">{{ name }}</button></div>
      </dialog>

      <dialog ref="keys" class="osteon-dialog" aria-labelledby="osteon-keys">
        <h2 id="osteon-keys">Keys</h2>
        <table><tbody><tr v-for="[key, what] in keyList" :key="key"><td><kbd>{{ key }}</kbd></td><td>{{ what }}</td></tr></tbody></table>
        <div class="osteon-draw-row"><button class="osteon-plain osteon-main" @click="$refs.keys.close()">Close</button></div>
      </dialog>
    </div>`,
  props: { viewId: Number, url: String, kind: String, presets: Array, layouts: Object, unit: String, cases: Array },
  data: () => ({
    loaded: false, status: "Loading the label …", notices: [], state: {}, rows: [], chosen: -1, tools: [], tool: "move", shown: "", options: {},
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
    keyList() {
      return [...this.tools.map(({ key, label }) => [key, label]), ["1 … 9", "choose a structure"], ["[ , ]", "narrower, wider"], ["d", "this slice, or all slices"],
        ["x", "only where the grey is within the range"], ["Enter", "use the tool at the crosshair; Alt+Enter erases"], ["Ctrl+Z, Ctrl+Y", "undo, redo"],
        ["Ctrl+S", "save"], ["h", "hide or show the drawing"], ["k", "protect the other structures"], ["w, v", "next window, next layout"], ["n, p", "next, previous case"],
        ["Esc", "look; back from an older version"], ["wheel, Page Up, Page Down", "next slice, the tenth with Shift"], ["arrows", "move the crosshair"],
        ["Ctrl and wheel, +, −, Home", "zoom in, zoom out, show everything"], ["right button", "move the image"]];
    },
  },
  mounted() {
    this.session = new Session(this.url);
    this.author = this.session.author;
    this.range = this.presets[0].slice(1);
    this.off = new AbortController();
    const on = (target, name, then, options) => target.addEventListener(name, then, { signal: this.off.signal, ...options });
    for (const name of ["pointerdown", "pointermove", "wheel", "keydown"]) on(window, name, () => this.session.noteActivity(), { passive: true });
    on(window, "keydown", (event) => this.key(event));
    on(window, "beforeunload", (event) => { if (this.dirty) event.preventDefault(); });
    on(window, "pagehide", () => this.session.leave());
    on(document, "visibilitychange", () => { if (document.hidden) this.keep(); });
    for (const name of ["ready", "drawn", "picked", "set", "said"]) on(document, `osteon-${name}`, ({ detail }) => this[`on_${name}`](detail));
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
      this.notices = [];
      const own = this.state.drafts.find(({ author }) => author === (this.author || "somebody")), [result] = this.state.results;
      if (own) {
        await this.begin({ version: "draft" }, own.what, own.base);
        this.session.seconds = own.seconds;
        this.drafted = true;
        this.notice(`This is your unsaved draft of ${moment(own.at)}.`, [["Discard it", () => this.discard()]]);
        if (own.base !== this.state.current) this.noticeNewer(this.state.current, this.state.versions[this.state.current - 1]?.author);
      } else if (!this.state.current && !this.state.imported && result) {
        await this.begin({ version: "result", result: result.id }, `from the prediction ${result.title}`);
        this.notice(`Begun with the prediction ${result.title}.`, [["Begin empty", () => { this.notices = []; this.begin({ version: 0 }, ""); }]]);
      } else await this.begin({ version: this.state.current }, "");
    },
    async begin(query, what, base) {
      this.status = "Loading the label …";
      const { bytes, entries } = await this.session.label(query);
      this.base = base ?? this.state.current;
      [this.what, this.dirty, this.drafted, this.session.seconds] = [what, false, false, 0];
      this.setEntries(entries);
      this.view.load(bytes, this.plainRows());
      this.loaded = true;
      if (this.chosen < 0 && this.rows.length) this.choose(0);
      this.useTool(this.tools.find(({ name }) => name === this.tool), true);
      const saved = this.state.current ? `version ${this.state.current}` : this.state.imported ? "the imported label" : "an empty label";
      this.status = query.version === "draft" ? "Your draft; nothing of it is saved as a version yet." : what ? `Begun ${what}; nothing is saved yet.` : `This is ${saved}.`;
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
    choose(n) { this.chosen = n; this.view.setStructure(n); },
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
      const held = event.ctrlKey || event.metaKey, key = event.key.toLowerCase(), other = (value, { choices }) => choices[(choices.findIndex(([v]) => v === value) + 1) % choices.length][0];
      const commands = held ? { z: () => (event.shiftKey ? this.view.redo() : this.view.undo()), y: () => this.view.redo(), s: () => this.save() } : {
        "[": () => this.step("size", (v) => v - (v > 10 ? 2 : 0.5)), "]": () => this.step("size", (v) => v + (v >= 10 ? 2 : 0.5)),
        d: () => this.step("reach", other), x: () => this.step("limit", other), k: () => this.chosen >= 0 && this.lockOthers(),
        h: () => { const on = !this.rows.some(({ visible }) => visible); this.rows.forEach((row) => { row.visible = on; }); this.showRows(); },
        w: () => { this.preset = (this.preset + 1) % this.presets.length; this.setWindow(); },
        v: () => { const names = Object.keys(this.layouts); this.layout = names[(names.indexOf(this.layout) + 1) % names.length]; this.view.layout(this.layout); },
        n: () => this.visit(1), p: () => this.visit(0), "?": () => this.$refs.keys.showModal(),
        escape: () => (this.peeked ? this.goBack() : this.useTool(this.tools[0])),
        ...Object.fromEntries(this.tools.map((tool) => [tool.key, () => !this.peeked && (tool.once ? this.runTool(tool) : this.useTool(tool))])),
        ...Object.fromEntries(this.rows.slice(0, 9).map((_, n) => [`${n + 1}`, () => this.choose(n)])),
      };
      if (event.altKey || !commands[key] || (this.peeked && held)) return;
      event.preventDefault();
      commands[key]();
    },
    visit(n) { if (this.cases[n]) location.href = this.cases[n]; },
    setWindow() { this.range = this.presets[this.preset].slice(1); this.view.window(...this.range); },
    setAuthor(name) { this.session.setAuthor(name); this.author = this.session.author; this.beat(); },

    // What the view tells

    on_drawn({ undo, redo, rows }) {
      [this.undoable, this.redoable] = [undo, redo];
      if (!rows.length) return;
      this.dirty = true;
      this.status = "Not kept yet …";
      this.changedAt = performance.now();
      this.firstChange ??= this.changedAt;
      this.schedule(PAUSE_MS);
    },
    on_picked({ row }) { this.choose(row); },
    on_set({ option, value }) { this.step(option, () => value); },
    on_said({ text }) { this.status = text; },

    // Keeping and saving

    schedule(pause) {
      clearTimeout(this.timer);
      const wait = Math.max(pause, 3 * (this.lastKeep ?? 0)), left = LONGEST_WAIT_MS - (performance.now() - (this.firstChange ?? performance.now()));
      this.timer = setTimeout(() => this.keep(), Math.max(0, Math.min(wait, left)));
    },
    async keep() { // as a draft: nothing is lost by a closed tab or a killed server
      if (!this.dirty || this.keeping || this.saving) return;
      const start = performance.now();
      this.firstChange = undefined;
      this.keeping = true;
      const changed = this.changedAt;
      try {
        await this.session.send("PUT", "draft", this.view.mask(), this.entries, this.state.shape, { base: this.base, what: this.what });
        this.drafted = true;
        if (this.changedAt === changed) { this.dirty = false; this.status = `Kept as a draft at ${new Date().toLocaleTimeString()}.`; }
        this.lastKeep = performance.now() - start;
      } catch (error) {
        this.status = `Not kept: ${error.message}. It is tried again.`;
        this.timer = setTimeout(() => this.keep(), RETRY_MS);
      }
      this.keeping = false;
      if (this.dirty && this.changedAt !== changed) this.schedule(PAUSE_MS);
    },
    async save(kind = "correction", base = this.base) {
      if (!this.author) { this.status = "Say who you are first: a version names its author."; this.$refs.author.focus(); return; }
      const looked = kind === "correction" ? await this.askLookedFor() : [];
      if (looked === null) return;
      clearTimeout(this.timer);
      while (this.keeping) await new Promise((then) => setTimeout(then, 50));
      this.saving = true;
      this.status = "Saving …";
      const changed = this.changedAt;
      try {
        const answer = await this.session.send("POST", "label", this.view.mask(), this.entries, this.state.shape, { base, kind, what: this.what, looked_for: looked });
        this.state = await this.session.state();
        [this.notices, this.drafted, this.newer, this.session.seconds, this.what] = [[], false, null, 0, ""];
        if (kind === "correction") this.base = answer.version;
        this.dirty = this.changedAt !== changed;
        this.status = `Saved as version ${answer.version}${kind === "correction" ? "" : ", a second reading"}.`;
      } catch (error) {
        this.status = `Not saved: ${error.message}`;
        if (error.status === 409) this.saving = false, await this.resolve(error);
      }
      this.saving = false;
      if (this.dirty) this.schedule(PAUSE_MS);
    },
    async askLookedFor() { // which structures are absent, and which were not looked for: nobody but the reader knows
      const present = new Set(this.view.present().map((n) => this.rows[n].structure)), known = new Set(this.state.known);
      const open = this.state.structures.map(({ name }) => name).filter((name) => !present.has(name) && !known.has(name));
      if (!open.length) return [];
      const boxes = open.map((name) => ({ name, on: false }));
      const answer = await this.askFor({ title: "What else did you look for?", lines: ["These are not in the drawing. Tick those that you looked for and did not find; the others stay unknown."],
        boxes, buttons: [["Save", "save"], ["Cancel", null]] });
      return answer ? this.question.boxes.filter(({ on }) => on).map(({ name }) => name) : null;
    },
    async resolve(error) {
      const { current, author } = error.more, who = author || "somebody", which = current ? `version ${current}` : "the imported label";
      this.dirty = true;
      const answer = await this.askFor({ title: "Somebody was quicker", lines: [`${who} changed the label since you opened it: ${which} counts now. Nothing was overwritten, and your drawing is kept.`],
        buttons: [[`Look at ${which}`, "look"], ["Save mine on top of it", "top"], ["Save mine as a second reading", "second"], ["Keep drawing", null]] });
      this.state = await this.session.state();
      if (answer === "look") { this.noticeNewer(current, author); await this.look({ number: current, title: which }); }
      if (answer === "top") await this.save("correction", current);
      if (answer === "second") await this.save("second reading");
    },
    async discard() {
      await this.attempt(async () => { clearTimeout(this.timer); this.dirty = false; await this.session.dropDraft(); await this.open(); });
    },

    // Versions, and who else is here

    async openVersions() { await this.attempt(async () => { this.state = await this.session.state(); }); this.$refs.versions.showModal(); },
    async look(one) {
      this.$refs.versions.close();
      await this.attempt(async () => {
        const { bytes, entries } = await this.session.label({ version: one.number });
        if (!this.peeked) this.peeked = this.entries;
        this.setEntries(entries);
        this.view.peek(bytes, this.plainRows());
        this.notices = this.notices.filter(({ peek }) => !peek);
        this.notice(`You look at ${one.title}.`, [["Back to the drawing", () => this.goBack()], ["Restore it", () => this.restore(one)]], true);
      });
    },
    goBack() {
      this.notices = this.notices.filter(({ peek }) => !peek);
      this.setEntries(this.peeked);
      this.peeked = null;
      this.view.back(this.plainRows());
    },
    async restore(one) {
      this.$refs.versions.close();
      const lines = [`${one.title} counts again, as the newest version.`, ...(this.dirty || this.drafted ? ["Your unsaved drawing is dropped."] : [])];
      if (!(await this.askFor({ title: `Restore ${one.number ? `version ${one.number}` : "the imported label"}?`, lines, buttons: [["Restore", "yes"], ["Cancel", null]] }))) return;
      await this.attempt(async () => {
        await this.session.post("restore", { number: one.number, base: this.state.current, author: this.author });
        if (this.peeked) this.goBack();
        await this.discard();
      });
    },
    async beat() {
      const { others, current, author } = await this.session.here().catch(() => ({}));
      if (!others) return;
      this.others = others;
      this.notices = this.notices.filter(({ others: shown }) => !shown);
      if (others.length) this.notices.push({ text: `${others.join(" and ")} ${others.length > 1 ? "have" : "has"} this case open, too.`, then: [], others: true });
      if (this.loaded && !this.saving && current !== this.base && current !== this.state.current) this.noticeNewer(current, author);
    },
    noticeNewer(current, author) {
      if (this.newer === current) return;
      this.newer = current;
      this.notice(`${author || "Somebody"} saved another version since this drawing was begun. Nothing of yours is lost.`, [["Look at it", () => this.look({ number: current, title: `version ${current}` })]]);
    },
    notice(text, then, peek = false) { this.notices = [...this.notices.filter((line) => line.text !== text), { text, then, peek }]; },

    // Questions

    askFor(question) { this.question = question; this.$refs.ask.showModal(); return new Promise((then) => { this.answered = then; }); },
    async askText(title, lines, text, button) {
      const answer = await this.askFor({ title, lines, text, buttons: [[button, "yes"], ["Cancel", null]] });
      return answer ? this.question.text.trim() : "";
    },
    answer(value) { this.$refs.ask.close(); this.answered?.(value); },
  },
};
