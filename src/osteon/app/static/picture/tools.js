// What a pointer does to the active structure of a picture: brush, flood, taking pieces. `view` is draw_picture.js;
// `places` are points of the picture; each tool ends a step by `view.commit()`.
import { connected, strokeShape } from "osteon-picture/shapes.js";
import { Outline, Polygon } from "osteon-picture/polygon.js";

const REACH = 0.08, MOST_REACH = 200; // how far a click looks: a part of the picture's longer side; mm or pixels at most, as the server has it

class Brush { // draws, or takes away, with a round tip
  constructor(view) { this.view = view; }
  get holds() { return !!this.last; }
  down(place, event) {
    this.erase = event.erase !== this.view.options.erase; // with the pen's other end, or Ctrl: the other way round
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
    if (!pieces.length) return view.say("No other structure is shown here, or it is protected.");
    const count = ({ inside }) => inside.reduce((sum, on) => sum + on, 0);
    const { other, inside } = pieces.reduce((least, piece) => (count(piece) < count(least) ? piece : least));
    this.apply(inside, (m) => { history.set(other, m, false); history.set(active, m, true); });
    view.say(`Taken from ${view.structure(other).name}.`);
  }
}

class Points extends Click { // asks for what lies around points: inside, or with Ctrl outside; the panel has those so far
  act(n, { erase }) {
    const [width] = this.view.shown.size;
    this.view.tell("osteon-clicked", { at: [Math.floor(n / width), n % width], positive: !erase });
  }
  draw(pen) {
    pen.setLineDash([]);
    for (const { at: [row, column], positive } of this.view.aside ? [] : this.view.points) {
      const [x, y] = this.view.screen([column + 0.5, row + 0.5]);
      pen.beginPath();
      pen.arc(x, y, 7, 0, 7);
      Object.assign(pen, { fillStyle: positive ? "#4de6ff" : "#ffd84d", strokeStyle: "#000", lineWidth: 1.5 });
      pen.fill();
      pen.moveTo(x - 4, y); pen.lineTo(x + 4, y);
      if (positive) { pen.moveTo(x, y - 4); pen.lineTo(x, y + 4); }
      pen.stroke();
    }
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
  move: Move, brush: Brush, eraser: Brush, polygon: Polygon, outline: Outline, fill: Flood, take: Take, takeover: TakeBrush, click: Points,
};

export function toolList({ window: [black, white], size: [width, height], pixel, unit }) { // of a scene, as the panel takes it
  const size = { name: "size", label: "Width", least: 1, most: 300, step: 1, value: 20, unit: "px" };
  const limits = [
    { name: "limit", label: "Where the grey is", choices: [["any", "Anything"], ["range", "Within a range"]], value: "any" },
    { name: "from", label: "From", value: +((black + white) / 2).toPrecision(3), unit: "grey" }, { name: "to", label: "To", value: white, unit: "grey" },
  ];
  const extent = Math.max(width * pixel[0], height * pixel[1]), tidy = (value) => +Math.max(1, value).toPrecision(2);
  const about = { name: "about", label: "Radius, about", least: 1, most: tidy(Math.min(MOST_REACH, extent / 3)), step: 1, value: tidy(Math.min(MOST_REACH, REACH * extent)), unit };
  const what = (draw, erase) => ({ name: "what", label: "What", choices: [["draw", draw], ["erase", erase]], value: "draw" });
  return [
    { name: "move", label: "Look", key: "m", icon: "near_me", hint: "Drag moves the picture; with other tools so do Shift, Space and the middle button.", options: [] },
    { name: "brush", label: "Brush", key: "b", icon: "brush", hint: "Ctrl erases, Shift moves the picture. The right button chooses the structure under the pointer.", options: [size, ...limits] },
    { name: "eraser", label: "Eraser", key: "e", icon: "backspace", hint: "Erases the structure that is chosen; with Ctrl it draws.", options: [size, ...limits] },
    { name: "polygon", label: "Polygon", key: "g", icon: "polyline", options: [what("Fill", "Erase")],
      hint: "Click corner after corner, or draw around it; the first corner, a double click or Enter closes it. Then drag corners and sides; a double click or Delete removes a corner." },
    { name: "outline", label: "Edit outline", key: "o", icon: "timeline", options: [],
      hint: "Corners along the structure's own outline: drag them, drag a side for a new one; a double click or Delete removes one. Elsewhere it stays as it is." },
    { name: "fill", label: "Fill", key: "f", icon: "format_color_fill", hint: "Click what the structure encloses, or a piece of it that is to go.", options: [what("Fill", "Remove the piece")] },
    { name: "take", label: "Take piece", key: "t", icon: "swap_horiz", hint: "A click gives the connected piece under the pointer to the structure chosen.", options: [] },
    { name: "takeover", label: "Take over", key: "a", icon: "format_paint", hint: "A brush that gives what other structures have to the structure chosen.", options: [size] },
    { name: "click", label: "Click", key: "c", icon: "ads_click", hint: "Click into the structure; with Ctrl, into what does not belong to it.",
      options: [{ name: "by", label: "By", choices: [["points", "Points alone"]], value: "points" }, about] },
    { name: "holes", label: "Fill holes", key: "l", icon: "adjust", once: true, hint: "All holes of the structure chosen.", options: [] },
    { name: "smooth", label: "Smooth", key: "s", icon: "water_drop", once: true, hint: "Rounds the structure chosen.",
      options: [{ name: "radius", label: "By", least: 1, most: 15, step: 1, value: 2, unit: "px" }] },
    { name: "others", label: "Others", key: "i", icon: "layers", once: true, hint: "The other structures: dimmed, hidden, as they are.", options: [] },
  ];
}
