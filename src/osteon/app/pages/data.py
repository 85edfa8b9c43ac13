"""What there is: sources that came in, and datasets that were made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from osteon.app.commands import called
from osteon.app.frame import card, empty, faint, frame, heading
from osteon.app.item_actions import keys
from osteon.app.job_cards import job_card, watch
from osteon.app.jobs import Job, State
from osteon.app.state import Studio, open_dataset
from osteon.app.upload_box import UploadBox
from osteon.app.workspace import Item, about
from osteon.core.folders import files_below
from osteon.core.text import pluralise
from osteon.phantoms.record import SOURCE

TRUTH = "truth.json"


def register(studio: Studio) -> None:
    """Put the page onto the server."""

    @ui.page("/data")
    def data() -> None:
        with frame(studio, "Data", "/data"):
            with card("Bring data"):
                faint(
                    "A zip, a folder or files: DICOM series, NIfTI, NRRD, MetaImage or pictures, with masks, meshes, "
                    "label maps, outlines or tables beside them; or a trained model, osteon's or nnU-Net's. "
                    "What it is will be recognised."
                )
                UploadBox(studio, "Upload data", lambda item: ui.navigate.to(f"/source/{item.id}"))
            watch(studio, lambda: _going_on(studio), lambda rows: _all(studio, rows), more=lambda: _names(studio))


def _going_on(studio: Studio) -> list[Job]:
    return [
        job
        for job in studio.jobs.all()
        if job.command in ("phantom", "import") and studio.jobs.state(job).phase not in ("done", "partly")
    ]


def _names(studio: Studio) -> list[str]:
    return [item.title for kind in ("sources", "datasets") for item in studio.workspace.items(kind)]


def _all(studio: Studio, rows: Sequence[tuple[Job, State]]) -> None:
    for job, state in rows:
        job_card(studio, job, state)
    with ui.element("div").classes("osteon-cols"):
        with ui.column().classes("full-width no-wrap gap-3"):
            heading("Came in")
            _sources(studio)
        with ui.column().classes("full-width no-wrap gap-3"):
            heading("Datasets")
            _datasets(studio)


def source_path(item: Item) -> Path:
    """What is to be imported of a source: of a made-up cohort, what is handed over and not the truth beside it."""
    return item.path / SOURCE if (item.path / TRUTH).is_file() and (item.path / SOURCE).is_dir() else item.path


def _sources(studio: Studio) -> None:
    items = studio.workspace.items("sources")
    making = [job.about.get("source") for job in _going_on(studio) if job.command == "phantom"]
    taken = {called(about(item).get("source", "")): item.title for item in reversed(studio.datasets())}
    if making:
        faint("What is being made up appears here when it is done: in less than a minute, usually.")
    elif not items and not studio.workspace.data:
        with empty(
            "Nothing has come in yet", "Upload a zip, a folder or files above, or make up data on the first page."
        ):
            ui.button("Make up data", on_click=lambda: ui.navigate.to("/")).props("outline no-caps")
    for item in items:
        files = sum(1 for _ in files_below(item.path, hidden=False))
        if not files or item.name in making:
            continue
        with card(), ui.element("div").classes("osteon-row"):
            with ui.column().classes("osteon-grow gap-0"):
                ui.label(item.title).classes("text-weight-medium")
                faint(
                    f"{files} file{'s' * (files != 1)}"
                    + (f", imported as {taken[item.name]}" if item.name in taken else "")
                )
            again = item.name in taken
            button = ui.button(
                "Import again" if again else "Import", on_click=lambda to=item.id: ui.navigate.to(f"/source/{to}")
            )
            button.props(f"no-caps {'outline' if again else 'unelevated'}")
            keys(studio, item, "/data")
    for folder in studio.workspace.data:
        for path in (folder, *sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))):
            with card(), ui.element("div").classes("osteon-row"):
                with ui.column().classes("osteon-grow gap-0"):
                    ui.label(path.name).classes("text-weight-medium")
                    faint("a folder of this machine (--data)")
                to = studio.workspace.keyed("data", str(path))
                ui.button("Import", on_click=lambda to=to: ui.navigate.to(f"/source/{to}")).props("no-caps outline")


def _datasets(studio: Studio) -> None:
    items = studio.datasets()
    if not items:
        with empty("No dataset yet", "Import something that came in: its cases are checked and listed."):
            pass
    for item in items:
        dataset = open_dataset(item)
        with card(), ui.element("div").classes("osteon-row"):
            with ui.column().classes("osteon-grow gap-0"):
                ui.link(item.title, f"/dataset/{item.id}").classes("text-weight-medium")
                if dataset is not None:
                    cases = dataset.manifest.cases
                    held = sum(case.held_out for case in cases)
                    structures = pluralise(len(dataset.structures), "structure")
                    faint(f"{pluralise(len(cases), 'case')}, {held} held out, {structures}")
            ui.button("Open", on_click=lambda to=item.id: ui.navigate.to(f"/dataset/{to}")).props("no-caps unelevated")
            keys(studio, item, "/data")
