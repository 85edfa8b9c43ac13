"""The controls beside the views of a case, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui
from nicegui.events import KeyEventArguments, ValueChangeEventArguments

from osteon.app.elements import action, attempt, caption, card
from osteon.app.key_dialog import show_keys
from osteon.app.piece_editor import PieceEditor
from osteon.app.slider import Slider
from osteon.app.structure_list import StructureList
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
    ("e, Esc", "let the views fill the window; back to the page"),
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


class ViewerControls:
    """Window, layout, structures; each can be reached by the keyboard as well."""

    def __init__(
        self,
        views: ViewGroup,
        step: Callable[[int], None],
        editor: PieceEditor | None = None,
        keys: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self.views, self.step, self.editor, self.keys = views, step, editor, keys or {}
        self.column = ui.column().classes("full-width gap-3 no-wrap")
        views.on_layout = self._show_layout
        self.preset = 0
        self.flags: dict[str, ui.switch] = {}
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
                    self.fill = action("Fill the window", self.keys["e"], icon="fullscreen", style="quiet")
                    action("Keys", show_shortcuts, icon="keyboard", style="quiet")
            self.structures = StructureList(self.views, self.editor)
        self.structures.build()

    def show_full(self, on: bool) -> None:
        """Say what the button does next."""
        self.fill.set_text("Back to the page" if on else "Fill the window")
        self.fill.props(f"icon={'fullscreen_exit' if on else 'fullscreen'}")

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

    def _show_layout(self) -> None:
        """Show the layout that the viewer chose."""
        if hasattr(self, "layout"):
            self.layout.set_value(self.views.layout)

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
        if key in self.keys:
            await attempt(self.keys[key])
            return
        views, listed = self.views, self.structures
        switches = list(listed.switches.values())
        if key.isdigit() and 1 <= int(key) <= len(switches):
            switch = switches[int(key) - 1]
            switch.set_value(not switch.value)
        elif key == "a" and switches:
            listed.set_all_visible(not all(switch.value for switch in switches))
        elif key == "o" and listed.outlines is not None:
            listed.outlines.set_value(not listed.outlines.value)
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


def show_shortcuts() -> None:
    """All keys, in a dialog."""
    show_keys("Keys", SHORTCUTS, "In a view, drag to move the crosshair, and with the right button to move the image.")


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
