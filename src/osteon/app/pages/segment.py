"""Segmenting: a model, scans, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from osteon.app.frame import action, card, empty, faint, frame, heading, refuse, show_error
from osteon.app.item_actions import keeper, keys
from osteon.app.job_cards import chip, watch
from osteon.app.jobs import Job, State
from osteon.app.notes import tell_notes
from osteon.app.pages.result import ResultPage, case_page
from osteon.app.pages.source import find_source
from osteon.app.result_commands import begin_prediction
from osteon.app.results import cases_of, maker
from osteon.app.source_inspection import Scans, scans_in
from osteon.app.state import Studio, open_dataset
from osteon.app.upload_box import UploadBox
from osteon.app.workspace import Item, about
from osteon.core.errors import OsteonError
from osteon.core.text import pluralise, shorten_list
from osteon.predicting.records import read_validation
from osteon.predicting.training_cases import TRAINED, seen_by

SPEEDS = {
    "fast": "fast: fewer looks",
    "balanced": "balanced",
    "best": "best: mirror images, too; several times slower",
}


def register(studio: Studio) -> None:
    """Put the pages onto the server."""

    @ui.page("/segment")
    def segment(model: str = "", source: str = "") -> None:
        with frame(studio, "Segment", "/segment"):
            models = studio.models()
            with ui.element("div").classes("osteon-cols"):
                if models:
                    _Form(studio, models, model, source).build()
                else:
                    said = "Train one, or bring one that somebody gave you: osteon's or nnU-Net's."
                    with empty("There is no model yet", said), ui.element("div").classes("osteon-row"):
                        action("Train a model", "/train", weight="main")
                        action("Bring a model", "/data")
                with ui.column().classes("full-width no-wrap gap-3"):
                    heading("Results")
                    watch(
                        studio,
                        lambda: [job for job in studio.jobs.all() if job.command in ("predict", "vote")],
                        lambda rows: _list(studio, rows),
                    )

    @ui.page("/result/{result_id}")
    def result(result_id: str) -> None:
        item = studio.workspace.find("results", result_id)
        with frame(studio, "Result" if item is None else item.title, "/segment", back=("/segment", "Segment")):
            if item is None:
                show_error(OsteonError("this result is no longer here", hint="go back to Segment"))
                return
            keeper(studio, item, "/segment")
            ResultPage(studio, item).build()

    @ui.page("/result/{result_id}/{case_id}")
    def case(result_id: str, case_id: str) -> None:
        case_page(studio, result_id, case_id)


def _list(studio: Studio, rows: Sequence[tuple[Job, State]]) -> None:
    states = {job.about.get("result"): state for job, state in reversed(rows)}
    items = studio.workspace.items("results")
    if not items:
        with empty("No result yet", "Choose a model and scans, then start."):
            pass
    for item in items:
        made_by = maker(studio, item)
        with card(), ui.element("div").classes("osteon-row"):
            with ui.column().classes("osteon-grow gap-0"):
                ui.link(item.title, f"/result/{item.id}").classes("text-weight-medium")
                faint(f"{pluralise(len(cases_of(item)), 'case')}, by {made_by}")
            if item.name in states:
                chip(states[item.name])
            action("Open", f"/result/{item.id}", name=f"Open {item.title}")
            keys(studio, item, "/segment")


class _Form:
    """The model, the scans, the start."""

    def __init__(self, studio: Studio, models: list[Item], model: str, source: str) -> None:
        self.studio, self.models = studio, {item.id: item for item in models}
        self.model_id = model if model in self.models else next(iter(self.models))
        self.source_id = source
        self.scans: Scans | None = Scans()

    def build(self) -> None:
        """Put them onto the page."""
        with card("Segment scans"):
            names = {i: item.title for i, item in self.models.items()}
            self.model = ui.select(names, value=self.model_id, label="Model").classes("full-width")
            self.model.on_value_change(self._sources_again)
            self.source = ui.select(self._sources(), label="Scans").classes("full-width")
            self.source.value = self.source_id if self.source_id in self.source.options else self._held_out()
            self.source.on_value_change(self._look)
            faint("Scans that are not there yet:")
            UploadBox(self.studio, "Upload scans", self._uploaded)
            self.told = ui.column().classes("full-width gap-1")
            with ui.expansion("More choices").classes("full-width"):
                self.speed = ui.select(SPEEDS, value="balanced", label="Speed").classes("full-width")
                self.kept = ui.checkbox("Keep probabilities, for votes that average them (takes disk)")
            self.name = ui.input("Name of the result", placeholder="as the scans").classes("full-width")
            action("Segment", self._start, icon="content_cut", weight="main")
        if self.source.value:
            ui.timer(0.01, self._look, once=True)

    def _sources(self) -> dict[str, str]:
        """What can be segmented: datasets (what was held out), uploads, folders of --data."""
        trained_on = about(self.models[str(self.model.value)]).get("dataset")
        datasets = sorted(self.studio.datasets(), key=lambda item: item.name != trained_on)
        found = {item.id: f"{item.title}: its held-out or unlabelled cases" for item in datasets}
        for item in self.studio.workspace.items("sources"):
            found[item.id] = f"{item.title}: uploaded"
        for folder in self.studio.workspace.data:
            for path in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
                found[self.studio.workspace.keyed("data", str(path))] = f"{path.name}: a folder of this machine"
        return found

    def _held_out(self) -> str | None:
        """The dataset that the model was trained on, where it keeps cases that it has not seen: the usual next step."""
        trained_on = about(self.models[str(self.model.value)]).get("dataset")
        item = next((item for item in self.studio.datasets() if item.name == trained_on), None)
        dataset = None if item is None else open_dataset(item)
        if item is None or dataset is None:
            return None
        try:
            seen = seen_by(self._model(), read_validation(self._model()))
        except OsteonError:
            return None  # said when it is looked at
        held = [case for case in dataset.manifest.cases if case.held_out]
        return item.id if any(seen.sight_of(case.id, case.content) != TRAINED for case in held) else None

    def _model(self) -> Path:
        return self.models[str(self.model.value)].path / "model"

    async def _sources_again(self) -> None:
        self.source.set_options(self._sources())
        await self._look()

    def _uploaded(self, item: Item) -> None:
        self.source.set_options(self._sources(), value=item.id)

    async def _look(self) -> None:
        """Say which scans there are, before the start."""
        self.told.clear()
        place, self.scans = self._place(), None
        if place is None:
            self.scans = Scans()
            return
        asked = (self.source.value, self.model.value)
        allowed = (self.studio.workspace.root, *self.studio.workspace.data)
        scans, failed = Scans(), None
        try:
            scans = await self.studio.reader.ask(scans_in, place[1], allowed, self._model())
        except OsteonError as error:
            failed = error
        if asked != (self.source.value, self.model.value):
            return  # others were chosen meanwhile, and are looked at
        self.told.clear()  # the same ones may have been chosen again meanwhile
        self.scans = scans
        if failed is not None:
            with self.told:
                show_error(failed, "These cannot be segmented")
            return
        with self.told:
            uploaded = self.studio.workspace.find("sources", str(self.source.value or ""))
            sent = "" if uploaded is None else about(uploaded).get("notes", "")
            tell_notes(self.studio, sent.splitlines(), kind="note", title="Names of files")
            failing = [f"{name}: {why}" for name, why in self.scans.problems.items()]
            tell_notes(self.studio, failing, kind="error", title="Cannot be segmented")
            tell_notes(self.studio, self.scans.notes, kind="note", title="To know")
            ui.label(f"{len(self.scans.ids)} scan{'s' * (len(self.scans.ids) != 1)}: {shorten_list(self.scans.ids, 6)}")
            if known := self.scans.trained_on:
                with card(kind="note"):
                    ui.label(
                        f"{len(known)} of them were trained on by this model, whatever the dataset holds out by now; "
                        f"their scores say nothing of new scans: {shorten_list(known, 6)}"
                    )

    def _place(self) -> tuple[str, Path] | None:
        chosen = str(self.source.value or "")
        item = self.studio.workspace.find("datasets", chosen)
        return (item.name, item.path) if item is not None else find_source(self.studio, chosen)

    def _start(self) -> None:
        dataset = self.studio.workspace.find("datasets", str(self.source.value or ""))
        place = self._place()
        if self.scans is None:
            refuse(OsteonError("the scans are still being looked at", hint="wait until they are listed"))
            return
        if place is None or not self.scans.ids:
            refuse(OsteonError("no scan is chosen", hint="choose scans, or upload some"))
            return
        of = {"source": place[0]} if dataset is None else {"dataset": dataset.name}
        model = self.models[str(self.model.value)]
        title = (dataset or self.studio.workspace.item("sources", place[0])).title
        wanted = str(self.name.value or "") or f"{title}-by-{model.title}"
        try:
            result, _ = begin_prediction(
                self.studio,
                model,
                place[1],
                wanted,
                of=of,
                speed=str(self.speed.value),
                probabilities=bool(self.kept.value),
            )
        except OsteonError as error:
            refuse(error)
            return
        ui.navigate.to(f"/result/{result.id}")
