"""One source: its form, its cases, and the options with which it is imported."""

from __future__ import annotations

import shutil
from pathlib import Path

from nicegui import ui

from osteon.app.commands import start_import, start_model_import
from osteon.app.elements import action, caption, card, page_frame, refresh_on_change, show_error, table
from osteon.app.item_actions import item_header
from osteon.app.job_cards import watch_jobs
from osteon.app.jobs import FINISHED, Job
from osteon.app.model_import import UploadedModel, copy_model
from osteon.app.notes import show_notes
from osteon.app.pages.data import source_path
from osteon.app.pages.pairing import PairingForm
from osteon.app.source_inspection import SourceReport, inspect_source
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import pluralise
from osteon.dataset.modality import MODALITIES
from osteon.importing.options import IMPORT_CHOICES, IMPORT_FLAGS, IMPORT_TEXTS
from osteon.importing.recognition import source_forms

HOLD_OUT = {
    "": "none",
    "0.2": "a fifth, drawn at random",
    "0.1": "a tenth",
    "last:1": "the last one",
    "last:6": "the last six",
}
ALWAYS_FLAGS = ("--repair-geometry", "--allow-empty")
"""Flags that apply to every form."""
MAX_SHOWN = 6
"""Notes of each kind before the rest is folded."""


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/source/{source_id}")
    def source(source_id: str) -> None:
        found = find_source(app, source_id)
        with page_frame(app, "Import", "/data", back=("/data", "Data")):
            if found is None:
                raise OsteonError("this source is no longer here", hint="go back to Data")
            name, path = found
            if item := app.workspace.find("sources", source_id):
                item_header(app, item, "/data")
                if _is_being_made(app, item):
                    return
                show_notes(app, read_about(item).get("notes", "").splitlines(), kind="note", title="Names of files")
            _SourcePage(app, item.title if item else name, path)


def find_source(app: AppState, source_id: str) -> tuple[str, Path] | None:
    """Name and path of an upload, or of a folder of --data."""
    item = app.workspace.find("sources", source_id)
    if item is not None:
        return item.name, source_path(item)
    path = app.workspace.data_sources().get(source_id)
    return None if path is None else (path.name, path)


def _is_being_made(app: AppState, item: Item) -> bool:
    """Show the jobs that make a source; whether one goes on, which draws the page again when it ends."""

    def unfinished() -> list[Job]:
        return [job for job in app.jobs.about("source", item.name) if app.jobs.state(job).phase not in FINISHED]

    watch_jobs(app, lambda: app.open_jobs("source", item.name))
    if not unfinished():
        return False
    refresh_on_change(lambda: bool(unfinished()), ui.navigate.reload)
    return True


