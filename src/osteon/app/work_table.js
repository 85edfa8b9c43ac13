// The work list: a table of cases that is gone through by keys. The focus is on the links to the cases.
export default {
  template: `
    <div class="osteon-scroll" role="group" aria-label="Cases: the table is scrolled by keys where it is too wide" tabindex="0">
      <table class="osteon-work">
        <thead><tr>
          <th><input type="checkbox" :checked="allTicked" :disabled="!rows.length" aria-label="Tick all cases of this page"
            @change="tickAll($event.target.checked)"></th>
          <th v-for="c in columns" :key="c.name" scope="col" :aria-sort="sortOf(c.name)">
            <button v-if="c.sorts" type="button" @click="$emit('sort', c.name)">{{ c.title }}<span aria-hidden="true">
              {{ sort === c.name ? (descending ? "▼" : "▲") : "" }}</span></button>
            <template v-else>{{ c.title }}</template>
          </th>
        </tr></thead>
        <tbody>
          <tr v-for="r in rows" :key="r.id" :data-case="r.id" :class="{ ticked: has(r.id) }">
            <td><input type="checkbox" :checked="has(r.id)" :aria-label="'Tick ' + r.name"
              @change="tick([r.id], $event.target.checked)"></td>
            <td><a :href="r.href">{{ r.name }}</a><div v-if="r.held" class="osteon-faint">{{ r.held }}</div></td>
            <td><span :class="'osteon-chip ' + r.colour">{{ r.state }}</span></td>
            <td>{{ r.owner }}</td>
            <td class="number">{{ r.time }}</td>
            <td>{{ r.changed }}</td>
            <td><template v-if="r.rank">{{ r.rank }}. <span class="osteon-faint">{{ r.reasons }}</span></template></td>
            <td><div v-for="line in r.notes">{{ line }}</div></td>
          </tr>
        </tbody>
      </table>
    </div>`,
  props: { rows: Array, columns: Array, sort: String, descending: Boolean, ticked: Array },
  data: () => ({ place: -1 }),
  computed: {
    allTicked() { return this.rows.length > 0 && this.rows.every((r) => this.has(r.id)); },
  },
  mounted() { addEventListener("keydown", this.pressed); },
  unmounted() { removeEventListener("keydown", this.pressed); },
  updated() {  // a row that left the list had the focus: it goes to the one in its place
    if (this.place >= 0 && document.activeElement === document.body) this.focus(this.place);
  },
  methods: {
    has(id) { return this.ticked.includes(id); },
    sortOf(name) { return this.sort !== name ? null : this.descending ? "descending" : "ascending"; },
    tick(ids, on) { this.$emit("tick", { ids, on }); },
    tickAll(on) { this.tick(this.rows.map((r) => r.id), on); },
    links() { return [...this.$el.querySelectorAll("tbody a")]; },
    focus(place) {
      const links = this.links();
      this.place = Math.max(0, Math.min(links.length - 1, place));
      links[this.place]?.focus();
    },
    pressed(event) {
      const held = event.ctrlKey || event.metaKey || event.altKey;
      const field = event.target.closest?.("input:not([type=checkbox]), select, textarea, [role=combobox], [role=dialog]");
      if (held || field || !this.rows.length || document.querySelector(".q-dialog")) return;
      const at = this.links().findIndex((link) => link.closest("tr").contains(document.activeElement));
      const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 };
      if (event.key in steps) {
        event.preventDefault();
        this.focus(at < 0 ? Math.max(this.place, 0) : at + steps[event.key]);
      } else if ("xaro".includes(event.key) && at >= 0 && !event.repeat) {
        event.preventDefault();
        const id = this.rows[at].id;
        this.place = at;
        if (event.key === "x") this.tick([id], !this.has(id));
        else this.$emit("act", { id, key: event.key });
      }
    },
  },
};
