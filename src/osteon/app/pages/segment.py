"""Segmenting: the choice of a model and scans, and the list of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from osteon.app.archive_commands import ARCHIVE
from osteon.app.elements import (
    action,
    caption,
    card,
    empty_state,
    heading,
    list_card,
    note,
    page_frame,
    show_error,
)
from osteon.app.item_actions import item_buttons, item_page
from osteon.app.job_cards import phase_chip, watch_jobs
from osteon.app.jobs import Job, JobState
from osteon.app.notes import show_notes
from osteon.app.pages.result import ResultPage
from osteon.app.pages.result_case import case_page
from osteon.app.pages.source import find_source
from osteon.app.result_commands import start_prediction
from osteon.app.results import describe_maker, result_files
from osteon.app.source_inspection import ScanList, list_scans
from osteon.app.state import AppState, open_dataset
from osteon.app.upload_box import UploadBox
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import pluralise, shorten_list
from osteon.predicting.records import read_validation
from osteon.predicting.training_cases import TRAINED, read_seen_scans

SPEEDS = {"fast": "fast: fewer looks", "balanced": "balanced", "best": "best: mirror images, too; several times slower"}


def register(app: AppState) -> None:
    """Put the pages onto the server."""

    @ui.page("/segment")
    def segment(model: str = "", source: str = "") -> None:
        with page_frame(app, "Segment", "/segment"):
            models = app.models()
            with ui.element("div").classes("osteon-cols"):
                if models:
                    _SegmentForm(app, models, model, source)
                else:
                    text = "Train one, or bring one from elsewhere: osteon's or nnU-Net's."
                    with empty_state("There is no model yet", text), ui.element("div").classes("osteon-row"):
                        action("Train a model", "/train", style="main")
                        action("Bring a model", "/data")
                with ui.column().classes("full-width no-wrap gap-3"):
                    heading("Results")
                    watch_jobs(
                        app,
                        lambda: [job for job in app.jobs.all() if job.command in ("predict", "vote")],
                        lambda rows: _show_results(app, rows),
                    )

    @ui.page("/result/{result_id}")
    def result(result_id: str) -> None:
        item_page(app, "results", result_id, "/segment", lambda item: ResultPage(app, item))

    @ui.page("/result/{result_id}/{case_id}")
    def case(result_id: str, case_id: str) -> None:
        case_page(app, result_id, case_id)


def _show_results(app: AppState, rows: Sequence[tuple[Job, JobState]]) -> None:
    states = {job.about.get("result"): state for job, state in reversed(rows)}
    items = app.workspace.items("results")
    if not items:
        empty_state("No result yet", "Choose a model and scans, then start.")
    for item in items:
        cases = pluralise(len(result_files(item)), "case")
        with list_card(item.title, f"{cases}, by {describe_maker(app, item)}", item.url):
            if item.name in states:
                phase_chip(states[item.name])
            action("Open", item.url, name=f"Open {item.title}")
            item_buttons(app, item, "/segment")


class _SegmentForm:
    """The form that starts a segmentation: a model and scans."""

    def __init__(self, app: AppState, models: list[Item], model: str, source: str) -> None:
        self.app, self.models = app, {item.id: item for item in models}
        self.scans: ScanList | None = ScanList()
        with card("Segment scans"):
            names = {i: item.title for i, item in self.models.items()}
            chosen = model if model in names else next(iter(names))
            self.model = ui.select(names, value=chosen, label="Model").classes("full-width")
            self.model.on_value_change(self._update_sources)
            self.source = ui.select(self._sources(), label="Scans").classes("full-width")
            self.source.value = source if source in self.source.options else self._held_out()
            self.source.on_value_change(self._inspect)
            caption("Scans that are not there yet:")
            UploadBox(self.app, "Upload scans", self._uploaded)
            self.report = ui.column().classes("full-width gap-1")
            with ui.expansion("More choices").classes("full-width"):
                self.speed = ui.select(SPEEDS, value="balanced", label="Speed").classes("full-width")
                self.probabilities = ui.checkbox("Keep probabilities, for votes that average them (takes disk)")
            self.name = ui.input("Name of the result", placeholder="as the scans").classes("full-width")
            action("Segment", self._start, icon="content_cut", style="main")
        if self.source.value:
            ui.timer(0.01, self._inspect, once=True)

    def _sources(self) -> dict[str, str]:
        """What can be segmented: datasets (what was held out), uploads, folders of --data."""
        trained_on = read_about(self.models[str(self.model.value)]).get("dataset")
        datasets = sorted(self.app.datasets(), key=lambda item: item.name != trained_on)
        sources = {item.id: f"{item.title}: its held-out or unlabelled cases" for item in datasets}
        for item in self.app.workspace.items("sources"):
            archive = read_about(item).get(ARCHIVE)
            sources[item.id] = f"{item.title}: {f'from {archive}' if archive else 'uploaded'}"
        for source_id, path in self.app.workspace.data_sources().items():
            sources[source_id] = f"{path.name}: a folder of this machine"
        return sources

    def _held_out(self) -> str | None:
        """The dataset that the model was trained on, where it keeps cases that it has not seen: the usual next step."""
        trained_on = read_about(self.models[str(self.model.value)]).get("dataset")
        item = next((item for item in self.app.datasets() if item.name == trained_on), None)
        dataset = None if item is None else open_dataset(item)
        if item is None or dataset is None:
            return None
        try:
            seen = read_seen_scans(self._model(), read_validation(self._model()))
        except OsteonError:
            return None  # shown when its scans are listed
        held = [case for case in dataset.manifest.cases if case.held_out]
        return item.id if any(seen.role_of(case.id, case.content) != TRAINED for case in held) else None

    def _model(self) -> Path:
        return self.models[str(self.model.value)].path / "model"

    async def _update_sources(self) -> None:
        self.source.set_options(self._sources())
        await self._inspect()

    def _uploaded(self, item: Item) -> None:
        self.source.set_options(self._sources(), value=item.id)

    async def _inspect(self) -> None:
        """List the scans before the start."""
        self.report.clear()
        source, self.scans = self._source_path(), None
        if source is None:
            self.scans = ScanList()
            return
        chosen = (self.source.value, self.model.value)
        allowed = self.app.workspace.readable_folders
        scans, error = ScanList(), None
        try:
            scans = await self.app.reader.run(list_scans, source[1], allowed, self._model())
        except OsteonError as caught:
            error = caught
        if chosen != (self.source.value, self.model.value):
            return  # others were chosen meanwhile, and are looked at
        self.report.clear()  # the same ones may have been chosen again meanwhile
        self.scans = scans
        if error is not None:
            with self.report:
                show_error(error, "These cannot be segmented")
            return
        with self.report:
            uploaded = self.app.workspace.find("sources", str(self.source.value or ""))
            names = "" if uploaded is None else read_about(uploaded).get("notes", "")
            show_notes(self.app, names.splitlines(), kind="note", title="Names of files")
            failing = [f"{name}: {why}" for name, why in scans.problems.items()]
            show_notes(self.app, failing, kind="error", title="Cannot be segmented")
            show_notes(self.app, scans.notes, kind="note", title="Notes")
            ui.label(f"{pluralise(len(scans.ids), 'scan')}: {shorten_list(scans.ids, 6)}")
            if known := scans.trained_on:
                note(
                    f"{len(known)} of them were trained on by this model, whatever the dataset holds out by now; "
                    f"their scores do not apply to new scans: {shorten_list(known, 6)}"
                )

    def _source_path(self) -> tuple[str, Path] | None:
        chosen = str(self.source.value or "")
        item = self.app.workspace.find("datasets", chosen)
        return (item.name, item.path) if item is not None else find_source(self.app, chosen)

    def _start(self) -> None:
        dataset = self.app.workspace.find("datasets", str(self.source.value or ""))
        source = self._source_path()
        if self.scans is None:
            raise UsageError("the scans are still being looked at", hint="wait until they are listed")
        if source is None or not self.scans.ids:
            raise UsageError("no scan is chosen", hint="choose scans, or upload some")
        origin = {"source": source[0]} if dataset is None else {"dataset": dataset.name}
        model = self.models[str(self.model.value)]
        title = (dataset or self.app.workspace.item("sources", source[0])).title
        name = str(self.name.value or "") or f"{title}-by-{model.title}"
        result, _ = start_prediction(
            self.app,
            model,
            source[1],
            name,
            origin=origin,
            speed=str(self.speed.value),
            probabilities=bool(self.probabilities.value),
        )
        ui.navigate.to(result.url)
