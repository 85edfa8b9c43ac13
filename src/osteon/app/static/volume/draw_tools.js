// The tools for volumes, and what can be chosen of each; docs/drawing.md has the same table.
const SIZE = { name: "size", label: "Width", least: 0.5, most: 60, step: 0.5, value: 6, unit: "mm" };
const REACH = { name: "reach", label: "Where", choices: [["slice", "This slice"], ["volume", "All slices"]], value: "slice" };
const LIMITS = [
  { name: "limit", label: "Limit to", choices: [["any", "Any grey"], ["range", "A range of grey"]], value: "any" },
  { name: "from", label: "From", value: 150, unit: "grey" }, { name: "to", label: "To", value: 3000, unit: "grey" },
];
export const TOOLS = [
  { name: "move", label: "Look", key: "m", icon: "near_me", hint: "Drag moves the crosshair.", options: [] },
  { name: "brush", label: "Brush", key: "b", icon: "brush", hint: "Ctrl erases, Shift moves the crosshair.",
    options: [SIZE, { ...REACH, label: "Shape", choices: [["slice", "Disc in the slice"], ["volume", "Ball"]] }, ...LIMITS] },
  { name: "eraser", label: "Eraser", key: "e", icon: "backspace", hint: "Erases the structure that is chosen, or all.",
    options: [SIZE, { ...REACH, label: "Shape", choices: [["slice", "Disc in the slice"], ["volume", "Ball"]] },
      { name: "what", label: "What", choices: [["one", "The structure chosen"], ["all", "Every structure"]], value: "one" }] },
  { name: "outline", label: "Outline", key: "o", icon: "gesture", hint: "Draw around it: what lies within is filled.",
    options: [{ name: "what", label: "What", choices: [["draw", "Fill"], ["erase", "Erase"]], value: "draw" }, ...LIMITS] },
  { name: "fill", label: "Fill", key: "f", icon: "format_color_fill", hint: "Click into a closed contour.", options: [REACH] },
  { name: "take", label: "Take piece", key: "t", icon: "swap_horiz",
    hint: "A click gives the connected piece under the pointer to the structure chosen.", options: [{ ...REACH, value: "volume" }] },
  { name: "grow", label: "Grow", key: "r", icon: "blur_on",
    hint: "A click takes what is connected and as bright as around the pointer, of what is empty.",
    options: [{ ...REACH, value: "volume" }, { name: "tolerance", label: "Brighter, darker by", least: 1, most: 1000, step: 1, value: 150, unit: "grey" },
      { name: "distance", label: "No further than", least: 2, most: 150, step: 1, value: 30, unit: "mm" }] },
  { name: "click", label: "Click", key: "c", icon: "ads_click", hint: "Click into the structure; with Ctrl, into what does not belong to it.",
    options: [{ name: "by", label: "By", choices: [["points", "Points alone"]], value: "points" },
      { name: "about", label: "Radius, about", least: 3, most: 100, step: 1, value: 25, unit: "mm" }] },
  { name: "smooth", label: "Smooth", key: "s", icon: "water_drop", once: true, hint: "Rounds the structure chosen.",
    options: [{ ...REACH, value: "volume" }, { name: "sigma", label: "By", least: 0.3, most: 5, step: 0.1, value: 1, unit: "mm" }] },
  { name: "between", label: "Between slices", key: "i", icon: "layers", once: true,
    hint: "Fills the slices between those in which the structure is drawn, across the plane last pointed at.", options: [] },
];
