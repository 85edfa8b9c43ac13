"""The data there are: uploads and folders, and the datasets that were imported from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from osteon.app.archive_commands import ARCHIVE
from osteon.app.commands import source_name
from osteon.app.elements import action, caption, card, empty_state, heading, list_card, page_frame
from osteon.app.item_actions import item_buttons
from osteon.app.job_cards import job_list, watch_jobs
from osteon.app.jobs import FINISHED, Job, JobState
from osteon.app.state import AppState, open_dataset
from osteon.app.upload_box import UploadBox
from osteon.app.workspace import Item, read_about
from osteon.core.folders import files_below
from osteon.core.text import pluralise
from osteon.phantoms.record import SOURCE

TRUTH = "truth.json"


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/data")
    def data() -> None:
        with page_frame(app, "Data", "/data"):
            with card("Bring data"):
                caption(
                    "A zip, a folder or files: DICOM series, NIfTI, NRRD, MetaImage or pictures, with masks, meshes, "
                    "label maps, outlines or tables beside them; or a trained model, osteon's or nnU-Net's. "
                    "What it is will be recognised."
                )
                UploadBox(app, "Upload data", lambda item: ui.navigate.to(item.url))
                if app.archives:
                    action(f"Fetch from {' or '.join(app.archives)}", "/archive", icon="travel_explore")
            watch_jobs(
                app,
                lambda: _active_jobs(app),
                lambda rows: _show_all(app, rows),
                more=lambda: [i.title for i in (*app.workspace.items("sources"), *app.workspace.items("datasets"))],
            )


def _active_jobs(app: AppState) -> list[Job]:
    return [
        job
        for job in app.jobs.all()
        if (job.command in ("phantom", "import") or _fetches(job))
        and app.jobs.state(job).phase not in ("done", "partly")
    ]


def _fetches(job: Job) -> bool:
    return job.command == ARCHIVE and "source" in job.about


def _show_all(app: AppState, rows: Sequence[tuple[Job, JobState]]) -> None:
    job_list(app, rows)
    with ui.element("div").classes("osteon-cols"):
        with ui.column().classes("full-width no-wrap gap-3"):
            heading("Uploads and folders")
            _show_sources(app)
        with ui.column().classes("full-width no-wrap gap-3"):
            heading("Datasets")
            _show_datasets(app)


def source_path(item: Item) -> Path:
    """What is to be imported of a source: of a made-up cohort, what is handed over and not the truth beside it."""
    return item.path / SOURCE if (item.path / TRUTH).is_file() and (item.path / SOURCE).is_dir() else item.path


def _show_sources(app: AppState) -> None:
    items = app.workspace.items("sources")
    active = _active_jobs(app)
    making = [job.about.get("source") for job in active if job.command == "phantom"]
    fetching = [job.about["source"] for job in active if _fetches(job) and app.jobs.state(job).phase not in FINISHED]
    imported = {source_name(read_about(item).get("source", "")): item.title for item in reversed(app.datasets())}
    if making:
        caption("What is being made up appears here when it is done: in less than a minute, usually.")
    elif fetching:
        caption("What is being fetched appears here when it is there.")
    elif not items and not app.workspace.data_folders:
        with empty_state(
            "Nothing has been uploaded yet", "Upload a zip, a folder or files above, or make up data on the first page."
        ):
            action("Make up data", "/")
    for item in items:
        files = sum(1 for _ in files_below(item.path, hidden=False))
        if not files or item.name in (*making, *fetching):
            continue
        dataset = imported.get(item.name)
        with list_card(item.title, pluralise(files, "file") + (f", imported as {dataset}" if dataset else "")):
            action("Import again" if dataset else "Import", item.url, style="second" if dataset else "main")
            item_buttons(app, item, "/data")
    for source_id, path in app.workspace.data_sources().items():
        with list_card(path.name, "a folder of this machine (--data)"):
            action("Import", f"/source/{source_id}")


def _show_datasets(app: AppState) -> None:
    items = app.datasets()
    if not items:
        empty_state("No dataset yet", "Import something that you uploaded: its cases are checked and listed.")
    for item in items:
        dataset, text = open_dataset(item), ""
        if dataset is not None:
            held_out = sum(case.held_out for case in dataset.manifest.cases)
            structures = pluralise(len(dataset.structures), "structure")
            text = f"{pluralise(len(dataset.manifest.cases), 'case')}, {held_out} held out, {structures}"
        with list_card(item.title, text, item.url):
            action("Open", item.url, style="main")
            item_buttons(app, item, "/data")
