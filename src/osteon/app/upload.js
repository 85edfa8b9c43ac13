// Files, folders or a zip, chosen or dropped: sent one after the other, each as a request of its own.
const RESEND_MS = 200;

export default {
  template: `
    <div class="osteon-drop" :class="{ over }" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="dropped">
      <div class="osteon-drop-row">
        <button type="button" class="osteon-choose" :disabled="busy" @click="$refs.files.click()">Choose files or a zip</button>
        <button type="button" class="osteon-choose" :disabled="busy" @click="$refs.folder.click()">Choose a folder</button>
        <span class="osteon-faint">or drop them here</span>
      </div>
      <input ref="files" type="file" multiple :accept="accept" hidden :aria-label="label" @change="chosen">
      <input ref="folder" type="file" webkitdirectory hidden aria-label="Choose a folder" @change="chosen">
      <div v-if="busy" class="osteon-drop-row">
        <progress :value="unpacking ? undefined : sent" :max="total" aria-label="Upload"></progress>
        <span>{{ text }}</span>
        <button v-if="!unpacking" type="button" class="osteon-choose" @click="stop">Cancel</button>
      </div>
      <div role="alert"><p v-if="problem" class="osteon-upload-problem">{{ problem }}</p></div>
    </div>`,
  props: { label: String, accept: String },
  data: () => ({ over: false, busy: false, unpacking: false, sent: 0, total: 1, text: "", problem: "" }),
  unmounted() {
    removeEventListener("beforeunload", ask);
  },
  methods: {
    chosen(event) {
      this.send([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file]));
      event.target.value = "";
    },
    async dropped(event) {
      this.over = false;
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const files = [];
      for (const entry of entries) await walk(entry, files);
      this.send(files);
    },
    async send(files) {
      if (!files.length || this.busy) return;
      const total = files.reduce((sum, [, file]) => sum + file.size, 0) || 1;
      Object.assign(this, { busy: true, unpacking: false, sent: 0, total, text: "", problem: "" });
      addEventListener("beforeunload", ask);
      this.began = performance.now();
      let id = "";
      try {
        id = (await this.post("/api/uploads", { "X-Osteon-Kinds": this.accept ?? "" })).id;
        let before = 0;
        for (const [number, [name, file]] of files.entries()) {
          const onProgress = (bytes) => this.showProgress(number + 1, files.length, before + bytes);
          onProgress(0);
          await this.post(`/api/uploads/${id}/files`, { "X-Osteon-Name": encodeURIComponent(name.toWellFormed?.() ?? name) }, file, onProgress);
          before += file.size;
        }
        Object.assign(this, { sent: total, unpacking: true, text: "All of it is there; it is being looked through …" });
        this.$emit("uploaded", { id });
      } catch (error) {
        if (id) fetch(`/api/uploads/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
        this.reset();
        if (error.name === "AbortError") return;
        const hint = error.hint || "choose the files again";
        const reason = error.status ? error.message : `the upload was broken off after ${size(this.sent)} of ${size(total)}: the server is not reached`;
        this.problem = `${reason}. Nothing of it was kept: ${hint}.`;
      }
    },
    showProgress(number, count, sent) {
      this.sent = sent;
      const seconds = (performance.now() - this.began) / 1000;
      const left = sent && seconds > 2 ? (seconds / sent) * (this.total - sent) : null;
      const files = count > 1 ? `file ${number} of ${count} · ` : "";
      this.text = `${files}${size(sent)} of ${size(this.total)}${left === null ? "" : ` · ${duration(left)} left`}`;
    },
    // XMLHttpRequest alone says how much of a body has gone out.
    post(url, headers, body, onProgress = () => {}) {
      return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        this.request = request;
        request.open("POST", url);
        for (const [name, value] of Object.entries({ "Content-Type": "application/octet-stream", ...headers })) request.setRequestHeader(name, value);
        let last = 0;
        request.upload.onprogress = (event) => {
          if (event.timeStamp - last < RESEND_MS) return;
          last = event.timeStamp;
          onProgress(event.loaded);
        };
        request.onload = () => {
          let answer = {};
          try { answer = JSON.parse(request.responseText); } catch { /* no answer of the app's own */ }
          if (request.status < 400) return resolve(answer);
          reject(Object.assign(new Error(answer.message ?? `the server answered ${request.status}`), { hint: answer.hint, status: request.status }));
        };
        request.onerror = () => reject(new Error("the server is not reached"));
        request.onabort = () => reject(Object.assign(new Error("stopped"), { name: "AbortError" }));
        request.send(body);
      });
    },
    stop() { this.request.abort(); },
    // The server calls this once it has made of the upload what it could.
    ended(problem = "") {
      this.reset();
      this.problem = problem;
    },
    reset() {
      removeEventListener("beforeunload", ask);
      Object.assign(this, { busy: false, unpacking: false });
    },
  },
};

// The browser asks in its own words before the page is left.
function ask(event) {
  event.preventDefault();
  event.returnValue = true;
}

function size(bytes) {
  for (const [unit, name] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) if (bytes >= unit) return `${(bytes / unit).toFixed(bytes >= 100 * unit ? 0 : 1)} ${name}`;
  return `${bytes} B`;
}

function duration(seconds) {
  if (seconds >= 5400) return `about ${Math.round(seconds / 3600)} h`;
  return seconds >= 90 ? `about ${Math.round(seconds / 60)} min` : `${Math.max(1, Math.round(seconds))} s`;
}

async function walk(entry, files, path = "") {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    files.push([path + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const inner = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!inner.length) return;
    for (const one of inner) await walk(one, files, `${path}${entry.name}/`);
  }
}
