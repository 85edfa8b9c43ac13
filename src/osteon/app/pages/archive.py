"""Scans from an archive: a search, what it finds, and a job that fetches what was ticked."""

from __future__ import annotations

import asyncio
from datetime import date

from nicegui import ui

from osteon.app.archive_commands import start_fetch
from osteon.app.archives import NamedArchive
from osteon.app.elements import action, caption, card, empty_state, page_frame, show_error, table
from osteon.app.state import AppState
from osteon.archive.archive import SeriesEntry, StudyEntry
from osteon.archive.series_search import SeriesList, search_series
from osteon.archive.transfer import parse_query
from osteon.core.errors import OsteonError, UsageError

FIELDS = {
    "patient": "Patient's ID",
    "accession": "Accession number",
    "modality": "Modality: CT, MR, DX",
    "description": "Description of the series, with * and ?",
    "since": "From",
    "until": "To",
}
"""Keys of a query and what pages call them."""
MORE_FIELDS = {
    "body_part": "Body part",
    "study_description": "Description of the study, with * and ?",
    "study": "StudyInstanceUID",
}
HEADINGS = {
    "patient": "Patient's ID",
    "date": "Date",
    "study": "Study",
    "series": "Series",
    "modality": "Modality",
    "body_part": "Body part",
    "images": "Images",
}


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/archive")
    def archive() -> None:
        with page_frame(app, "From the archive", "/data", back=("/data", "Data")):
            if not app.archives:
                empty_state("No archive is known", "Name it in a file, and start `osteon app` with --archives FILE.")
                return
            _ArchivePage(app)


class _ArchivePage:
    """The search and what it finds."""

    def __init__(self, app: AppState) -> None:
        self.app = app
        self.rows: list[tuple[StudyEntry, SeriesEntry]] = []
        with card("Search"):
            self.archive = ui.select(list(app.archives), value=next(iter(app.archives)), label="Archive")
            self.archive.classes("full-width")
            self.archive.set_visibility(len(app.archives) > 1)
            with ui.element("div").classes("osteon-row"):
                self.boxes = {key: self._field(key, label) for key, label in FIELDS.items()}
            with (
                ui.expansion("More to search by").classes("full-width"),
                ui.element("div").classes("osteon-row"),
            ):
                self.boxes |= {key: self._field(key, label) for key, label in MORE_FIELDS.items()}
            self.button = action("Search", self._search, icon="search", style="main")
        self.found = ui.column().classes("full-width no-wrap gap-4")
        self.found.props("aria-live=polite")

    def _field(self, key: str, label: str) -> ui.input:
        box = ui.input(label).classes("osteon-grow").props("autocomplete=off")
        if key in ("since", "until"):
            box.props("type=date stack-label")
        box.on("keydown.enter", lambda: self.button.run_method("click"))
        return box

    async def _search(self) -> None:
        archive = self.app.archives[str(self.archive.value)]
        query = parse_query([f"{key}={text}" for key, box in self.boxes.items() if (text := str(box.value or ""))])
        self.button.props("loading").disable()
        self.found.clear()
        self.rows = []
        try:
            found = await asyncio.to_thread(lambda: search_series(archive.open(), query))
        except OsteonError as error:
            with self.found:
                show_error(error, f"{archive.name} could not be searched")
        else:
            with self.found:
                self._show(archive, found)
        finally:
            self.button.props(remove="loading").enable()

    def _show(self, archive: NamedArchive, found: SeriesList) -> None:
        self.rows = found.rows
        if not found.rows:
            empty_state(found.describe(), "Search by less, or by other dates.")
            return
        with card(f"In {archive.name}"):
            caption(found.describe() + (" Search by more to see the others." if found.more else ""))
            listed = table([_row(n, *row) for n, row in enumerate(found.rows)], HEADINGS, key="n", selectable=True)

            def fetch() -> None:
                numbers = [row.get("n") for row in listed.selected]  # by a browser: only numbers are believed
                chosen = [self.rows[n][1] for n in numbers if isinstance(n, int) and 0 <= n < len(self.rows)]
                if not chosen:
                    raise UsageError("no series is chosen", hint="tick the series to fetch")
                item, _ = start_fetch(self.app, archive, chosen)
                ui.navigate.to(item.url)

            action("Fetch what is ticked", fetch, icon="download", style="main").mark("fetch")


def _row(number: int, study: StudyEntry, series: SeriesEntry) -> dict[str, object]:
    return {
        "n": number,
        "patient": study.patient_id,
        "date": _date(study.date),
        "study": study.description,
        "series": series.description or series.series_uid,
        "modality": series.modality,
        "body_part": series.body_part,
        "images": series.instances,
    }


def _date(text: str) -> str:
    """`2026-07-31` of DICOM's 20260731; whatever else stands there as it is."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return text
