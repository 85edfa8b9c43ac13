"""A result of another program, uploaded and imported on the page Compare."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping

from nicegui import ui

from osteon.app.elements import action, caption, card, notify
from osteon.app.external_results import COMPANION_SUFFIXES, RESULT_SUFFIXES, import_result, unknown_structures
from osteon.app.result_commands import start_evaluation, start_measurement
from osteon.app.state import AppState, open_dataset
from osteon.app.upload_box import UploadBox
from osteon.app.workspace import ABOUT, Item, read_about
from osteon.core.errors import OsteonError
from osteon.core.files import write_json
from osteon.core.text import pluralise


def upload_card(app: AppState, datasets: dict[str, str]) -> None:
    """A card in which a result is uploaded; `datasets` are titles by id."""
    with card("A result of another program"):
        if not datasets:
            caption("Import the dataset that it is of first.")
            return
        caption(
            "NIfTI, .seg.nrrd or .mha files: one for each case, or one for each structure of it, whose names or "
            "folders begin with the case; or a CSV of RLE (image_name, class, rle)."
        )
        chosen = ui.select(datasets, value=next(iter(datasets)), label="Of which dataset").classes("full-width")
        column = ui.column().classes("full-width gap-2")

        async def uploaded(source: Item) -> None:
            dataset = app.workspace.find("datasets", str(chosen.value))
            if dataset is None:
                return
            unknown = await app.reader.run(unknown_structures, source.path, dataset.path)
            column.clear()
            with column:
                if unknown:
                    _ask_names(app, source, dataset, unknown)
                else:
                    await import_upload(app, source, dataset)

        UploadBox(app, "Upload a result", uploaded, accept=",".join((*RESULT_SUFFIXES, *COMPANION_SUFFIXES)))


def _ask_names(app: AppState, source: Item, dataset: Item, unknown: list[str]) -> None:
    """Ask which of the dataset's structures the names of another program mean."""
    opened = open_dataset(dataset)
    known = [structure.name for structure in opened.structures] if opened is not None else []
    ui.label(f"{len(unknown)} structures are called otherwise than in the dataset. Which are they?")
    boxes = {
        name: ui.select({"": "none of them: left out", **{k: k for k in known}}, value="", label=name).classes(
            "full-width"
        )
        for name in unknown
    }

    async def import_named() -> None:
        await import_upload(app, source, dataset, {name: str(box.value or "") for name, box in boxes.items()})

    action("Take the result", import_named, icon="download_done", style="main")


async def import_upload(app: AppState, source: Item, dataset: Item, names: Mapping[str, str] | None = None) -> None:
    """Make a result of what was uploaded, score it and measure it."""
    result = app.workspace.new_item("results", source.name)
    sent_notes = read_about(source).get("notes", "").splitlines()
    try:
        added, notes = await app.reader.run(import_result, source.path, dataset.path, result.path, names)
    except OsteonError:
        await asyncio.to_thread(shutil.rmtree, result.path, ignore_errors=True)
        raise
    finally:
        await asyncio.to_thread(shutil.rmtree, source.path, ignore_errors=True)
    notes += sent_notes
    write_json(result.path / ABOUT, {"dataset": dataset.name, **({"notes": "\n".join(notes)} if notes else {})})
    notify(
        f"{pluralise(len(added), 'case')} taken"
        + (f"; {pluralise(len(notes), 'note')}, such as: {notes[0]}" if notes else "")
    )
    start_evaluation(app, result, dataset)
    start_measurement(app, result)
    ui.navigate.to(f"/compare?a={dataset.id}&b={result.id}")
