"""One or several linked views of a case, and the controls beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments, KeyEventArguments, ValueChangeEventArguments

from osteon.app.frame import card, faint, show_error
from osteon.app.views import (
    WAY_OUT,
    PictureView,
    Shown,
    ShownLayer,
    View,
    VolumeView,
    layers_from,
    scene_for,
    viewer_is_there,
    why_missing,
)
from osteon.app.windows import presets
from osteon.core.errors import OsteonError

Load = Callable[[bool], Awaitable[tuple[str, dict[str, Any]]]]
LAYOUTS = {
    "all": "Slices and 3D",
    "slices": "Slices",
    "axial": "Axial",
    "coronal": "Coronal",
    "sagittal": "Sagittal",
    "solid": "3D",
}
KEYS = (
    ("1 … 9", "show or hide a structure"),
    ("a", "show or hide all structures"),
    ("o", "outlines or filled"),
    ("w", "next window of grey"),
    ("v", "next layout"),
    ("r", "radiological or neurological"),
    ("m", "measure, or move the crosshair"),
    ("c", "clear measurements"),
    ("f", "full resolution"),
    ("n, p", "next, previous case"),
    ("arrows, Page Up, Page Down", "move the crosshair, ten steps with Shift; move a picture"),
    ("+, −, Home", "zoom in, out, everything"),
)
"""What each key does, for people."""


@dataclass(frozen=True)
class Pane:
    """One view.

    Attributes:
        title: Above it; nothing where empty.
        parts: Of the scene, in the order in which they are drawn.
        outlined: Those of which outlines are drawn.
    """

    title: str
    parts: tuple[str, ...]
    outlined: tuple[str, ...] = ()


@dataclass
class Stage:
    """The views of one case.

    Attributes:
        load: Makes the scene, a preview or whole.
        panes: What is shown in each view.
        steps: Goes to the next (1) or the previous (-1) case.
    """

    load: Load
    panes: Sequence[Pane]
    steps: Callable[[int], None] | None = None
    views: list[tuple[View, list[ShownLayer]]] = field(default_factory=list)
    shown: dict[str, Shown] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    layout: str = "all"
    outlines: bool = False
    radiological: bool = True
    measuring: bool = False
    preset: int = 0
    whole: bool = False
    software: bool = False
    asked: bool = False

    def build(self) -> None:
        """Put the views and their controls onto the page, and load the preview."""
        ui.keyboard(on_key=self._key, ignore=["input", "select", "textarea"])
        with ui.element("div").classes("osteon-look"):
            self.left = ui.column().classes("full-width gap-2 no-wrap")
            self.right = ui.column().classes("full-width gap-3 no-wrap")
        with self.left:
            self.spinner = ui.row().classes("items-center")
            with self.spinner:
                ui.spinner()
                faint("Reading the scan …")
        ui.timer(0.01, self._first, once=True)

    async def _first(self) -> None:
        await self._read()
        self.spinner.delete()
        if self.info:
            self.arrange()
            self._controls()

    async def _read(self) -> None:
        try:
            scene_id, self.info = await self.load(self.whole)
        except OsteonError as error:
            with self.left:
                show_error(error, "This scan cannot be shown")
            return
        self.base = f"/v/{scene_id}/"

    def arrange(self, panes: Sequence[Pane] | None = None) -> None:
        """Make the views anew, for other panes where some are given."""
        self.panes = panes or self.panes
        self.left.clear()
        self.views = []
        group = f"stage-{self.left.id}-{id(self.panes)}" if len(self.panes) > 1 else ""
        with self.left, ui.element("div").classes("osteon-pair" if len(self.panes) > 1 else "full-width"):
            for number, pane in enumerate(self.panes):
                with ui.column().classes("full-width gap-1 no-wrap"):
                    if pane.title:
                        ui.label(pane.title).classes("text-weight-medium")
                    self._pane(pane, group, number)
        with self.left:
            self.status = faint("")
        self._say()

    def _pane(self, pane: Pane, group: str, number: int) -> None:
        picture = self.info["kind"] == "picture"
        if not picture and not viewer_is_there():
            show_error(OsteonError(f"the viewer's JavaScript is missing: {why_missing()}", hint=WAY_OUT), "No viewer")
            ui.image(f"{self.base}poster.png").classes("osteon-picture").props('alt="Three slices of the scan"')
            return
        label = f"{pane.title or 'The scan'}: the keys are listed under Keys"
        kind: type[View] = PictureView if picture else VolumeView
        view = kind(label=label, poster="" if picture else f"{self.base}poster.png", group=group)
        view.mark(f"view-{number}")
        view.on_ready(self._ready)
        layers = layers_from(self.info, self.base, pane.parts)
        for layer in layers:
            layer.structures = [self._known(structure) for structure in layer.structures]
            layer.outline = self.outlines or layer.part in pane.outlined
        self.views.append((view, layers))
        view.show(scene_for(self.info, self.base, layers, self.layout) | {"asked": self.asked})

    def _known(self, structure: Shown) -> Shown:
        """One structure is the same in every view."""
        return self.shown.setdefault(structure.name, structure)

    def _ready(self, event: GenericEventArguments) -> None:
        self.software = bool(event.args.get("software"))
        if self.software and self.layout == "all" and not self.asked:
            self.layout = "slices"  # what the viewer itself chose
            self.layout_select.set_value("slices")
        self._say(float(event.args.get("seconds", 0)))
        for view, _ in self.views:
            if not self.radiological:
                view.run_method("convention", False)

    def _say(self, seconds: float = 0.0) -> None:
        times = "×".join
        size, full = (times(map(str, self.info[name])) for name in ("size", "full"))
        what = f"{full} voxels" if size == full else f"preview of {size} voxels; the scan has {full}"
        if self.info["kind"] == "picture":
            what = f"{size} pixels"
        voxel = times(f"{s:.3g}" for s in self.info["spacing_mm"])
        slow = " · this browser draws without a graphics card: the 3D view is left out until asked for"
        ready = f" · shown after {seconds:.1f} s" if seconds else ""
        self.status.set_text(f"{what}, {voxel} {self.info['unit']}{ready}{slow if self.software else ''}")

    # The controls

    def _controls(self) -> None:
        volume = self.info["kind"] == "volume"
        with self.right, card():
            with ui.element("div").classes("osteon-row"):
                self.window_select = ui.select(
                    {n: name for n, (name, _, _) in enumerate(presets(self.info))},
                    value=0,
                    label="Window",
                    on_change=self._window_chosen,
                ).classes("osteon-grow")
                if volume:
                    self.layout_select = ui.select(LAYOUTS, value=self.layout, label="Layout", on_change=self._laid_out)
                    self.layout_select.classes("osteon-grow")
            least, most = self.info["range"]
            low, high = presets(self.info)[0][1:]
            faint("Range of grey")
            self.range = ui.range(
                min=min(least, low),
                max=max(most, high),
                step=max((most - least) / 1000, 1e-6),
                value={"min": low, "max": high},
                on_change=self._range_chosen,
            ).props('aria-label="Range of grey" label')
            with ui.element("div").classes("osteon-row"):
                self.side_switch = ui.switch("Radiological (patient's right on the left)", value=True)
                self.side_switch.on_value_change(self._side_chosen)
                self.measure_switch = ui.switch("Measure by dragging", value=False)
                self.measure_switch.on_value_change(self._measure_chosen)
            with ui.element("div").classes("osteon-row"):
                ui.button("Clear", icon="backspace", on_click=self._clear).props("flat dense no-caps").tooltip(
                    "Remove the measurements"
                )
                ui.button("Everything", icon="fit_screen", on_click=lambda: self._each("zoom", 0)).props(
                    "flat dense no-caps"
                ).tooltip("Zoom out")
                if volume and self.info["size"] != self.info["full"]:
                    self.full_button = ui.button("Full resolution", icon="hd", on_click=self._go_whole)
                    self.full_button.props("flat dense no-caps")
                ui.button("Keys", icon="keyboard", on_click=self._help).props("flat dense no-caps")
        with self.right:
            self.structure_place = ui.column().classes("full-width no-wrap")
        self._structures()

    def _structures(self) -> None:
        """The list of what is drawn; made again when the panes change."""
        self.structure_place.clear()
        self.switches: dict[str, ui.switch] = {}
        names = list(dict.fromkeys(s.name for _, layers in self.views for layer in layers for s in layer.structures))
        with self.structure_place, card("Structures"):
            if not names:
                faint("This case has no labels.")
                return
            with ui.element("div").classes("osteon-row"):
                ui.button("All", on_click=lambda: self._all(True)).props("flat dense no-caps aria-label='Show all'")
                ui.button("None", on_click=lambda: self._all(False)).props("flat dense no-caps aria-label='Hide all'")
                self.outline_switch = ui.switch("Outlines", value=self.outlines)
                self.outline_switch.on_value_change(self._outlines_chosen)
            faint("Opacity of all")
            ui.slider(min=0.05, max=1, step=0.05, value=0.55, on_change=lambda e: self._opacity(names, e.value)).props(
                'aria-label="Opacity of all structures"'
            )
            with ui.column().classes("osteon-structures no-wrap"):
                for number, name in enumerate(names, 1):
                    self._structure(number, self.shown[name])

    def _structure(self, number: int, structure: Shown) -> None:
        with ui.element("div").classes("osteon-structure"):
            colour = ui.element("input").props(f'type=color aria-label="Colour of structure {number}"')
            colour.classes("osteon-swatch")
            colour.props["value"] = structure.colour
            colour.on("input", lambda e: self._colour(structure, e.args), js_handler="(e) => emit(e.target.value)")
            switch = ui.switch(structure.name, value=structure.visible)
            switch.classes("osteon-grow").mark(f"structure-{number}")
            switch.on_value_change(lambda e: self._show(structure, bool(e.value)))
            self.switches[structure.name] = switch
            ui.slider(
                min=0.05,
                max=1,
                step=0.05,
                value=structure.opacity,
                on_change=lambda e: self._opacity([structure.name], e.value),
            ).props(f'dense aria-label="Opacity of structure {number}"').style("width: 70px; flex: none")

    # What they do

    def _each(self, method: str, *arguments: Any) -> None:
        for view, _ in self.views:
            view.run_method(method, *arguments)

    def _restyle(self, names: Sequence[str]) -> None:
        for view, layers in self.views:
            for number, layer in enumerate(layers):
                changed = [(n, s) for n, s in enumerate(layer.structures) if s.name in names]
                if changed:
                    view.styles(number, changed)

    def _show(self, structure: Shown, visible: bool) -> None:
        if structure.visible != visible:
            structure.visible = visible
            self._restyle([structure.name])

    def _all(self, visible: bool) -> None:
        changed = [name for name in self.switches if self.shown[name].visible != visible]
        for name in changed:
            self.shown[name].visible = visible  # before its switch, so that all go in one message
        self._restyle(changed)
        for name in changed:
            self.switches[name].set_value(visible)

    def _colour(self, structure: Shown, colour: Any) -> None:
        if isinstance(colour, str) and len(colour) == 7:
            structure.colour = colour
            self._restyle([structure.name])

    def _opacity(self, names: Sequence[str], value: float) -> None:
        for name in names:
            self.shown[name].opacity = float(value)
        self._restyle(names)

    def _window_chosen(self, event: ValueChangeEventArguments) -> None:
        self.preset = int(event.value)
        _, low, high = presets(self.info)[self.preset]
        self.range.set_value({"min": low, "max": high})

    def _range_chosen(self, event: ValueChangeEventArguments) -> None:
        self.info["window"] = [event.value["min"], event.value["max"]]
        self._each("window", *self.info["window"])

    def _laid_out(self, event: ValueChangeEventArguments) -> None:
        if event.value == self.layout:
            return
        self.layout, self.asked = str(event.value), True
        self._each("layout", self.layout)

    def _side_chosen(self, event: ValueChangeEventArguments) -> None:
        self.radiological = bool(event.value)
        self._each("convention", self.radiological)

    def _measure_chosen(self, event: ValueChangeEventArguments) -> None:
        self.measuring = bool(event.value)
        self._each("measure", self.measuring)

    def _clear(self) -> None:
        self._each("clear")

    def _outlines_chosen(self, event: ValueChangeEventArguments) -> None:
        self.outlines = bool(event.value)
        for (view, layers), pane in zip(self.views, self.panes, strict=False):
            for number, layer in enumerate(layers):
                layer.outline = self.outlines or layer.part in pane.outlined
                view.run_method("outline", number, layer.outline)

    async def _go_whole(self) -> None:
        self.whole = True
        self.full_button.disable()
        self.status.set_text("Reading the scan in full resolution …")
        await self._read()
        self.arrange()

    async def again(self) -> None:
        """Read the case anew: another channel of it was chosen."""
        await self._read()
        self.arrange()

    def change(self, panes: Sequence[Pane]) -> None:
        """Show other panes of the same case."""
        if self.info:
            self.arrange(panes)
            self._structures()

    async def _key(self, event: KeyEventArguments) -> None:
        if not event.action.keydown or event.action.repeat or not self.info or not self.views:
            return
        if event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt:
            return
        key = event.key.name
        names = list(self.switches) if hasattr(self, "switches") else []
        if key.isdigit() and 1 <= int(key) <= len(names):
            switch = self.switches[names[int(key) - 1]]
            switch.set_value(not switch.value)
        elif key == "a" and names:
            self._all(not all(self.shown[name].visible for name in names))
        elif key == "o" and names:
            self.outline_switch.set_value(not self.outline_switch.value)
        elif key == "w":
            self.window_select.set_value((self.preset + 1) % len(presets(self.info)))
        elif key == "v" and self.info["kind"] == "volume":
            kinds = list(LAYOUTS)
            self.layout_select.set_value(kinds[(kinds.index(self.layout) + 1) % len(kinds)])
        elif key == "r":
            self.side_switch.set_value(not self.side_switch.value)
        elif key == "m":
            self.measure_switch.set_value(not self.measure_switch.value)
        elif key == "c":
            self._clear()
        elif key == "f" and self.info["size"] != self.info["full"] and not self.whole:
            await self._go_whole()
        elif key in ("n", "p") and self.steps is not None:
            self.steps(1 if key == "n" else -1)
        elif key == "?":
            self._help()

    def _help(self) -> None:
        with ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
            ui.label("Keys").classes("text-weight-bold text-h6")
            for keys, what in KEYS:
                with ui.element("div").classes("osteon-row no-wrap"):
                    with ui.element("kbd"):
                        ui.label(keys)
                    ui.label(what)
            faint("In a view, drag to move the crosshair, drag with the right button to move, and turn the wheel.")
            ui.button("Close", on_click=dialog.close)
