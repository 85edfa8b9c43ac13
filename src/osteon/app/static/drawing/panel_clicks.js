// The panel's part of the click tool: points are sent to the server, and its mask is given to the view.
//
// What views need for it: a tool `click` with the options `by` and `about`; `around(points, margin)`, what is drawn in a
// box around points, 1 the structure chosen and 2 others that keep what they have: {box, bytes}; `answered(box, bytes)`,
// which makes the structure chosen what the bytes say there, in one step; and the event `clicked` {at, positive}. A view
// that has `mark(points)` shows those so far.

const MARGIN = 2; // times the radius that is asked for: no further does the server look

async function pack(bytes) { // as base64 of a gzip stream
  const packed = new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer());
  let text = "";
  for (let at = 0; at < packed.length; at += 32768) text += String.fromCharCode(...packed.subarray(at, at + 32768));
  return btoa(text);
}

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

export default {
  methods: {
    offerClickTools() { // those that the server has; the newest model first, since it knows the user's own structures
      const by = this.tools.find(({ name }) => name === "click")?.options.find(({ name }) => name === "by");
      if (!by || !this.state.tools) return;
      const [points, ...models] = this.state.tools.map(({ name, label }) => [name, label]);
      by.choices = [...models, points];
      this.options.click.by = by.choices[0][0];
    },
    async on_clicked({ at, positive }) {
      if (this.asking) { this.status = "The click before is not answered yet."; return; }
      const { by, about } = this.options.click, key = `${this.chosen} ${by}`;
      if (this.clicks?.key !== key) this.clicks = { key, points: [], steps: [], session: Math.random().toString(36).slice(2) };
      const { points, steps, session } = this.clicks;
      points.push({ at, positive });
      this.asking = true;
      this.view.mark?.(points);
      this.status = "Looking around the point …";
      try {
        const drawn = this.view.around(points.map((point) => point.at), MARGIN * about);
        const mask = { box: drawn.box, data: await pack(drawn.bytes) };
        const answer = await this.session.post("click", { tool: by, points, session, mask, ...(by === "points" ? { reach: about } : {}) });
        if (this.clicks?.session !== session || this.clicks.key !== `${this.chosen} ${by}`) return; // another structure was chosen meanwhile
        this.view.answered(answer.box, await unpack(answer.data));
        steps.push(this.undoable);
        const count = points.length === 1 ? "one point" : `${points.length} points`;
        this.status = answer.voxels ? `By ${count}. Click what is missing; with Ctrl, what is too much.` : "Nothing was found here: click elsewhere, or choose a larger radius.";
      } catch (error) {
        points.pop();
        this.status = error.message;
      } finally {
        this.asking = false;
        this.showPoints();
      }
    },
    followClicks(undo) { // what is undone takes its point along; whatever else is drawn ends the row of points
      const { points, steps } = this.clicks ?? { points: [], steps: [] };
      if (this.asking || !points.length) return;
      while (steps.length && steps.at(-1) > undo) { steps.pop(); points.pop(); }
      if (!points.length || undo > steps.at(-1)) this.clicks = null;
      this.showPoints();
    },
    showPoints() { this.view.mark?.([...(this.clicks?.key.startsWith(`${this.chosen} `) ? this.clicks.points : [])]); },
  },
};
