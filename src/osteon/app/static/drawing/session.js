// What a drawing page and the server say to each other: labels, drafts, versions, who is here. Nothing is shown here.

const IDLE_MS = 60_000; // a longer pause is no work

export class Refused extends Error { // what the server did not do, and the way out
  constructor(status, { message, hint, ...more }) {
    super(hint ? `${message}. ${hint}` : message);
    Object.assign(this, { status, more });
  }
}

export class Session {
  constructor(url) {
    Object.assign(this, { url, page: Math.random().toString(36).slice(2), author: localStorage.getItem("osteon-author") ?? "", seconds: 0, active: Date.now() });
  }

  setAuthor(name) { this.author = name.trim(); localStorage.setItem("osteon-author", this.author); }

  noteActivity() { // the time that is spent: from one move to the next
    const now = Date.now();
    if (now - this.active < IDLE_MS) this.seconds += (now - this.active) / 1000;
    this.active = now;
  }

  async ask(path, options = {}) {
    let answer;
    try { answer = await fetch(`${this.url}/${path}`, options); } catch { throw new Refused(0, { message: "the server does not answer" }); }
    if (answer.ok) return answer;
    throw new Refused(answer.status, await answer.json().catch(() => ({ message: `the server answered ${answer.status}` })));
  }

  async state() { return (await this.ask("state")).json(); }

  async label(query) { // the drawing as it travels, unpacked, with what its numbers or bits stand for
    const answer = await this.ask(`label?${new URLSearchParams({ author: this.author, ...query })}`);
    const header = (name) => JSON.parse(decodeURIComponent(answer.headers.get(name) ?? "null"));
    return { bytes: new Uint8Array(await answer.arrayBuffer()), entries: header("x-osteon-entries"), draft: header("x-osteon-draft") };
  }

  async send(method, path, bytes, entries, shape, query) {
    const packed = new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip")));
    const headers = { "X-Osteon-Entries": encodeURIComponent(JSON.stringify(entries)), "X-Osteon-Shape": shape.join(",") };
    const words = new URLSearchParams({ author: this.author, seconds: this.seconds.toFixed(1) });
    for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) words.append(name, one);
    return (await this.ask(`${path}?${words}`, { method, headers, body: await packed.blob() })).json();
  }

  async stash(value) { // in this browser, while the server does not answer; null forgets it
    const open = indexedDB.open("osteon-drawings", 1);
    open.onupgradeneeded = () => open.result.createObjectStore("drawings");
    const store = (await done(open)).transaction("drawings", "readwrite").objectStore("drawings");
    const before = await done(store.get(this.url));
    if (value !== undefined) await done(value === null ? store.delete(this.url) : store.put(value, this.url));
    open.result.close();
    return before;
  }

  async post(path, data) { return (await this.ask(path, { method: "POST", body: JSON.stringify(data) })).json(); }

  dropDraft(author = this.author) { return this.ask(`draft?${new URLSearchParams({ author })}`, { method: "DELETE" }); }

  here() { return this.post("presence", { page: this.page, author: this.author }); }

  leave() { navigator.sendBeacon(`${this.url}/presence`, JSON.stringify({ page: this.page, leaving: true })); }
}

function done(request) {
  return new Promise((then, fail) => { request.onsuccess = () => then(request.result); request.onerror = () => fail(request.error); });
}

export function duration(seconds) {
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function moment(at) { return at ? new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : ""; }

export function pieceColour(colour, number) { // near its structure's: another hue for each
  if (number < 2) return colour;
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255), high = Math.max(r, g, b), low = Math.min(r, g, b);
  const hue = high === low ? 0 : high === r ? (g - b) / (high - low) : high === g ? 2 + (b - r) / (high - low) : 4 + (r - g) / (high - low);
  const turned = (hue + 6 + 0.55 * Math.ceil((number - 1) / 2) * (number % 2 ? -1 : 1)) % 6, light = Math.min(0.75, Math.max(0.35, (high + low) / 2));
  const part = (n) => { const k = (n + 2 * turned) % 12; return Math.round(255 * (light - 0.7 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1)))); };
  return `#${[0, 8, 4].map((n) => part(n).toString(16).padStart(2, "0")).join("")}`;
}
