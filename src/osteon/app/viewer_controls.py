"""The controls beside the views of a case, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.events import KeyEventArguments, ValueChangeEventArguments

from osteon.app.elements import action, caption, card
from osteon.app.slider import Slider
from osteon.app.view_group import ViewGroup

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
    ("arrows", "move the crosshair in the direction shown, ten steps with Shift; move a picture"),
    ("+, −, Home", "zoom in, zoom out, show everything"),
    ("Ctrl and wheel, pinch", "zoom in, zoom out; in a picture and in 3D the wheel alone"),
)
"""What each key does, for people; docs/app.md has the same table."""
FLAG_SWITCHES = {
    "r": ("convention", "Radiological (patient's right on the left)"),
    "m": ("measure", "Measure by dragging"),
    "b": ("surround", "Scan around the bones in 3D"),
}
"""By the key that toggles it: one of `view_group.FLAGS`, and the text of its switch."""
CT_WINDOWS = (
    ("Bone", -500.0, 1300.0),
    ("Soft tissue", -150.0, 250.0),
    ("Metal", -500.0, 3000.0),
    ("Lung", -1350.0, 150.0),
)
"""Hounsfield units: widths 1800, 400, 3500 and 1500, as radiology departments have them."""
OPACITY = 0.55


class ViewerControls:
    """Window, layout, structures; each can be reached by the keyboard as well."""

    def __init__(self, views: ViewGroup, step: Callable[[int], None]) -> None:
        self.views, self.step = views, step
        self.column = ui.column().classes("full-width gap-3 no-wrap")
        views.on_layout = self._show_layout
        self.preset = 0
        self.switches: dict[str, ui.switch] = {}
        self.flags: dict[str, ui.switch] = {}
        self.opacities: dict[str, Slider] = {}
        ui.keyboard(on_key=self._key_pressed, ignore=["input", "select", "textarea"])

    def build(self) -> None:
        """Put them beside the views."""
        views = self.views
        self.presets = window_presets(views.info)
        with self.column:
            with card():
                self._intensity_controls()
                with ui.element("div").classes("osteon-row"):
                    for key, (method, text) in FLAG_SWITCHES.items():
                        self.flags[key] = self._flag_switch(method, text)
                    self.flags["r"].set_visibility(views.has_sides)
                    self.flags["b"].set_visibility(views.is_volume and bool(views.names))
                with ui.element("div").classes("osteon-row"):
                    action("Clear", lambda: views.run_method("clear"), icon="backspace", style="quiet")
                    action("Everything", lambda: views.run_method("zoom", 0), icon="fit_screen", style="quiet")
                    self.full_resolution = action(
                        "Full resolution", self._load_full_resolution, icon="hd", style="quiet"
                    )
                    self.full_resolution.set_visibility(views.is_preview)
                    action("Keys", show_shortcuts, icon="keyboard", style="quiet")
            self.structure_column = ui.column().classes("full-width no-wrap")
        self.list_structures()

    def _flag_switch(self, method: str, text: str) -> ui.switch:
        views = self.views
        return ui.switch(text, value=views.flags[method], on_change=lambda e: views.set_flag(method, bool(e.value)))

    def _intensity_controls(self) -> None:
        views = self.views
        with ui.element("div").classes("osteon-row"):
            names = {number: name for number, (name, _, _) in enumerate(self.presets)}
            self.window = ui.select(names, value=0, label="Window", on_change=self._preset_changed)
            self.window.classes("osteon-grow")
            if views.is_volume:
                self.layout = ui.select(LAYOUTS, value=views.layout, label="Layout", on_change=self._layout_changed)
                self.layout.classes("osteon-grow")
        lowest, highest = views.info["range"]
        low, high = views.window
        bounds, unit = (min(lowest, low), max(highest, high)), "HU" if views.info["modality"] == "ct" else ""
        step = max((highest - lowest) / 1000, 1e-6)
        caption("Range of grey: black, white")
        with ui.element("div").classes("osteon-row no-wrap"):
            self.black = Slider("Black up to", bounds, low, self._range_changed, step=step, unit=unit)
            self.white = Slider("White from", bounds, high, self._range_changed, step=step, unit=unit)

    def list_structures(self) -> None:
        """The list of what is drawn; made again when the panes change."""
        views, names = self.views, self.views.names
        self.structure_column.clear()
        self.switches = {}
        with self.structure_column, card("Structures"):
            if not names:
                caption("Nothing is drawn here.")
                return
            with ui.element("div").classes("osteon-row"):
                action("All", lambda: self._set_all_visible(True), style="quiet", name="All: show all structures")
                action("None", lambda: self._set_all_visible(False), style="quiet", name="None: hide all structures")
                self.outlines = ui.switch("Outlines", value=views.outlines_only)
                self.outlines.on_value_change(lambda e: views.set_outlines_only(bool(e.value)))
            caption("Opacity of all")
            opacity_slider(f"Opacity of all {len(names)} structures", OPACITY, self._set_all_opacities)
            self.opacities = {}
            with ui.column().classes("osteon-structures no-wrap"):
                for number, name in enumerate(names, 1):
                    self._structure_row(number, name)

    def _structure_row(self, number: int, name: str) -> None:
        structure = self.views.structures[name]
        with ui.element("div").classes("osteon-structure"):
            colour_input(structure.colour, f"Colour of {name}", lambda colour: self._set_colour(name, colour))
            switch = ui.switch(name, value=structure.visible).classes("osteon-grow").mark(f"structure-{number}")
            switch.on_value_change(lambda e: self.views.set_visible([name], bool(e.value)))
            self.switches[name] = switch
            slider = opacity_slider(
                f"Opacity of {name}", structure.opacity, lambda value: self._set_opacity([name], value)
            )
            self.opacities[name] = slider.style("width: 70px; flex: none")

    def _show_layout(self) -> None:
        """Show the layout that the viewer chose."""
        if hasattr(self, "layout"):
            self.layout.set_value(self.views.layout)

    def _set_all_visible(self, visible: bool) -> None:
        self.views.set_visible(list(self.switches), visible)  # before the switches, so that all go in one message
        for switch in self.switches.values():
            switch.set_value(visible)

    def _set_colour(self, name: str, colour: str) -> None:
        self.views.structures[name].colour = colour
        self.views.update_styles([name])

    def _set_opacity(self, names: Sequence[str], value: float) -> None:
        for name in names:
            self.views.structures[name].opacity = value
        self.views.update_styles(names)

    def _set_all_opacities(self, value: float) -> None:
        self._set_opacity(list(self.opacities), value)
        for slider in self.opacities.values():
            slider.set_value(value)

    def _preset_changed(self, event: ValueChangeEventArguments) -> None:
        self.preset = int(event.value)
        _, low, high = self.presets[self.preset]
        self.black.set_value(low)
        self.white.set_value(high)
        self._range_changed()

    def _range_changed(self, _: float = 0.0) -> None:
        low, high = self.black.value, self.white.value
        self.views.window = (low, max(high, low + 1e-6))
        self.views.run_method("window", *self.views.window)

    def _layout_changed(self, event: ValueChangeEventArguments) -> None:
        if event.value != self.views.layout:
            self.views.layout, self.views.layout_chosen = str(event.value), True
            self.views.run_method("layout", self.views.layout)
            self.views.status.set_text(self.views.describe())

    async def _load_full_resolution(self) -> None:
        self.full_resolution.disable()
        self.views.full_resolution = True
        await self.views.reload()

    async def _key_pressed(self, event: KeyEventArguments) -> None:
        held = event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt
        if not event.action.keydown or event.action.repeat or held or not hasattr(self, "black"):
            return
        await self.press(event.key.name)

    async def press(self, key: str) -> None:
        """Do what a key stands for; see `SHORTCUTS`."""
        views, names = self.views, list(self.switches)
        if key.isdigit() and 1 <= int(key) <= len(names):
            switch = self.switches[names[int(key) - 1]]
            switch.set_value(not switch.value)
        elif key == "a" and names:
            self._set_all_visible(not all(switch.value for switch in self.switches.values()))
        elif key == "o" and names:
            self.outlines.set_value(not self.outlines.value)
        elif key == "w":
            self.window.set_value((self.preset + 1) % len(self.presets))
        elif key == "v" and views.is_volume:
            kinds = list(LAYOUTS)
            self.layout.set_value(kinds[(kinds.index(views.layout) + 1) % len(kinds)])
        elif key in self.flags and self.flags[key].visible:
            self.flags[key].set_value(not self.flags[key].value)
        elif key == "c":
            views.run_method("clear")
        elif key == "f" and views.is_preview:
            await self._load_full_resolution()
        elif key in ("n", "p"):
            self.step(1 if key == "n" else -1)
        elif key == "?":
            show_shortcuts()


def opacity_slider(label: str, value: float, on_change: Callable[[float], object]) -> Slider:
    """A slider from 5 to 100 %; outlines are always opaque."""
    return Slider(label, (0.05, 1.0), value, on_change, step=0.05, factor=100.0, unit="%")


def colour_input(colour: str, label: str, on_change: Callable[[str], object]) -> None:
    """A field in which a colour is chosen; `on_change` is called with `#rrggbb`."""
    field = ui.element("input").props("type=color").classes("osteon-swatch")
    field.props["value"], field.props["aria-label"] = colour, label

    def changed(event: Any) -> None:
        if isinstance(event.args, str) and len(event.args) == 7:
            on_change(event.args)

    field.on("input", changed, js_handler="(e) => emit(e.target.value)")


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
        action("Close", dialog.close, style="main")


def window_presets(info: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Names and ranges that make sense for a scene, the one that is shown first in front."""
    low, high = info["window"]
    lowest, highest = info["range"]
    if info["modality"] == "ct":
        return list(CT_WINDOWS)
    middle = (low + high) / 2
    name = "MR" if info["modality"] == "mr" else "Usual"
    return [
        (name, low, high),
        (f"{name}, brighter", low, max(middle, low + 1e-6)),
        (f"{name}, darker", low, min(highest, high + (high - low)) if highest > high else high * 1.5),
        ("Everything", lowest, highest),
    ]
