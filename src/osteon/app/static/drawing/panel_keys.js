// What each key does on a drawing page; docs/drawing.md has the same table.
const next = (value, { choices }) => choices[(choices.findIndex(([one]) => one === value) + 1) % choices.length][0];

const SLICES = [["d", "this slice, or all slices"], ["Enter", "use the tool at the crosshair; Alt+Enter erases"], ["v", "next layout"],
  ["wheel, Page Up, Page Down", "next slice, the tenth with Shift"], ["arrows", "move the crosshair"], ["Ctrl and wheel, +, −, Home", "zoom in, zoom out, show everything"],
  ["right button", "move the image"]];
const PICTURE = [["arrows", "move a cursor, ten pixels with Shift; with Look, the picture"], ["Space, Enter", "use the tool at the cursor, and end it; Alt+Enter erases"],
  ["Enter, Delete", "close a polygon; remove a corner"], ["wheel, +, −, Home", "zoom in, zoom out, show everything"],
  ["Space or Shift and drag, middle button", "move the picture"], ["right button", "choose the structure under the pointer; again, the next one there"]];

export function keyList(tools, kind) {
  return [...tools.map(({ key, label }) => [key, label]), ["1 … 9", "choose a structure"], ["[ , ]", "narrower, wider"],
    ["x", "only where the grey is within the range"], ["Ctrl+Z, Ctrl+Y", "undo, redo"], ["Ctrl+S", "save"], ["h", "hide or show the drawing"],
    ["k", "protect the other structures"], ["w", "next window of grey"], ["n, p", "next, previous case"],
    ["Esc", "look; back from an older version"], ...(kind === "volume" ? SLICES : PICTURE)];
}

export function heldKeys(panel, event) { // with Ctrl
  return { z: () => (event.shiftKey ? panel.view.redo() : panel.view.undo()), y: () => panel.view.redo(), s: () => panel.save() };
}

export function keys(panel) {
  return {
    "[": () => panel.step("size", (v) => v - (v > 10 ? 2 : 0.5)), "]": () => panel.step("size", (v) => v + (v >= 10 ? 2 : 0.5)),
    d: () => panel.step("reach", next), x: () => panel.step("limit", next), k: () => panel.chosen >= 0 && panel.lockOthers(),
    h: () => { const on = !panel.rows.some(({ visible }) => visible); panel.rows.forEach((row) => { row.visible = on; }); panel.showRows(); },
    w: () => { panel.preset = (panel.preset + 1) % panel.presets.length; panel.setWindow(); },
    v: () => { const names = Object.keys(panel.layouts); panel.layout = names[(names.indexOf(panel.layout) + 1) % names.length]; panel.view.layout(panel.layout); },
    n: () => panel.visit(1), p: () => panel.visit(0), "?": () => panel.$refs.keys.showModal(),
    escape: () => (panel.peeked ? panel.goBack() : panel.useTool(panel.tools[0])),
    ...Object.fromEntries(panel.tools.map((tool) => [tool.key, () => !panel.peeked && (tool.once ? panel.runTool(tool) : panel.useTool(tool))])),
    ...Object.fromEntries(panel.rows.slice(0, 9).map((_, n) => [`${n + 1}`, () => panel.choose(n)])),
  };
}
