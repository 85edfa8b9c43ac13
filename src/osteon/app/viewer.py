"""One or several linked views of a case: what is shown in them, and how. The controls beside them are in `controls`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from osteon.app.elements import caption, show_error
from osteon.app.viewer_controls import ViewerControls
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
SOFTWARE_RENDERING = " · this browser draws without a graphics card: the 3D view is left out until asked for"


@dataclass(frozen=True)
class ViewPane:
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
class Viewer:
    """The views of one case.

    Attributes:
        load: Makes the scene, a preview or whole.
        panes: What is shown in each view.
        steps: Goes to the next (1) or the previous (-1) case.
        ahead: Prepares what will probably be looked at next.
        views: The viewers with what is drawn in each.
        shown: Every structure by name: the same in all views.
        info: Of the scene; empty until it is there.
        base: URL of the scene's folder.
        window: Range of grey.
        layout: A key of `controls.LAYOUTS`.
        asked: Whether somebody chose it.
        outlines: Whether outlines alone are drawn.
        radiological: Whether the patient's right is on the left.
        whole: Whether the scan is shown in full resolution.
        measuring: Whether dragging measures.
        surrounded: Whether 3D shows the scan around the bones.
    """

    load: SceneLoader
    panes: Sequence[ViewPane]
    steps: Callable[[int], None] | None = None
    ahead: Callable[[], Awaitable[None]] | None = None
    views: list[tuple[View, list[ViewLayer]]] = field(default_factory=list)
    shown: dict[str, VisibleStructure] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    window: tuple[float, float] = (0.0, 1.0)
    layout: str = "all"
    asked: bool = False
    outlines: bool = False
    radiological: bool = True
    whole: bool = False
    measuring: bool = False
    surrounded: bool = False

    def build(self) -> None:
        """Put the views and their controls onto the page, and load the preview."""
        with ui.element("div").classes("osteon-look"):
            self.left = ui.column().classes("full-width gap-2 no-wrap")
            self.right = ui.column().classes("full-width gap-3 no-wrap")
        with self.left, ui.row().classes("items-center"):
            ui.icon("hourglass_empty", size="22px").props("aria-hidden=true")
            caption("Reading the scan …")
        self.controls = ViewerControls(self)
        ui.timer(0.01, self._first, once=True)

    async def _first(self) -> None:
        if await self._read():
            self.arrange()
            self.controls.build()
            if self.ahead is not None:
                await self.ahead()

    async def _read(self) -> bool:
        try:
            scene_id, self.info = await self.load(self.whole)
        except OsteonError as error:
            self.left.clear()
            with self.left:
                show_error(error, "This scan cannot be shown")
            return False
        if not self.base:
            self.window = (self.info["window"][0], self.info["window"][1])
        self.base = f"/v/{scene_id}/"
        return True

    @property
    def volume(self) -> bool:
        """Whether it is a volume, and no picture."""
        return bool(self.info["kind"] == "volume")

    @property
    def reduced(self) -> bool:
        """Whether what is shown is only a preview."""
        return bool(self.info["size"] != self.info["full"]) and self.volume

    @property
    def sided(self) -> bool:
        """Whether it can be turned to have the patient's right on either side."""
        return bool(self.info["oriented"]) and (self.volume or self.info["marks"][0] in "RL")

    @property
    def names(self) -> list[str]:
        """The structures that are drawn in some view, in order."""
        return list(dict.fromkeys(s.name for _, layers in self.views for layer in layers for s in layer.structures))

    def arrange(self) -> None:
        """Make the views anew."""
        self.left.clear()
        self.views = []
        several = len(self.panes) > 1
        group = f"stage-{self.left.id}-{id(self.panes)}" if several else ""
        with self.left, ui.element("div").classes("osteon-pair" if several else "full-width"):
            for number, pane in enumerate(self.panes):
                with ui.column().classes("full-width gap-1 no-wrap"):
                    if pane.title:
                        ui.label(pane.title).classes("text-weight-medium")
                    self._pane(pane, group, number)
        with self.left:
            self.status = caption(self.told())
            for line in self.lies():
                caption(line)

    def _pane(self, pane: ViewPane, group: str, number: int) -> None:
        poster = f"{self.base}poster.png" if self.volume else ""
        if self.volume and not has_niivue():
            show_error(
                OsteonError(f"the viewer's JavaScript is missing: {why_no_niivue()}", hint=NIIVUE_HINT), "No viewer"
            )
            picture = ui.element("img").classes("osteon-picture")
            picture.props["src"], picture.props["alt"] = poster, "Three slices of the scan"
            return
        label = f"{pane.title or 'The scan'}: the keys are listed under Keys"
        kind: type[View] = VolumeView if self.volume else PictureView
        view = kind(label=label, poster=poster, group=group)
        view.mark(f"view-{number}")
        view.on_ready(self._ready)
        layers = view_layers(self.info, self.base, pane.parts)
        for layer in layers:
            layer.structures = [self.shown.setdefault(s.name, s) for s in layer.structures]
            layer.outline = self.outlines or layer.part in pane.outlined
        self.views.append((view, layers))
        view.show(viewer_scene(self.info, self.base, layers, self.window, self.layout, asked=self.asked))

    def _ready(self, event: GenericEventArguments) -> None:
        software = bool(event.args.get("software"))
        if software and self.layout == "all" and not self.asked:
            self.layout = "slices"  # what the viewer itself chose
            self.controls.follow()
        self.status.set_text(self.told(float(event.args.get("seconds", 0)), software=software))
        view = next((view for view, _ in self.views if view is event.sender), None)
        for method, on, usual in (
            ("convention", self.radiological, True),
            ("measure", self.measuring, False),
            ("surround", self.surrounded, False),
        ):
            if view is not None and on != usual:
                view.run_method(method, on)

    def told(self, seconds: float = 0.0, *, software: bool = False) -> str:
        """A line about what is shown."""
        times = "×".join
        size, full = (times(map(str, self.info[name])) for name in ("size", "full"))
        what = f"preview of {size} voxels; the scan has {full}" if self.reduced else f"{full} voxels"
        voxel = times(f"{s:.3g}" for s in self.info["spacing_mm"])
        ready = f" · shown after {seconds:.1f} s" if seconds else ""
        return f"{what}, {voxel} {self.info['unit']}{ready}{SOFTWARE_RENDERING if software else ''}"

    def lies(self) -> list[str]:
        """What is to be known of how the scan lies: lines, none where it lies as expected."""
        shear, oblique = (float(self.info[name]) for name in ("shear_deg", "oblique_deg"))
        if not self.info["oriented"]:
            return ["Nothing says where the patient's right, front and top are: no letters are shown."]
        if self.volume and shear >= SHEARED_DEG:
            what = "the slices run along the patient's axes, through several of the scan's, so that lengths are true."
            return [f"Its axes are sheared by {shear:.1f}°: {what}"]
        if self.volume and oblique >= OBLIQUE_DEG:
            what = "the slices run along the scan's own axes, and the letters stand for the patient's nearest."
            return [f"Oblique by {oblique:.1f}°: {what}"]
        return []

    # What the controls ask for

    def each(self, method: str, *arguments: Any) -> None:
        """Call a method of every viewer."""
        for view, _ in self.views:
            view.run_method(method, *arguments)

    def restyle(self, names: Sequence[str]) -> None:
        """Draw some structures anew, as `shown` has them."""
        for view, layers in self.views:
            for number, layer in enumerate(layers):
                changed = [(n, s) for n, s in enumerate(layer.structures) if s.name in names]
                if changed:
                    view.styles(number, changed)

    def show(self, names: Sequence[str], visible: bool) -> None:
        """Show or hide structures."""
        changed = [name for name in names if self.shown[name].visible != visible]
        for name in changed:
            self.shown[name].visible = visible
        self.restyle(changed)

    def outline(self, on: bool) -> None:
        """Draw outlines alone, or what the panes say."""
        self.outlines = on
        for (view, layers), pane in zip(self.views, self.panes, strict=True):
            for number, layer in enumerate(layers):
                layer.outline = on or layer.part in pane.outlined
                view.run_method("outline", number, layer.outline)

    def change(self, panes: Sequence[ViewPane]) -> None:
        """Show other panes of the same case."""
        self.panes = panes
        if self.info:
            self.arrange()
            self.controls.structures()

    async def again(self) -> None:
        """Read the case anew: another channel of it, or the whole of it, was chosen."""
        self.status.set_text("Reading the scan …")
        if await self._read():
            self.arrange()
