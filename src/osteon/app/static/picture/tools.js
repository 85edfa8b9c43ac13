// What a pointer does to the active structure of a picture: brush, flood, taking pieces. `view` is draw_picture.js;
// `places` are points of the picture; each tool ends a step by `view.commit()`.
import { connected, strokeShape } from "osteon-picture/shapes.js";
import { Outline, Polygon } from "osteon-picture/polygon.js";

class Brush { // draws, or takes away, with a round tip
  constructor(view) { this.view = view; }
  get holds() { return !!this.last; }
  down(place, event) {
    this.erase = event.erase !== this.view.options.erase; // with the pen's other end, or Shift: the other way round
    this.last = place;
    this.move(place);
  }
  move(place) {
    if (!this.last) return;
    const { view, erase } = this, { size } = view.options, width = view.shown.size[0];
    const { box, inside } = strokeShape(this.last, place, size, view.shape(), view.shown.size);
    this.last = place;
    let at = 0;
    for (let y = box[1]; y < box[3]; y++) for (let n = y * width + box[0], end = n + box[2] - box[0]; n < end; n++) {
      if (!inside[at++] || !view.isInRange(n)) continue;
      this.mark(n, !erase);
    }
    view.touch(box);
  }
  mark(n, on) { this.view.put(n, on); }
  up() { if (this.last) this.view.commit(); this.last = null; }
  cancel() { this.last = null; this.view.touch(this.view.history.cancel() ?? [0, 0, 0, 0]); }
  finish() { this.up(); }
  draw() {}
}

class TakeBrush extends Brush { // draws only what other structures have, which lose it
  mark(n, on) {
    const { history, active } = this.view, others = on ? this.view.othersAt(n) : [];
    for (const other of others) history.set(other, n, 0);
    if (others.length || !on) history.set(active, n, on);
  }
}

class Click { // acts once, where the pointer came down, when it goes up: two fingers zoom
  constructor(view) { this.view = view; }
  down(place, event) { this.at = { n: this.view.pixelAt(place), event }; }
  move() {}
  up() { if (this.at?.n >= 0) this.act(this.at.n, this.at.event); this.at = null; }
  cancel() { this.at = null; }
  finish() { this.at = null; }
  draw() {}
  piece(isPart, n) { return connected(isPart, n, this.view.shown.size); }
  apply(inside, what) {
    const { view } = this;
    for (let n = 0; n < inside.length; n++) if (inside[n]) what(n);
    view.touch(null);
    view.commit();
  }
}

class Flood extends Click { // fills what the active structure encloses, or takes a connected piece of it away
  act(n, event) {
    const { view } = this, { history, active } = view, erase = event.erase !== view.options.erase;
    const isPart = (m) => history.has(active, m) === +erase;
    if (!isPart(n)) return view.say(erase ? "There is nothing of this structure here." : "This belongs to the structure already.");
    const { inside, open } = this.piece(isPart, n);
    if (open && !erase) return view.say("Nothing is filled: it would run to the picture's edge. Close the outline first.");
    this.apply(inside, (m) => view.put(m, !erase));
  }
}

class Take extends Click { // moves the connected piece of another structure to the active one; where several lie, the smallest
  act(n) {
    const { view } = this, { history, active } = view, others = view.othersAt(n);
    const pieces = others.map((other) => ({ other, inside: this.piece((m) => history.has(other, m), n).inside }));
    if (!pieces.length) return view.say("No other structure is shown here, or it is locked.");
    const count = ({ inside }) => inside.reduce((sum, on) => sum + on, 0);
    const { other, inside } = pieces.reduce((least, piece) => (count(piece) < count(least) ? piece : least));
    this.apply(inside, (m) => { history.set(other, m, false); history.set(active, m, true); });
    view.say(`Taken from ${view.structure(other).name}.`);
  }
}

class Move { // the picture
  constructor(view) { this.view = view; }
  get holds() { return false; }
  down(place, event) { this.from = event.point; }
  move(place, event) {
    if (!this.from) return;
    this.view.pan(event.point[0] - this.from[0], event.point[1] - this.from[1]);
    this.from = event.point;
    this.view.drawAll();
  }
  up() { this.from = null; }
  cancel() { this.up(); }
  finish() { this.up(); }
  draw() {}
}

export const TOOLS = {
  move: Move, brush: Brush, eraser: Brush, grey: Brush, polygon: Polygon, outline: Outline, flood: Flood, take: Take, takebrush: TakeBrush,
};

export function toolList(view) { // as the panel takes it
  const { slope } = view.shown, [low, high] = view.extent(), [black, white] = view.range;
  const size = { name: "size", label: "Size", least: 1, most: 200, step: 1, value: 20, unit: "px" };
  const grey = (name, label, value) => ({ name, label, least: low, most: high, step: slope, value, unit: "" });
  const mode = (add, erase) => ({ name: "mode", label: "What it does", value: "add", choices: [["add", add], ["erase", erase]] });
  return [
    { name: "brush", label: "Brush", key: "b", icon: "brush", hint: "Drag to draw; with Shift it erases.", options: [size] },
    { name: "eraser", label: "Eraser", key: "e", icon: "auto_fix_normal", hint: "Drag to erase; with Shift it draws.", options: [size] },
    { name: "grey", label: "Brush within grey", key: "g", icon: "tonality", hint: "Draws only where the grey lies between the two values.",
      options: [size, grey("low", "From", Math.max(low, (black + white) / 2)), grey("high", "Up to", high)] },
    { name: "polygon", label: "Polygon", key: "p", icon: "polyline", hint: "Click corner after corner; close it at the first one, with a double click or Enter. "
      + "Then drag corners, drag a side for a new one, and take one away with a double click or Delete.", options: [mode("Add", "Take away")] },
    { name: "outline", label: "Edit outline", key: "o", icon: "timeline", hint: "The structure's outline gets corners; what is not dragged stays as it is.", options: [] },
    { name: "flood", label: "Fill", key: "f", icon: "format_color_fill", hint: "Click what the structure encloses, or a piece of it that is to go.",
      options: [mode("Fill", "Remove a piece")] },
    { name: "take", label: "Take a piece", key: "t", icon: "call_merge", hint: "Click a piece of another structure: it becomes this one's.", options: [] },
    { name: "takebrush", label: "Take with the brush", key: "y", icon: "format_paint", hint: "Draws only what other structures have, which lose it.", options: [size] },
    { name: "holes", label: "Fill holes", key: "h", icon: "adjust", once: true, hint: "Of the structure, all at once.", options: [] },
    { name: "smooth", label: "Smooth", key: "s", icon: "blur_on", once: true, hint: "The whole structure.",
      options: [{ name: "radius", label: "Radius", least: 1, most: 15, step: 1, value: 2, unit: "px" }] },
    { name: "others", label: "Dim, hide, show others", key: "i", icon: "layers", once: true, hint: "One after the other.", options: [] },
  ];
}
