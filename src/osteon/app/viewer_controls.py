"""The controls beside the views of a case, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nicegui import ui
from nicegui.events import KeyEventArguments, ValueChangeEventArguments

from osteon.app.elements import action, caption, card
from osteon.app.intensity_windows import window_presets
from osteon.app.slider import Slider

if TYPE_CHECKING:
    from osteon.app.viewer import Viewer

LAYOUTS = {
    "all": "Slices and 3D",
    "slices": "Slices",
    "axial": "Axial",
    "coronal": "Coronal",
    "sagittal": "Sagittal",
    "solid": "3D",
}
SHORTCUTS = (
    ("1 … 9", "show or hide a structure"),
    ("a", "show or hide all structures"),
    ("o", "outlines or filled"),
    ("w", "next window of grey"),
    ("v", "next layout"),
    ("r", "radiological or neurological"),
    ("b", "in 3D the bones alone, or within the scan"),
    ("m", "measure, or move the crosshair"),
    ("c", "clear measurements"),
    ("f", "full resolution"),
    ("n, p", "next, previous case"),
    ("wheel, Page Up, Page Down", "next slice, the tenth with Shift"),
    ("arrows", "move the crosshair as one sees it, ten steps with Shift; move a picture"),
    ("+, −, Home", "nearer, farther, everything"),
    ("Ctrl and wheel, pinch", "nearer, farther; in a picture and in 3D the wheel alone"),
)
"""What each key does, for people; docs/app.md has the same table."""
OPACITY = 0.55


class ViewerControls:
    """Window, layout, structures; each can be reached by the keyboard as well."""

    def __init__(self, stage: Viewer) -> None:
        self.stage = stage
        self.preset = 0
        self.switches: dict[str, ui.switch] = {}
        self.opacities: dict[str, Slider] = {}
        ui.keyboard(on_key=self._key, ignore=["input", "select", "textarea"])

    def build(self) -> None:
        """Put them beside the views."""
        stage = self.stage
        self.presets = window_presets(stage.info)
        with stage.right:
            with card():
                self._grey()
                with ui.element("div").classes("osteon-row"):
                    self.side = ui.switch("Radiological (patient's right on the left)", value=True)
                    self.side.on_value_change(self._side_chosen)
                    self.side.set_visibility(stage.sided)
                    self.measure = ui.switch("Measure by dragging", value=False)
                    self.measure.on_value_change(self._measuring)
                    self.surround = ui.switch("Scan around the bones in 3D", value=False)
                    self.surround.on_value_change(self._surrounded)
                    self.surround.set_visibility(stage.volume and bool(stage.names))
                with ui.element("div").classes("osteon-row"):
                    action("Clear", lambda: stage.each("clear"), icon="backspace", weight="quiet")
                    action("Everything", lambda: stage.each("zoom", 0), icon="fit_screen", weight="quiet")
                    self.full = action("Full resolution", self._go_whole, icon="hd", weight="quiet")
                    self.full.set_visibility(stage.reduced)
                    action("Keys", show_shortcuts, icon="keyboard", weight="quiet")
            self.place = ui.column().classes("full-width no-wrap")
        self.structures()

    def _grey(self) -> None:
        stage = self.stage
        with ui.element("div").classes("osteon-row"):
            names = {number: name for number, (name, _, _) in enumerate(self.presets)}
            self.window = ui.select(names, value=0, label="Window", on_change=self._preset_chosen)
            self.window.classes("osteon-grow")
            if stage.volume:
                self.layout = ui.select(LAYOUTS, value=stage.layout, label="Layout", on_change=self._laid_out)
                self.layout.classes("osteon-grow")
        least, most = stage.info["range"]
        low, high = stage.window
        bounds, unit = (min(least, low), max(most, high)), "HU" if stage.info["modality"] == "ct" else ""
        step = max((most - least) / 1000, 1e-6)
        caption("Range of grey: black, white")
        with ui.element("div").classes("osteon-row no-wrap"):
            self.black = Slider("Black up to", bounds, low, self._range_moved, step=step, unit=unit)
            self.white = Slider("White from", bounds, high, self._range_moved, step=step, unit=unit)

    def structures(self) -> None:
        """The list of what is drawn; made again when the panes change."""
        stage, names = self.stage, self.stage.names
        self.place.clear()
        self.switches = {}
        with self.place, card("Structures"):
            if not names:
                caption("Nothing is drawn here.")
                return
            with ui.element("div").classes("osteon-row"):
                action("All", lambda: self._all(True), weight="quiet", name="All: show all structures")
                action("None", lambda: self._all(False), weight="quiet", name="None: hide all structures")
                self.outlines = ui.switch("Outlines", value=stage.outlines)
                self.outlines.on_value_change(lambda e: stage.outline(bool(e.value)))
            caption("Opacity of all")
            opacity_slider(f"Opacity of all {len(names)} structures", OPACITY, self._all_opacities)
            self.opacities = {}
            with ui.column().classes("osteon-structures no-wrap"):
                for number, name in enumerate(names, 1):
                    self._structure(number, name)

    def _structure(self, number: int, name: str) -> None:
        structure = self.stage.shown[name]
        with ui.element("div").classes("osteon-structure"):
            colour_input(structure.colour, f"Colour of {name}", lambda colour: self._colour(name, colour))
            switch = ui.switch(name, value=structure.visible).classes("osteon-grow").mark(f"structure-{number}")
            switch.on_value_change(lambda e: self.stage.show([name], bool(e.value)))
            self.switches[name] = switch
            slider = opacity_slider(f"Opacity of {name}", structure.opacity, lambda value: self._opacity([name], value))
            self.opacities[name] = slider.style("width: 70px; flex: none")

    def follow(self) -> None:
        """Show the layout that the viewer chose."""
        if hasattr(self, "layout"):
            self.layout.set_value(self.stage.layout)

    def _all(self, visible: bool) -> None:
        self.stage.show(list(self.switches), visible)  # before the switches, so that all go in one message
        for switch in self.switches.values():
            switch.set_value(visible)

    def _colour(self, name: str, colour: str) -> None:
        self.stage.shown[name].colour = colour
        self.stage.restyle([name])

    def _opacity(self, names: Sequence[str], value: float) -> None:
        for name in names:
            self.stage.shown[name].opacity = value
        self.stage.restyle(names)

    def _all_opacities(self, value: float) -> None:
        self._opacity(list(self.opacities), value)
        for slider in self.opacities.values():
            slider.put(value)

    def _preset_chosen(self, event: ValueChangeEventArguments) -> None:
        self.preset = int(event.value)
        _, low, high = self.presets[self.preset]
        self.black.put(low)
        self.white.put(high)
        self._range_moved()

    def _range_moved(self, _: float = 0.0) -> None:
        low, high = self.black.value, self.white.value
        self.stage.window = (low, max(high, low + 1e-6))
        self.stage.each("window", *self.stage.window)

    def _measuring(self, event: ValueChangeEventArguments) -> None:
        self.stage.measuring = bool(event.value)
        self.stage.each("measure", self.stage.measuring)

    def _surrounded(self, event: ValueChangeEventArguments) -> None:
        self.stage.surrounded = bool(event.value)
        self.stage.each("surround", self.stage.surrounded)

    def _laid_out(self, event: ValueChangeEventArguments) -> None:
        if event.value != self.stage.layout:
            self.stage.layout, self.stage.asked = str(event.value), True
            self.stage.each("layout", self.stage.layout)
            self.stage.status.set_text(self.stage.told())

    def _side_chosen(self, event: ValueChangeEventArguments) -> None:
        self.stage.radiological = bool(event.value)
        self.stage.each("convention", self.stage.radiological)

    async def _go_whole(self) -> None:
        self.full.disable()
        self.stage.whole = True
        await self.stage.again()

    async def _key(self, event: KeyEventArguments) -> None:
        held = event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt
        if not event.action.keydown or event.action.repeat or held or not hasattr(self, "black"):
            return
        await self.press(event.key.name)

    async def press(self, key: str) -> None:
        """Do what a key stands for; see `SHORTCUTS`."""
        stage, names = self.stage, list(self.switches)
        if key.isdigit() and 1 <= int(key) <= len(names):
            switch = self.switches[names[int(key) - 1]]
            switch.set_value(not switch.value)
        elif key == "a" and names:
            self._all(not all(switch.value for switch in self.switches.values()))
        elif key == "o" and names:
            self.outlines.set_value(not self.outlines.value)
        elif key == "w":
            self.window.set_value((self.preset + 1) % len(self.presets))
        elif key == "v" and stage.volume:
            kinds = list(LAYOUTS)
            self.layout.set_value(kinds[(kinds.index(stage.layout) + 1) % len(kinds)])
        elif key == "b" and self.surround.visible:
            self.surround.set_value(not self.surround.value)
        elif key == "r" and stage.sided:
            self.side.set_value(not self.side.value)
        elif key == "m":
            self.measure.set_value(not self.measure.value)
        elif key == "c":
            stage.each("clear")
        elif key == "f" and stage.reduced:
            await self._go_whole()
        elif key in ("n", "p") and stage.steps is not None:
            stage.steps(1 if key == "n" else -1)
        elif key == "?":
            show_shortcuts()


def opacity_slider(label: str, value: float, then: Callable[[float], object]) -> Slider:
    """A slider from 5 to 100 %; outlines are always opaque."""
    return Slider(label, (0.05, 1.0), value, then, step=0.05, factor=100.0, unit="%")


def colour_input(colour: str, label: str, then: Any) -> None:
    """A field in which a colour is chosen; `then` is called with `#rrggbb`."""
    made = ui.element("input").props("type=color").classes("osteon-swatch")
    made.props["value"], made.props["aria-label"] = colour, label

    def chosen(event: Any) -> None:
        if isinstance(event.args, str) and len(event.args) == 7:
            then(event.args)

    made.on("input", chosen, js_handler="(e) => emit(e.target.value)")


def show_shortcuts() -> None:
    """All keys, in a dialog."""
    with ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label("Keys").classes("text-weight-bold text-h6")
        for keys, what in SHORTCUTS:
            with ui.element("div").classes("osteon-row no-wrap"):
                with ui.element("kbd"):
                    ui.label(keys)
                ui.label(what)
        caption("In a view, drag to move the crosshair, and with the right button to move the image.")
        action("Close", dialog.close, weight="main")
