"""One case of a dataset: slices, 3D, structures, and what people say of its label."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from osteon.app.calibration_card import CalibrationCard, find_calibration, in_millimetres
from osteon.app.case_work import CaseWork, ReadingCard, shown_label, work_keys
from osteon.app.elements import action, attempt, page_frame
from osteon.app.follow_ups import ScanLink, link_scans, other_scans
from osteon.app.measurement_card import MeasurementCard
from osteon.app.report_buttons import report_buttons
from osteon.app.results import case_scene
from osteon.app.state import AppState
from osteon.app.view_group import ViewPane
from osteon.app.viewer import Viewer, case_header
from osteon.app.workspace import Item
from osteon.dataset.case_history import read_history
from osteon.dataset.dataset import Dataset
from osteon.reporting.case_page import render_dataset_case


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/look/{dataset_id}/{case_id}")
    def look(dataset_id: str, case_id: str, order: str = "") -> None:
        item = app.workspace.find("datasets", dataset_id)
        with page_frame(app, "Look", "/data", back=(f"/dataset/{dataset_id}", item.title if item else "Data")):
            found = app.find_dataset_case(dataset_id, case_id, order)
            _CasePage(app, found.item, found.dataset, found.name, found.names, found.order)


class _CasePage:
    """The page of a case, among others in their order."""

    def __init__(self, app: AppState, item: Item, dataset: Dataset, name: str, names: list[str], order: str) -> None:
        self.app, self.dataset, self.name = app, dataset, name
        case = dataset.case(name)
        self.following = names[(names.index(name) + 1) % len(names)]
        held_out = ", kept for the final test" if case.held_out else ""
        second = read_history(dataset.folder, name).open_reading
        url, more = f"/look/{item.id}", f"?order={order}" if order else ""
        with case_header(names, name, lambda other: f"{url}/{app.case_id(item, other)}{more}", held_out) as step:
            self.channel = _channels(dataset)
            draw = f"{url}/{app.case_id(item, name)}/draw{more}"
            action("Draw", draw, icon="brush", style="main")
            if case.segmentation is not None and second is None:
                action("Second reading", f"{draw}{'&' if more else '?'}second=true", icon="people")
            action("Work list", f"/work/{item.id}", icon="checklist", style="quiet")
            report_buttons(name, self._report)
            if others := other_scans(dataset, name):
                beside = ui.select({"": "nothing"} | {other: other for other in others}, value="", label="Beside it")
                beside.props("dense").classes("osteon-filter").mark("beside")
                beside.on_value_change(lambda e: attempt(lambda: self._show_beside(str(e.value))))
        above = ui.column().classes("full-width")
        above.set_visibility(second is not None)
        panes, keys = self._panes("first" if second is None else "side"), work_keys(lambda: self.work)
        self.viewer = Viewer(self._load, panes, step, self._preload, keys=keys)
        self.work = CaseWork(app, item, dataset, name, step)
        with above:
            self.reading = None if second is None else ReadingCard(self.work, second, self._show)
        self.pixels = CalibrationCard(dataset, name, lambda: self.measured.drawn_lines(), self.viewer.views.reload)
        self.measured = MeasurementCard(self.viewer, dataset.folder, name, lambda: self.pixels.calibration)
        if self.channel is not None:
            self.channel.on_value_change(self.viewer.views.reload)

    async def _load(self, full_resolution: bool) -> tuple[str, dict[str, Any]]:
        request = case_scene(
            self.dataset,
            self.dataset.case(self.name),
            self.work.label(),
            None if self.reading is None else self.reading.source,
            full_resolution=full_resolution,
            channel=int(self.channel.value) if self.channel else 0,
        )
        scene_id, info = await self.app.load_scene(request)
        info = self.pixels.calibrate(info)
        self.measured.listed.refresh()
        return scene_id, info

    async def _show_beside(self, other: str) -> None:
        """Show another scan of the subject; empty: none."""

        async def load(full_resolution: bool) -> tuple[str, dict[str, Any]]:
            case = self.dataset.case(other)
            channel = int(self.channel.value) if self.channel else 0
            label = shown_label(self.dataset, other)
            request = case_scene(self.dataset, case, label, full_resolution=full_resolution, channel=channel)
            scene_id, info = await self.app.load_scene(request)
            return scene_id, in_millimetres(info, find_calibration(self.dataset.folder, other, info))

        def link(info: dict[str, Any]) -> ScanLink:
            first, second = (self.dataset.geometry(self.dataset.case(case)) for case in (self.name, other))
            return link_scans(first, second, (self.viewer.views.info, info))

        await self.viewer.show_beside(load if other else None, (self.name, other), link)

    async def _report(self, form: str) -> bytes:
        case = self.dataset.case(self.name)
        for image in case.images:
            self.app.workspace.check_readable(self.dataset.resolve(image))
        if (label := self.work.label()) is not None:
            self.app.workspace.check_readable(label.path)
        content: bytes = await self.app.reader.run(render_dataset_case, form, self.dataset.folder, case.id)
        return content

    async def _preload(self) -> None:
        case = self.dataset.case(self.following)
        await self.app.preload_scene(case_scene(self.dataset, case, shown_label(self.dataset, case.id)))

    def _show(self, mode: str) -> None:
        self.viewer.set_panes(self._panes(mode))

    def _panes(self, mode: str) -> list[ViewPane]:
        if mode == "side":
            return [ViewPane("The label that counts", ("a",)), ViewPane("The second reading", ("b",))]
        if mode == "outline":
            return [ViewPane("The label that counts filled, the second reading outlined", ("a", "b"), ("b",))]
        if mode == "difference":
            return [ViewPane("Where the two differ", ("d",))]
        return [ViewPane("", ("a",))]


def _channels(dataset: Dataset) -> ui.select | None:
    names = [channel.name for channel in dataset.manifest.channels]
    return ui.select(dict(enumerate(names)), value=0, label="Channel").props("dense") if len(names) > 1 else None
