// The panel's half that talks with the server: drafts, versions, conflicts, who else is here, and the questions it asks.
const PAUSE_MS = 1_000, LONGEST_WAIT_MS = 10_000, RETRY_MS = 5_000;

export default {
  methods: {
    // Keeping and saving

    schedule(pause = PAUSE_MS) {
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
        await this.session.send("PUT", "draft", this.view.mask(), this.peeked ?? this.entries, this.state.shape, { base: this.base, what: this.what });
        this.drafted = true;
        if (this.hasStash) await this.session.stash(null);
        this.hasStash = false;
        if (this.changedAt === changed) { this.dirty = false; this.status = `Kept as a draft at ${new Date().toLocaleTimeString()}.`; } else this.schedule();
        this.lastKeep = performance.now() - start;
      } catch (error) {
        this.said = "";
        const last = this.changedAt;
        if (!error.status) await this.stash();
        const all = this.changedAt === last; // nothing was drawn meanwhile
        this.status = !all ? "Not kept yet …" : `Not kept: ${error.message}. ${this.stashed ? "This browser keeps it until it does." : "It is tried again."}`;
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.keep(), all ? RETRY_MS : PAUSE_MS);
      }
      this.keeping = false;
    },
    async stash() { // in this browser
      const last = this.changedAt;
      const { base, what, session: { seconds, author } } = this, entries = JSON.parse(JSON.stringify(this.peeked ?? this.entries));
      const value = { bytes: this.view.mask().slice(), entries, base, what, seconds, author, at: new Date().toISOString() };
      await this.session.stash(value).then(() => { this.hasStash = true; this.stashed = this.changedAt === last; }, () => {});
    },
    async save(kind = this.saved.kind, base = this.base) {
      this.said = "";
      if (!this.author) { this.status = "Say who you are first: a version names its author."; this.$refs.author.focus(); return; }
      const looked = kind === this.saved.kind ? await this.askLookedFor() : [];
      if (looked === null) return;
      clearTimeout(this.timer);
      while (this.keeping) await new Promise((then) => setTimeout(then, 50));
      this.saving = true;
      this.status = "Saving …";
      const changed = this.changedAt;
      try {
        const answer = await this.session.send("POST", "label", this.view.mask(), this.peeked ?? this.entries, this.state.shape, { base, kind, what: this.saved.what, looked_for: looked });
        await this.session.stash(null).catch(() => {});
        this.state = await this.session.state();
        [this.hasStash, this.notices, this.drafted, this.newer, this.session.seconds, this.what] = [false, [], false, null, 0, this.second ? "second reading" : ""];
        if (kind === "correction") this.base = answer.version;
        this.dirty = this.changedAt !== changed;
        this.status = `Saved as version ${answer.version}${kind === "correction" ? "" : ", a second reading"}.`;
      } catch (error) {
        this.status = `Not saved: ${error.message}`;
        if (error.status === 409) this.saving = false, await this.resolve(error);
      }
      this.saving = false;
      if (this.dirty) this.schedule();
    },
    async askLookedFor() { // which structures are absent, and which were not looked for: nobody but the reader knows
      const present = new Set(this.view.present().map((n) => this.rows[n].structure)), known = new Set(this.second ? [] : this.state.known);
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
      await this.attempt(async () => { clearTimeout(this.timer); this.dirty = false; await this.session.stash(null).catch(() => {}); await this.session.dropDraft(); await this.open(); });
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
      if (this.loaded && !this.saving && !this.second && current !== this.base && current !== this.state.current) this.noticeNewer(current, author);
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
