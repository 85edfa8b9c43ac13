// Files, folders or a zip, chosen or dropped: sent one after the other, each as a request of its own.
export default {
  template: `
    <div class="osteon-drop" :class="{ over }" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="dropped">
      <div class="osteon-drop-row">
        <button type="button" class="osteon-choose" :disabled="busy" @click="$refs.files.click()">Choose {{ folders ? 'files or a zip' : 'a file' }}</button>
        <button v-if="folders" type="button" class="osteon-choose" :disabled="busy" @click="$refs.folder.click()">Choose a folder</button>
        <span class="osteon-faint">or drop {{ folders ? 'them' : 'it' }} here</span>
      </div>
      <input ref="files" type="file" :multiple="folders" :accept="accept" hidden :aria-label="label" @change="chosen">
      <input v-if="folders" ref="folder" type="file" webkitdirectory hidden aria-label="Choose a folder" @change="chosen">
      <div v-if="busy" class="osteon-drop-row">
        <progress :value="sent" :max="total" aria-label="Upload"></progress>
        <span>{{ said }}</span>
        <button type="button" class="osteon-choose" @click="stop">Cancel</button>
      </div>
    </div>`,
  props: { label: String, accept: String, folders: Boolean },
  data: () => ({ over: false, busy: false, sent: 0, total: 1, said: "" }),
  methods: {
    chosen(event) {
      this.send([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file]));
      event.target.value = "";
    },
    async dropped(event) {
      this.over = false;
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const found = [];
      for (const entry of entries) await walk(entry, found);
      this.send(found);
    },
    async send(files) {
      if (!files.length || this.busy) return;
      Object.assign(this, { busy: true, sent: 0, total: files.reduce((sum, [, file]) => sum + file.size, 0) || 1, said: "" });
      this.stopper = new AbortController();
      let id = "";
      try {
        id = (await this.ask("/api/uploads", { "X-Osteon-Kinds": this.accept ?? "" })).id;
        let done = 0;
        for (const [name, file] of files) {
          this.said = `${++done} of ${files.length}`;
          await this.ask(`/api/uploads/${id}/files`, { "X-Osteon-Name": encodeURIComponent(name) }, file);
          this.sent += file.size;
        }
        this.$emit("uploaded", { id });
      } catch (error) {
        if (id) fetch(`/api/uploads/${id}`, { method: "DELETE" });
        if (error.name !== "AbortError") this.$emit("refused", { message: error.message, hint: error.hint ?? "" });
      }
      this.busy = false;
    },
    async ask(url, headers, body) {
      const answer = await fetch(url, { method: "POST", headers: { "Content-Type": "application/octet-stream", ...headers }, body, signal: this.stopper.signal });
      const said = await answer.json().catch(() => ({}));
      if (!answer.ok) throw Object.assign(new Error(said.message ?? `the server answered ${answer.status}`), { hint: said.hint });
      return said;
    },
    stop() { this.stopper.abort(); },
  },
};

async function walk(entry, found, path = "") {
  if (entry.isFile) {
    const file = await new Promise((good, bad) => entry.file(good, bad));
    found.push([path + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const inner = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!inner.length) return;
    for (const one of inner) await walk(one, found, `${path}${entry.name}/`);
  }
}