class _SourcePage:
    """What a source holds, and the form that imports it."""

    def __init__(self, app: AppState, name: str, path: Path) -> None:
        self.app, self.name, self.path = app, name, path
        self.form: str | None = None
        self.reader_options: dict[str, str] = {}
        self.boxes: dict[str, ui.input | ui.select] = {}
        self.column = ui.column().classes("full-width no-wrap gap-4")
        ui.timer(0.01, self._inspect, once=True)

    async def _inspect(self) -> None:
        self.column.clear()
        with self.column, ui.row().classes("items-center"):
            ui.icon("hourglass_empty", size="22px").props("aria-hidden=true")
            caption(f"Looking at {self.name} …")
        allowed = self.app.workspace.readable_folders
        try:
            report = await self.app.reader.run(inspect_source, self.path, allowed, self.form, self.reader_options)
        except OsteonError as error:
            self.column.clear()
            with self.column:
                show_error(error)
            return
        self.column.clear()
        with self.column:
            self._show(report)

    def _show(self, report: SourceReport) -> None:
        self.report = report
        self.boxes = {}
        if report.model is not None:
            self._model_form(report.model)
            return
        if report.error:
            show_error(OsteonError(report.error, hint=report.hint), "It was not recognised")
            if report.options:
                with card("How to read it"):
                    self._reading_form(report)
            if not report.files or any(not file.lower().endswith(".seg.nrrd") for file in report.files):
                _segment_card(self.app, self.path, self.name)
            self._form_choice(report)
            if report.files:
                PairingForm(self.app, self.path, self.name, report.files)
            return
        with ui.element("div").classes("osteon-cols"):
            with ui.column().classes("full-width no-wrap gap-4"):
                with card(f"Recognised: {report.what}"):
                    show_notes(self.app, report.understood)
                    show_notes(self.app, report.lost, kind="error", title="Not imported")
                    show_notes(self.app, report.warnings, kind="note", title="Notes", max_groups=MAX_SHOWN)
                    self._form_choice(report)
                self._case_table(report)
            with ui.column().classes("full-width no-wrap gap-4"):
                if not self._labelled(report):
                    _segment_card(self.app, self.path, self.name)
                self._import_form(report)
                if self._labelled(report):
                    _segment_card(self.app, self.path, self.name)
        if report.files:
            PairingForm(self.app, self.path, self.name, report.files)

    def _model_form(self, model: UploadedModel) -> None:
        whose = {"osteon": "a model of osteon's", "nnunet": "a trained model of nnU-Net v2"}[model.kind]
        with card(f"Recognised: {whose}"):
            caption(f"It finds {', '.join(model.structures)}.")
            caption("Nothing in its files is run; what it finds is as good as its training was.")
            name = ui.input("Name of the model", value=model.name).classes("full-width")

            async def import_model() -> None:
                button.props("loading").disable()  # or a second press imports it again
                item = None
                try:
                    item, job = start_model_import(self.app, model, str(name.value or model.name))
                    if job is None:
                        await self.app.reader.run(copy_model, model.folder, item.path / "model")
                except OsteonError:
                    if item is not None:
                        shutil.rmtree(item.path, ignore_errors=True)
                    button.props(remove="loading").enable()
                    raise
                ui.navigate.to(item.url)

            button = action("Import the model", import_model, icon="download_done", style="main").mark("take")

    def _labelled(self, report: SourceReport) -> bool:
        return any(case["labelled"] for case in report.cases)

    def _form_choice(self, report: SourceReport) -> None:
        names = {form.name: f"{form.name}: {form.description}" for form in source_forms().values()}

        async def chosen(event: object) -> None:
            self.form = getattr(event, "value", None)
            await self._inspect()

        with ui.expansion("It is something else", icon="help_outline").classes("full-width"):
            ui.select(names, value=report.form or None, label="Form", on_change=chosen).classes("full-width")

    def _reading_form(self, report: SourceReport) -> None:
        """Options that change how the source is read, and a button that reads it again with them."""
        for option, text in IMPORT_TEXTS.items():
            if option in report.options:
                self.boxes[option] = ui.input(text, value=self.reader_options.get(option, "")).classes("full-width")
        for option, (text, values) in IMPORT_CHOICES.items():
            if option in report.options:
                select = ui.select({"": "detect it", **values}, value=self.reader_options.get(option, ""), label=text)
                self.boxes[option] = select.classes("full-width")
        if "--case-pattern" in report.options:
            caption("A part of a path is a regular expression; what its first brackets match is the case: (p\\d+)")

        async def again() -> None:
            self.reader_options = self._chosen_options()
            await self._inspect()

        action("Look again", again, icon="refresh", style="quiet")

    def _chosen_options(self) -> dict[str, str]:
        """The options of `_reading_form` as they are chosen now."""
        return {option: text for option, box in self.boxes.items() if (text := str(box.value or "").strip())}

    def _import_form(self, report: SourceReport) -> None:
        labelled = self._labelled(report)
        with card("Import for training" if labelled else "Bring in, to look at and segment"):
            self.name_box = ui.input("Name of the dataset", value=self.name).classes("full-width")
            with ui.element("div").classes("osteon-row"):
                self.modality = ui.select(
                    {
                        "": f"as recognised ({report.modality or 'unknown'})",
                        **{m: m.upper() if m != "xray" else "X-ray" for m in MODALITIES},
                    },
                    value="",
                    label="Modality",
                ).classes("osteon-grow")
                self.hold_out = ui.select(
                    HOLD_OUT if labelled else {"": "none"},
                    value="0.2" if labelled and len(report.cases) >= 5 else "",
                    label="Keep for the final test",
                ).classes("osteon-grow")
                self.hold_out.set_visibility(labelled)
            if labelled:
                caption("What is kept for the final test is never trained on: the model is judged by it.")
            else:
                caption("None of the cases has labels: no model can be trained on them before they are labelled.")
            self._structure_names(report)
            with ui.expansion("If cases are rejected").classes("full-width"):
                ticks = [
                    flag
                    for flag in IMPORT_FLAGS
                    if flag in (*ALWAYS_FLAGS, *report.options) and (labelled or flag not in ALWAYS_FLAGS)
                ]
                self.flags = {flag: ui.checkbox(IMPORT_FLAGS[flag]) for flag in ticks}
            if any(option in report.options for option in (*IMPORT_TEXTS, *IMPORT_CHOICES)):
                with ui.expansion("How it is read", value=bool(self.reader_options)).classes("full-width"):
                    self._reading_form(report)
            text = "Import" if labelled else "Bring in"
            action(text, self._import, icon="download_done", style="main").mark("import")

    def _structure_names(self, report: SourceReport) -> None:
        """Names of the structures, where label files have numbers."""
        self.names: dict[int, ui.input] = {}
        if not report.structures:
            return
        with ui.expansion("Structures", value=True).classes("full-width"):
            if not report.has_label_maps:
                listed = ", ".join(name for name, _ in report.structures)
                caption(f"{listed}. They can be renamed on the dataset's page.")
                return
            if report.files_read:
                caption(f"Nothing names the values that {report.files_read} label files hold: say what they mean.")
            else:
                caption("What the values of the label files mean.")
            for name, value in report.structures:
                self.names[value] = ui.input(f"Value {value}", value=name).props("dense").classes("full-width")

    def _case_table(self, report: SourceReport) -> None:
        rows = [{"id": c["id"], "images": ", ".join(c["images"]), "label": c["label"] or "none"} for c in report.cases]
        with card(f"{pluralise(len(report.cases), 'case')}"):
            caption("Untick cases that are not to be imported.")
            self.table = table(rows, {"id": "Case", "images": "Image", "label": "Label"}, key="id", selectable=True)
            self.table.selected = list(rows)

    def _import(self) -> None:
        selected = [row["id"] for row in self.table.selected]
        case_ids = [case["id"] for case in self.report.cases]
        if not selected:
            raise UsageError("no case is chosen", hint="tick the cases to import")
        if self._chosen_options() != {
            option: value for option, value in self.reader_options.items() if option in self.boxes
        }:
            raise UsageError("the reading options were changed", hint="press “Look again” first: cases may differ")
        before = {value: name for name, value in self.report.structures}
        names = {value: str(box.value or "").strip() for value, box in self.names.items()}
        if not all(names.values()) or len(set(names.values())) < len(names):
            raise UsageError("two values have the same name, or one has none", hint="name each under “Structures”")
        if invalid := next((name for name in names.values() if "," in name or "=" in name), None):
            raise UsageError(f"{invalid}: a name holds no comma and no =", hint="name it under “Structures”")
        labels = [f"{name}={value}" for value, name in names.items()] if names != before else []
        options = {
            "--form": self.form,
            "--modality": str(self.modality.value),
            "--hold-out": str(self.hold_out.value),
            "--only": "" if set(selected) == set(case_ids) else ",".join(selected) + ",",
            "--labels": ",".join(labels),
            **{option: value for option, value in self.reader_options.items() if option in self.report.options},
        }
        arguments = [part for option, value in options.items() if value for part in (option, value)]
        arguments += [flag for flag, box in self.flags.items() if box.value]
        item, _ = start_import(self.app, self.path, str(self.name_box.value or self.name), arguments)
        ui.navigate.to(item.url)


def _segment_card(app: AppState, path: Path, name: str) -> None:
    with card("Segment without importing"):
        caption("Scans need not be imported to be segmented: give them to a model.")
        source_id = next(
            (i.id for i in app.workspace.items("sources") if path.is_relative_to(i.path)), ""
        ) or app.workspace.keyed_hash("data", str(path))
        action(f"Segment {name}", f"/segment?source={source_id}", icon="content_cut")
