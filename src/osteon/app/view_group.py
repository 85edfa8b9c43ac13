"""The linked views of one case: which scene they show, and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from osteon.app.elements import caption, show_error
from osteon.app.views import (
    NIIVUE_HINT,
    OBLIQUE_DEG,
    SHEARED_DEG,
    PictureView,
    View,
    ViewLayer,
    VisibleStructure,
    VolumeView,
    has_niivue,
    view_layers,
    viewer_scene,
    why_no_niivue,
)
from osteon.core.errors import OsteonError

SceneLoader = Callable[[bool], Awaitable[tuple[str, dict[str, Any]]]]
"""From whether the scan is wanted in full resolution to a scene's id and its `info.json` (see `scenes.make_scene`)."""
FLAGS = {"convention": True, "measure": False, "surround": False}
"""What is on at first, by the views' JavaScript methods: the radiological convention, measuring by dragging, the scan
around the bones in 3D."""
SHARED = {"window", "layout", "clear", *FLAGS}
"""Calls that go to the scan beside it, too."""
SOFTWARE_RENDERING = " · this browser draws without a graphics card: the 3D view is left out until asked for"


@dataclass(frozen=True)
class ViewPane:
    """What one view shows.

    Attributes:
        title: Above it; nothing where empty.
        parts: Of the scene, in the order in which they are drawn.
        outlined: Those of which only outlines are drawn.
    """

    title: str
    parts: tuple[str, ...]
    outlined: tuple[str, ...] = ()


