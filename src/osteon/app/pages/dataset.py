"""One dataset: its cases, the findings of the check, and corrections."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.events import ValueChangeEventArguments
from pydantic import ValidationError

from osteon.app.commands import source_name, start_audit
from osteon.app.dataset_edits import correct_cases, correct_structures
from osteon.app.elements import (
    ButtonStyle,
    action,
    caption,
    card,
    notify,
    refresh_on_change,
    show_error,
    table,
)
from osteon.app.item_actions import item_page
from osteon.app.job_cards import job_card, watch_jobs
from osteon.app.jobs import FINISHED
from osteon.app.page_cleanup import refreshable
from osteon.app.results import case_scene
from osteon.app.state import AppState, open_dataset
from osteon.app.structure_list import colour_input
from osteon.app.wording import translate_action
from osteon.app.workspace import Item, read_about
from osteon.auditing.finding import Finding
from osteon.core.errors import FileError, OsteonError, UsageError
from osteon.core.files import read_json
from osteon.core.text import pluralise, shorten_list
from osteon.dataset.dataset import Dataset

MAX_FINDINGS = 8
MAX_PICTURES = 3
MAX_NOTE_LENGTH = 90


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/dataset/{dataset_id}")
    def dataset(dataset_id: str) -> None:
        item_page(app, "datasets", dataset_id, "/data", lambda item: _DatasetPage(app, item))


def _is_shown(app: AppState, job: Any) -> bool:
    newest = next(j for j in app.jobs.about("dataset", job.about["dataset"]) if j.command == job.command)
    return job.command in ("import", "audit") and job.id == newest.id and app.jobs.state(job).phase != "done"


def _show_jobs(app: AppState, rows: Any) -> None:
    for job, state in reversed(rows):  # the oldest first: what is done now, then what waits for it
        job_card(app, job, state, log=state.phase == "partly")


class _DatasetPage:
    """What is shown once the import has succeeded."""

    def __init__(self, app: AppState, item: Item) -> None:
        self.app, self.item = app, item
        watch_jobs(
            app,
            lambda: [j for j in app.jobs.about("dataset", item.name) if _is_shown(app, j)],
            lambda rows: _show_jobs(app, rows),
        )
        self.content()
        refresh_on_change(self._state, self.content.refresh)
        ui.timer(1.0, self._preload, once=True)

    async def _preload(self) -> None:
        """Make the preview of the first case: it is probably looked at next."""
        dataset = open_dataset(self.item)
        if dataset is not None and dataset.manifest.cases:
            await self.app.preload_scene(case_scene(dataset, dataset.manifest.cases[0]))

    def _state(self) -> tuple[float, ...]:
        files = (self.item.path / "dataset.yaml", self.item.path / "audit/audit.json")
        return tuple(path.stat().st_mtime if path.is_file() else 0.0 for path in files)

    @refreshable
    def content(self) -> None:
        """All of it."""
        dataset = open_dataset(self.item)
        if dataset is None:
            jobs = self.app.jobs.about("dataset", self.item.name)
            if all(self.app.jobs.state(job).phase in FINISHED for job in jobs):
                show_error(OsteonError("there is no dataset here: its import failed", hint="import it again"))
            return
        manifest = dataset.manifest
        with ui.element("div").classes("osteon-row"):
            held_out = sum(case.held_out for case in manifest.cases)
            source = source_name(read_about(self.item).get("source") or manifest.source.rpartition(": ")[2])
            source = self.app.workspace.title("sources", source)
            text = f", {held_out} kept for the final test" if manifest.labelled else ", none of them with a label"
            caption(f"{pluralise(len(manifest.cases), 'case')}{text}, from {source}").classes("osteon-grow")
            action("Work list", f"/work/{self.item.id}", icon="checklist")
            if manifest.labelled:
                action("Train on it", f"/train?dataset={self.item.id}", icon="model_training", style="main")
            if len(manifest.labelled) < len(manifest.cases):
                style: ButtonStyle = "second" if manifest.labelled else "main"
                url = f"/segment?source={self.item.id}"
                action("Segment what has no label", url, icon="content_cut", style=style)
        audit = read_audit(self.item.path)
        _CaseTable(self, dataset, audit[2] if audit else {})
        with ui.element("div").classes("osteon-cols"):
            with card("What the check found"):
                self._findings(audit)
                action("Check again", lambda: start_audit(self.app, self.item), icon="refresh", style="quiet")
            _StructureForm(self, dataset)

    def _findings(self, audit: tuple[str, list[Finding], Any] | None) -> None:
        if audit is None:
            caption("Not checked yet.")
            return
        ui.label(audit[0])
        notes = [finding for finding in audit[1] if finding.severity == "note"]
        others = [finding for finding in audit[1] if finding.severity != "note"]
        for finding in others[:MAX_FINDINGS]:
            self._finding(finding)
        for title, rest in (
            (f"{len(others) - MAX_FINDINGS} more", others[MAX_FINDINGS:]),
            (f"{pluralise(len(notes), 'note')}", notes),
        ):
            if rest:
                with ui.expansion(title).classes("full-width"):
                    for finding in rest:
                        self._finding(finding)

    def _finding(self, finding: Finding) -> None:
        with ui.column().classes(f"osteon-finding {finding.severity}"):
            where = shorten_list(finding.cases, 4) or "all cases"
            ui.label(f"{finding.severity}: {where}").classes("text-weight-medium")
            ui.label(finding.what)
            if finding.against:
                caption(f"compared with {finding.against}")
            if finding.severity != "note":
                ui.label(f"What to do: {translate_action(finding.action)}")
            if finding.cases and finding.severity != "note":
                with ui.expansion("Pictures").classes("full-width") as expansion:
                    self._pictures(expansion, finding.cases[:MAX_PICTURES])

    def _pictures(self, expansion: ui.expansion, cases: list[str]) -> None:
        """Fetched when the expansion is opened."""

        def fill(event: ValueChangeEventArguments) -> None:
            if not event.value or pictures.default_slot.children:
                return
            with pictures:
                for number, name in enumerate(cases, 1):
                    case_id = self.app.case_id(self.item, name)
                    with ui.link(target=f"/look/{self.item.id}/{case_id}"):
                        picture = ui.element("img").classes("osteon-picture")
                        picture.props["src"] = f"/p/{self.item.id}/{case_id}"
                        picture.props["alt"] = f"Slices of case {number} of this finding, outlined; open it"

        with expansion:
            pictures = ui.element("div").classes("osteon-pictures")
        expansion.on_value_change(fill)


class _CaseTable:
    """The table of cases."""

    def __init__(self, page: _DatasetPage, dataset: Dataset, structures: dict[str, list[str]]) -> None:
        self.page, self.dataset, self.structures = page, dataset, structures
        item, app = self.page.item, self.page.app
        rows = [
            {
                "id": case.id,
                "href": f"/look/{item.id}/{app.case_id(item, case.id)}",
                "label": "labelled" if case.segmentation else "no label",
                "structures": len(self.structures.get(case.id, [])) or "",
                "held": "final test" if case.held_out else "training" if case.segmentation else "",
                "notes": _shorten("; ".join(case.provenance)),
            }
            for case in self.dataset.manifest.cases
        ]
        with card("Cases"):
            caption("Open a case to look at it. Tick cases to change what they are used for.")
            names = {
                "id": "Case",
                "label": "Label",
                "structures": "Structures found",
                "held": "Used for",
                "notes": "What was converted",
            }
            self.table = table(rows, names, key="id", link="id", selectable=True)
            with ui.element("div").classes("osteon-row"):
                if self.dataset.manifest.labelled:
                    action("Keep for the final test", lambda: self._set_held_out(True))
                    action("Train on them", lambda: self._set_held_out(False))
                action("Take off the list", self._remove, style="danger")

    async def _set_held_out(self, held_out: bool) -> None:
        selected = {row["id"] for row in self.table.selected}
        now = {case.id for case in self.dataset.manifest.cases if case.held_out}
        await self._correct(now | selected if held_out else now - selected, set())

    async def _remove(self) -> None:
        held_out = {case.id for case in self.dataset.manifest.cases if case.held_out}
        await self._correct(held_out, {row["id"] for row in self.table.selected})

    async def _correct(self, held_out: set[str], removed: set[str]) -> None:
        if not self.table.selected:
            raise UsageError("no case is ticked", hint="tick cases in the first column")
        await self.page.app.reader.run(correct_cases, self.page.item.path, held_out=held_out, removed=removed)
        notify("The dataset was changed; no file of yours was")


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_NOTE_LENGTH else text[:MAX_NOTE_LENGTH].rsplit(" ", 1)[0] + " …"


class _StructureForm:
    """Names and colours, to be corrected."""

    def __init__(self, page: _DatasetPage, dataset: Dataset) -> None:
        self.page, self.dataset = page, dataset
        self.names: dict[str, ui.input] = {}
        self.colours = {s.name: s.colour for s in self.dataset.structures}
        with card("Structures"):
            if not self.dataset.structures:
                caption("None: no case has a label.")
                return
            with ui.column().classes("osteon-structures no-wrap"):
                for number, structure in enumerate(self.dataset.structures, 1):
                    with ui.element("div").classes("osteon-structure"):
                        keep = partial(self.colours.__setitem__, structure.name)
                        colour_input(structure.colour, f"Colour of structure {number}", keep)
                        box = ui.input(value=structure.name).props("dense borderless").classes("osteon-grow")
                        box.props["aria-label"] = f"Name of structure {number}"
                        self.names[structure.name] = box
                        caption(structure.side or "")
            action("Save names and colours", self._save, icon="save")

    async def _save(self) -> None:
        names = {name: str(box.value or "") for name, box in self.names.items()}
        await self.page.app.reader.run(correct_structures, self.page.item.path, names, self.colours)
        notify("Saved. Models that were trained before keep the old names")


def read_audit(dataset: Path) -> tuple[str, list[Finding], dict[str, list[str]]] | None:
    """Summary, findings, and the structures found in each case; None where nothing was audited."""
    try:
        data: Any = read_json(dataset / "audit/audit.json", "the audit")
        findings = [Finding.model_validate(finding) for finding in data["findings"]]
        return str(data["summary"]), findings, {c["id"]: sorted(c.get("structures") or {}) for c in data["cases"]}
    except (FileError, ValidationError, KeyError, TypeError):
        return None
