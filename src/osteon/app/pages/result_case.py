"""One case of a result over its scan: its names and the other ways to name it, and its pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from osteon.app.archive_card import archive_card
from osteon.app.calibration_card import find_calibration, in_millimetres
from osteon.app.corrections import corrections_of
from osteon.app.elements import action, caption, card, note, notify_error, page_frame, refresh_on_change
from osteon.app.job_cards import watch_jobs
from osteon.app.jobs import Job
from osteon.app.measurement_card import MeasurementCard
from osteon.app.measures_card import MeasuresCard
from osteon.app.piece_editor import PieceEditor
from osteon.app.reader_name import name_field
from osteon.app.report_buttons import report_buttons
from osteon.app.result_commands import start_renaming
from osteon.app.results import prediction_records, result_files, result_scene
from osteon.app.state import AppState
from osteon.app.view_group import ViewPane
from osteon.app.viewer import Viewer, case_header
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError, UsageError
from osteon.dataset.calibration import Calibration
from osteon.predicting.level_choices import LevelChoice, level_choices
from osteon.reporting.case_page import render_prediction


def case_page(app: AppState, result_id: str, case_id: str) -> None:
    """One case of a result over its scan."""
    item = app.workspace.find("results", result_id)
    names = [] if item is None else list(result_files(item))
    name = None if item is None else app.find_case(item, names, case_id)
    with page_frame(app, "Result", "/segment", back=(f"/result/{result_id}", item.title if item else "Result")):
        if item is None or name is None:
            raise OsteonError("this case is no longer here", hint="go back to Segment")
        _CasePage(app, item, name, names)


class _CasePage:
    """The page of a case."""

    def __init__(self, app: AppState, item: Item, name: str, names: list[str]) -> None:
        self.app, self.item, self.name, self.file = app, item, name, result_files(item)[name]
        with case_header(names, name, lambda other: f"{item.url}/{app.case_id(item, other)}") as step:
            report_buttons(name, self._report)
        record = prediction_records(item).get(name, {})
        reasons = record.get("review") or []
        note(f"Look at it: {'; '.join(reasons)}" if reasons else "")
        self._levels(record)
        request = None
        try:
            request = result_scene(app, item, name)
        except OsteonError as error:
            notify_error(error)
        self.calibration: Calibration | None = None
        self.measured: MeasurementCard | None = None
        own = self.file.resolve().is_relative_to(app.workspace.root)
        viewer = Viewer(self._scene, [ViewPane("", ("b",))], step, editor=PieceEditor(app, self.file) if own else None)
        if own:
            name_field()
            MeasuresCard(app, viewer, item, name, self.file, request.images if request else ())
            self.measured = MeasurementCard(viewer, item.path, name, lambda: self.calibration)
        archive_card(app, item, name)

    async def _scene(self, full_resolution: bool) -> tuple[str, dict[str, Any]]:
        request = result_scene(self.app, self.item, self.name, full_resolution=full_resolution)
        scene_id, info = await self.app.load_scene(request)
        if request.dataset is not None:
            self.calibration = find_calibration(request.dataset, self.name, info)
            if self.measured is not None:
                self.measured.listed.refresh()
        return scene_id, in_millimetres(info, self.calibration)

    async def _report(self, form: str) -> bytes:
        request = result_scene(self.app, self.item, self.name)
        for path in (*request.images, self.file):
            self.app.workspace.check_readable(path)
        record, source = prediction_records(self.item).get(self.name, {}), f"the result {self.item.title}"
        more = self.name, request.images, self.file, source, record, request.modality, request.dataset
        content: bytes = await self.app.reader.run(render_prediction, form, *more)
        return content

    def _renaming_jobs(self) -> list[Job]:
        """What predicts this case alone again."""
        return [job for job in self.app.jobs.about("result", self.item.name) if job.about.get("case") == self.name]

    def _levels(self, record: Mapping[str, Any]) -> None:
        """How the bodies were named, with a button for each other way."""
        choices = level_choices(record)
        if not choices:
            return
        in_doubt = any(reason.startswith("names: ") for reason in record.get("review") or [])
        with card("Names"):
            for choice in choices:
                with ui.element("div").classes("osteon-row"):
                    ui.label(choice.names).classes("text-weight-medium").style("min-width: 120px")
                    caption(f"{choice.probability:.0%}").style("min-width: 36px")
                    if choice.shown:
                        ui.label("picked by a person" if choice.picked else "shown").classes("osteon-chip osteon-good")
                    if choice.first and not choice.picked and (in_doubt or not choice.shown):
                        self._pick_button(choice)
            caption("The percentages are the model's own. A click predicts this scan alone again, with these names.")
            watch_jobs(self.app, lambda: [job for job in self._renaming_jobs() if self.app.is_open(job)])
        refresh_on_change(lambda: sum(not self.app.is_open(job) for job in self._renaming_jobs()), ui.navigate.reload)

    def _pick_button(self, choice: LevelChoice) -> None:
        text = f"{choice.names} is right" if choice.shown else f"Name it {choice.names}"
        action(text, lambda: self._pick(choice.first), icon="check").mark(f"pick-{choice.first}")

    def _pick(self, first: str) -> None:
        if corrections_of(self.file):
            raise UsageError("its pieces were corrected, and would be lost", hint="undo the corrections first")
        start_renaming(self.app, self.item, self.name, first)