@dataclass
class ViewGroup:
    """The views of one case, and the settings that they share.

    Attributes:
        load: Makes the scene.
        panes: What each view shows.
        views: The views, each with its layers.
        structures: Every structure by name: the same in all views.
        info: Of the scene; empty until it is loaded.
        base_url: Of the scene's folder.
        window: Lowest and highest intensity that differ from black and white.
        layout: A key of `viewer_controls.LAYOUTS`.
        layout_chosen: Whether the user chose it.
        outlines_only: Whether only outlines are drawn.
        full_resolution: Whether the scan is shown in full resolution.
        flags: What is on, by the keys of `FLAGS`.
        figure: Lines, angles and points that are drawn over the views.
        on_layout: Called when the browser has chosen another layout.
        on_ready: Called with a view when it shows its scene.
        link: What links its views with those of another scan: a name, and by what, as `follow_ups.ScanLink` has it.
        beside: The views of another scan that are shown as these are.
        second: Whether these are beside another scan's, which has the list of structures.
    """

    load: SceneLoader
    panes: Sequence[ViewPane]
    views: list[tuple[View, list[ViewLayer]]] = field(default_factory=list)
    structures: dict[str, VisibleStructure] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    base_url: str = ""
    window: tuple[float, float] = (0.0, 1.0)
    layout: str = "all"
    layout_chosen: bool = False
    outlines_only: bool = False
    full_resolution: bool = False
    flags: dict[str, bool] = field(default_factory=FLAGS.copy)
    figure: Sequence[Any] = ()
    on_layout: Callable[[], None] = lambda: None
    on_ready: Callable[[View], None] = lambda _: None
    link: tuple[str, str] = ("", "")
    beside: ViewGroup | None = None
    second: bool = False

    def __post_init__(self) -> None:
        """Put a column onto the page that says that the scan is being read."""
        self.column = ui.column().classes("full-width gap-2 no-wrap")
        with self.column, ui.row().classes("items-center"):
            ui.icon("hourglass_empty", size="22px").props("aria-hidden=true")
            caption("Reading the scan …")

    async def load_scene(self) -> bool:
        """Load the scene; whether that succeeded. An error is shown in place of the views."""
        try:
            scene_id, self.info = await self.load(self.full_resolution)
        except OsteonError as error:
            self.column.clear()
            with self.column:
                show_error(error, "This scan cannot be shown")
            return False
        if not self.base_url:
            self.window = (self.info["window"][0], self.info["window"][1])
        self.base_url = f"/v/{scene_id}/"
        return True

    async def reload(self) -> None:
        """Load the scene again: another channel, or the full resolution, was chosen."""
        self.status.set_text("Reading the scan …")
        if await self.load_scene():
            self.build()

    @property
    def is_volume(self) -> bool:
        """Whether it is a volume, and no picture."""
        return bool(self.info["kind"] == "volume")

    @property
    def is_preview(self) -> bool:
        """Whether what is shown has a lower resolution than the scan."""
        return bool(self.info["size"] != self.info["full"]) and self.is_volume

    @property
    def has_sides(self) -> bool:
        """Whether the patient's right can be shown on either side."""
        return bool(self.info["oriented"]) and (self.is_volume or self.info["marks"][0] in "RL")

    @property
    def names(self) -> list[str]:
        """The structures that are drawn in some view, in order."""
        return list(dict.fromkeys(s.name for _, layers in self.views for layer in layers for s in layer.structures))

    def build(self) -> None:
        """Make the views, in place of those that are there."""
        self.column.clear()
        self.views = []
        several = len(self.panes) > 1
        group = self.link[0] or (f"views-{self.column.id}-{id(self.panes)}" if several else "")
        with self.column, ui.element("div").classes("osteon-pair" if several else "full-width"):
            for number, pane in enumerate(self.panes):
                with ui.column().classes("full-width gap-1 no-wrap"):
                    if pane.title:
                        ui.label(pane.title).classes("text-weight-medium")
                    self._build_view(pane, group, number)
        with self.column:
            self.status = caption(self.describe())
            for line in self._describe_orientation():
                caption(line)

    def _build_view(self, pane: ViewPane, group: str, number: int) -> None:
        poster = f"{self.base_url}poster.png" if self.is_volume else ""
        if self.is_volume and not has_niivue():
            missing = OsteonError(f"the viewer's JavaScript is missing: {why_no_niivue()}", hint=NIIVUE_HINT)
            show_error(missing, "No viewer")
            picture = ui.element("img").classes("osteon-picture")
            picture.props["src"], picture.props["alt"] = poster, "Three slices of the scan"
            return
        label = f"{pane.title or 'The scan'}: the keys are listed under Keys"
        kind: type[View] = VolumeView if self.is_volume else PictureView
        view = kind(label=label, poster=poster, group=group, linked=self.link[1])
        view.mark(f"view-{number}")
        view.on("ready", self._ready)
        self.views.append((view, []))
        self._show_layers(number)

    def _show_layers(self, number: int) -> None:
        """Show in a view what the scene has of its pane, in the styles that the structures have."""
        (view, layers), pane = self.views[number], self.panes[number]
        layers[:] = view_layers(self.info, self.base_url, pane.parts)
        for layer in layers:
            for place, structure in enumerate(layer.structures):
                shown = self.structures.setdefault(structure.name, structure)
                if not self.second:
                    shown.piece = structure.piece
                layer.structures[place] = shown
            layer.outline = self.outlines_only or layer.part in pane.outlined
        view.show(
            viewer_scene(self.info, self.base_url, layers, self.window, self.layout, layout_chosen=self.layout_chosen)
        )

    async def update_labels(self) -> None:
        """Show labels that have changed; the views stay where they are."""
        if await self.load_scene():
            for number in range(len(self.views)):
                self._show_layers(number)

    def _ready(self, event: GenericEventArguments) -> None:
        software = bool(event.args.get("software"))
        if software and self.layout == "all" and not self.layout_chosen:
            self.layout = "slices"  # what the browser itself chose
            self.on_layout()
        self.status.set_text(self.describe(float(event.args.get("seconds", 0)), software=software))
        view = next((view for view, _ in self.views if view is event.sender), None)
        for method, on in self.flags.items():
            if view is not None and on != FLAGS[method]:
                view.run_method(method, on)
        if view is not None:
            self.on_ready(view)
            if self.figure:
                view.run_method("figure", self.figure)

    def describe(self, seconds: float = 0.0, *, software: bool = False) -> str:
        """Size and voxels of what is shown, in a line."""
        times = "×".join
        size, full = (times(map(str, self.info[name])) for name in ("size", "full"))
        what = f"preview of {size} voxels; the scan has {full}" if self.is_preview else f"{full} voxels"
        voxel = times(f"{s:.3g}" for s in self.info["spacing_mm"])
        ready = f" · shown after {seconds:.1f} s" if seconds else ""
        return f"{what}, {voxel} {self.info['unit']}{ready}{SOFTWARE_RENDERING if software else ''}"

    def _describe_orientation(self) -> list[str]:
        """What is unusual in how the scan lies: lines, none where nothing is."""
        shear, oblique = (float(self.info[name]) for name in ("shear_deg", "oblique_deg"))
        if not self.info["oriented"]:
            return ["Nothing says where the patient's right, front and top are: no letters are shown."]
        if self.is_volume and shear >= SHEARED_DEG:
            what = "the slices run along the patient's axes, through several of the scan's, so that lengths are true."
            return [f"Its axes are sheared by {shear:.1f}°: {what}"]
        if self.is_volume and oblique >= OBLIQUE_DEG:
            what = "the slices run along the scan's own axes, and the letters stand for the patient's nearest."
            return [f"Oblique by {oblique:.1f}°: {what}"]
        return []

    def show_figure(self, drawings: Sequence[Any]) -> None:
        """Draw what was measured over every view, as `case_measures.viewer_drawings` has it; nothing where empty."""
        self.figure = drawings
        self.run_method("figure", drawings)

    def go_to(self, name: str) -> None:
        """Show the place of a piece in every view that has it."""
        for view, layers in self.views:
            piece = next((s.piece for layer in layers for s in layer.structures if s.name == name), None)
            if piece is not None:
                view.go_to(piece)

    def run_method(self, method: str, *arguments: Any) -> None:
        """Call a JavaScript method of every view."""
        for view, _ in self.views:
            view.run_method(method, *arguments)
        if self.beside is not None and method in SHARED:
            self.beside.run_method(method, *arguments)

    def set_flag(self, method: str, on: bool) -> None:
        """Switch one of `FLAGS` in every view."""
        self.flags[method] = on
        self.run_method(method, on)

    def update_styles(self, names: Sequence[str]) -> None:
        """Draw some structures as `structures` has them now."""
        for view, layers in self.views:
            for number, layer in enumerate(layers):
                changed = [(n, s) for n, s in enumerate(layer.structures) if s.name in names]
                if changed:
                    view.set_styles(number, changed)
        if self.beside is not None:
            self.beside.update_styles(names)

    def set_visible(self, names: Sequence[str], visible: bool) -> None:
        """Show or hide structures."""
        changed = [name for name in names if self.structures[name].visible != visible]
        for name in changed:
            self.structures[name].visible = visible
        self.update_styles(changed)

    def set_outlines_only(self, outlines_only: bool) -> None:
        """Draw only outlines, or what the panes say."""
        self.outlines_only = outlines_only
        for (view, layers), pane in zip(self.views, self.panes, strict=True):
            for number, layer in enumerate(layers):
                layer.outline = outlines_only or layer.part in pane.outlined
                view.run_method("outline", number, layer.outline)
        if self.beside is not None:
            self.beside.set_outlines_only(outlines_only)
