"""One dataset: its cases, what is wrong with them, and corrections."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from osteon.app.commands import begin_audit, called
from osteon.app.dataset_edits import correct_cases, correct_structures
from osteon.app.findings import read_audit
from osteon.app.frame import Weight, action, card, faint, frame, refuse, say, show_error, table
from osteon.app.item_actions import keeper
from osteon.app.job_cards import job_card, watch
from osteon.app.jobs import OVER
from osteon.app.page_cleanup import redrawn
from osteon.app.pages.look import wanted_case
from osteon.app.state import Studio, open_dataset
from osteon.app.viewer_controls import swatch
from osteon.app.wording import to_do
from osteon.app.workspace import Item, about
from osteon.auditing.finding import Finding
from osteon.core.errors import OsteonError
from osteon.core.text import pluralise, shorten_list
from osteon.dataset.dataset import Dataset

SHOWN = 8
PICTURED = 3
LONGEST_NOTE = 90


def register(studio: Studio) -> None:
    """Put the page onto the server."""

    @ui.page("/dataset/{dataset_id}")
    def dataset(dataset_id: str) -> None:
        item = studio.workspace.find("datasets", dataset_id)
        title = "Dataset" if item is None else item.title
        with frame(studio, title, "/data", back=("/data", "Data")):
            if item is None:
                show_error(OsteonError("this dataset is no longer here", hint="go back to Data"))
                return
            keeper(studio, item, "/data")
            watch(
                studio,
                lambda: [j for j in studio.jobs.about("dataset", item.name) if _matters(studio, j)],
                lambda rows: _jobs(studio, rows),
            )
            _Dataset(studio, item).build()


def _matters(studio: Studio, job: Any) -> bool:
    newest = next(j for j in studio.jobs.about("dataset", job.about["dataset"]) if j.command == job.command)
    return job.command in ("import", "audit") and job.id == newest.id and studio.jobs.state(job).phase != "done"


def _jobs(studio: Studio, rows: Any) -> None:
    for job, state in reversed(rows):  # the oldest first: what is done now, then what waits for it
        job_card(studio, job, state, log=state.phase == "partly")


class _Dataset:
    """What is shown once the import came to something."""

    def __init__(self, studio: Studio, item: Item) -> None:
        self.studio, self.item = studio, item

    def build(self) -> None:
        """Show it, and again when the manifest or the audit change."""
        self.seen = self._state()
        self.drawn()
        ui.timer(1.0, self._look)
        ui.timer(1.0, self._ahead, once=True)

    async def _ahead(self) -> None:
        """Make the preview of the first case: it is probably looked at next."""
        dataset = open_dataset(self.item)
        if dataset is not None and dataset.manifest.cases:
            await self.studio.ahead(wanted_case(dataset, dataset.manifest.cases[0]))

    def _state(self) -> tuple[float, ...]:
        files = (self.item.path / "dataset.yaml", self.item.path / "audit/audit.json")
        return tuple(path.stat().st_mtime if path.is_file() else 0.0 for path in files)

    def _look(self) -> None:
        if self._state() != self.seen:
            self.seen = self._state()
            self.drawn.refresh()

    @redrawn
    def drawn(self) -> None:
        """All of it."""
        dataset = open_dataset(self.item)
        if dataset is None:
            own = self.studio.jobs.about("dataset", self.item.name)
            if all(self.studio.jobs.state(job).phase in OVER for job in own):
                show_error(OsteonError("there is no dataset here: its import came to nothing", hint="import it again"))
            return
        manifest = dataset.manifest
        with ui.element("div").classes("osteon-row"):
            held = sum(case.held_out for case in manifest.cases)
            came = called(about(self.item).get("source") or manifest.source.rpartition(": ")[2])
            came = self.studio.workspace.title("sources", came)
            kept = f", {held} kept for the final test" if manifest.labelled else ", none of them with a label"
            faint(f"{pluralise(len(manifest.cases), 'case')}{kept}, from {came}").classes("osteon-grow")
            if manifest.labelled:
                action("Train on it", f"/train?dataset={self.item.id}", icon="model_training", weight="main")
            if len(manifest.labelled) < len(manifest.cases):
                weight: Weight = "second" if manifest.labelled else "main"
                to = f"/segment?source={self.item.id}"
                action("Segment what has no label", to, icon="content_cut", weight=weight)
        audit = read_audit(self.item.path)
        _Cases(self, dataset, audit[2] if audit else {}).build()
        with ui.element("div").classes("osteon-cols"):
            with card("What the check found"):
                self._findings(audit)
                action("Check again", lambda: begin_audit(self.studio, self.item), icon="refresh", weight="quiet")
            _Structures(self, dataset).build()

    def _findings(self, audit: tuple[str, list[Finding], Any] | None) -> None:
        if audit is None:
            faint("Not checked yet.")
            return
        ui.label(audit[0])
        notes = [finding for finding in audit[1] if finding.severity == "note"]
        others = [finding for finding in audit[1] if finding.severity != "note"]
        for finding in others[:SHOWN]:
            self._finding(finding)
        for title, rest in (
            (f"{len(others) - SHOWN} more", others[SHOWN:]),
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
                faint(f"compared with {finding.against}")
            if finding.severity != "note":
                ui.label(f"What to do: {to_do(finding.action)}")
            if finding.cases and finding.severity != "note":
                with ui.expansion("Pictures").classes("full-width") as expansion:
                    self._pictures(expansion, finding.cases[:PICTURED])

    def _pictures(self, expansion: ui.expansion, cases: list[str]) -> None:
        """Fetched when they are looked at."""

        def fill(event: ValueChangeEventArguments) -> None:
            if not event.value or place.default_slot.children:
                return
            with place:
                for number, name in enumerate(cases, 1):
                    case_id = self.studio.case_id(self.item, name)
                    with ui.link(target=f"/look/{self.item.id}/{case_id}"):
                        picture = ui.element("img").classes("osteon-picture")
                        picture.props["src"] = f"/p/{self.item.id}/{case_id}"
                        picture.props["alt"] = f"Slices of case {number} of this finding, outlined; open it"

        with expansion:
            place = ui.element("div").classes("osteon-pictures")
        expansion.on_value_change(fill)


class _Cases:
    """The table of cases."""

    def __init__(self, page: _Dataset, dataset: Dataset, found: dict[str, list[str]]) -> None:
        self.page, self.dataset, self.found = page, dataset, found

    def build(self) -> None:
        """Put it onto the page."""
        item, studio = self.page.item, self.page.studio
        rows = [
            {
                "id": case.id,
                "href": f"/look/{item.id}/{studio.case_id(item, case.id)}",
                "label": "labelled" if case.segmentation else "no label",
                "structures": len(self.found.get(case.id, [])) or "",
                "held": "final test" if case.held_out else "training" if case.segmentation else "",
                "notes": _short("; ".join(case.provenance)),
            }
            for case in self.dataset.manifest.cases
        ]
        with card("Cases"):
            faint("Open a case to look at it. Tick cases to change what they are used for.")
            names = {
                "id": "Case",
                "label": "Label",
                "structures": "Structures found",
                "held": "Used for",
                "notes": "What was converted",
            }
            self.table = table(rows, names, key="id", link="id", tick=True)
            with ui.element("div").classes("osteon-row"):
                if self.dataset.manifest.labelled:
                    action("Keep for the final test", lambda: self._hold(True))
                    action("Train on them", lambda: self._hold(False))
                action("Take off the list", self._drop, weight="danger")

    async def _hold(self, held: bool) -> None:
        chosen = {row["id"] for row in self.table.selected}
        now = {case.id for case in self.dataset.manifest.cases if case.held_out}
        await self._correct(now | chosen if held else now - chosen, set())

    async def _drop(self) -> None:
        held = {case.id for case in self.dataset.manifest.cases if case.held_out}
        await self._correct(held, {row["id"] for row in self.table.selected})

    async def _correct(self, held: set[str], dropped: set[str]) -> None:
        if not self.table.selected:
            refuse(OsteonError("no case is ticked", hint="tick cases in the first column"))
            return
        try:
            await self.page.studio.reader.ask(correct_cases, self.page.item.path, held_out=held, left_out=dropped)
        except OsteonError as error:
            refuse(error)
            return
        say("The dataset was changed; no file of yours was")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NOTE else text[:LONGEST_NOTE].rsplit(" ", 1)[0] + " …"


class _Structures:
    """Names and colours, to be corrected."""

    def __init__(self, page: _Dataset, dataset: Dataset) -> None:
        self.page, self.dataset = page, dataset

    def build(self) -> None:
        """Put them onto the page."""
        self.names: dict[str, ui.input] = {}
        self.colours = {s.name: s.colour for s in self.dataset.structures}
        with card("Structures"):
            if not self.dataset.structures:
                faint("None: no case has a label.")
                return
            with ui.column().classes("osteon-structures no-wrap"):
                for number, structure in enumerate(self.dataset.structures, 1):
                    with ui.element("div").classes("osteon-structure"):
                        self._swatch(number, structure.name, structure.colour)
                        box = ui.input(value=structure.name).props("dense borderless").classes("osteon-grow")
                        box.props["aria-label"] = f"Name of structure {number}"
                        self.names[structure.name] = box
                        faint(structure.side or "")
            action("Save names and colours", self._save, icon="save")

    def _swatch(self, number: int, name: str, colour: str) -> None:
        def keep(chosen: str) -> None:
            self.colours[name] = chosen

        swatch(colour, f"Colour of structure {number}", keep)

    async def _save(self) -> None:
        names = {name: str(box.value or "") for name, box in self.names.items()}
        try:
            await self.page.studio.reader.ask(correct_structures, self.page.item.path, names, self.colours)
        except OsteonError as error:
            refuse(error)
            return
        say("Saved. Models that were trained before keep the old names")
