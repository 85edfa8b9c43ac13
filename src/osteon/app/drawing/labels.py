"""Labels read for drawing, and drawings saved: what routes do in the reader's process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osteon.app.drawing.drafts import body_of, keep_draft, list_drafts, read_draft, remove_draft
from osteon.app.drawing.transfer import (
    Drawing,
    Entry,
    check_drawable,
    decode_label,
    encode_label,
    entries_from,
    rename_entries,
    shown_shape,
)
from osteon.core.errors import ConflictError, UsageError
from osteon.core.labels import Segmentation
from osteon.dataset.case_history import Kind, read_history
from osteon.dataset.checks import present_structures
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_placement import place_segmentation
from osteon.dataset.label_versions import LabelWork, load_version, restore_label, save_label
from osteon.formats.io import read_segmentation
from osteon.formats.label_meanings import label_meanings_for, read_named_labels
from osteon.formats.labelmap import smallest_uint, to_index_map

LONGEST_S = 24 * 3600.0
"""More seconds of work than this are no time that anybody spent on one drawing."""


@dataclass(frozen=True)
class DrawnLabel:
    """A drawing as the browser sends it.

    Attributes:
        body: The file with the gzip stream.
        entries: What its numbers or bits stand for.
        author: Who drew it.
        base: The version that it was made from.
        seconds: How long the work took.
        what: What was done, or from what it was begun, in words.
        looked_for: Structures that somebody looked for beside those that are there.
        kind: What it is saved as.
    """

    body: Path
    entries: tuple[Entry, ...]
    author: str
    base: int
    seconds: float = 0.0
    what: str = ""
    looked_for: tuple[str, ...] = ()
    kind: Literal["correction", "second reading"] = "correction"


def describe_case(folder: Path, case_id: str) -> dict[str, Any]:
    """What a drawing page needs to know of a case.

    Returns:
        `kind` (`volume` or `picture`), `shape` (as `transfer` has it), `overlapping`, `refused` (why it cannot be drawn
        here, and the way out; empty else), `structures`, `current`, `changes`, `state`, `known` (names of structures
        that somebody has looked for in the label that counts), `imported` (whether there is an imported label),
        `versions`, `drafts`.

    Raises:
        OsteonError: The dataset or the image's header cannot be read.
    """
    dataset = Dataset.open(folder)
    case, geometry = dataset.case(case_id), dataset.geometry(dataset.case(case_id))
    history, imported = read_history(folder, case_id), dataset.imported.case(case_id)
    refused = ""
    try:
        check_drawable(dataset, geometry)
    except UsageError as error:
        refused = f"{error.message}. {error.hint}"
    names = [structure.name for structure in dataset.structures]
    known = [] if case.segmentation is None else names if case.annotated is None else case.annotated
    return {
        "kind": "picture" if 1 in geometry.shape else "volume",
        "shape": list(shown_shape(geometry)),
        "overlapping": dataset.manifest.overlapping,
        "refused": refused,
        "structures": [structure.model_dump(exclude_none=True) for structure in dataset.structures],
        "current": history.current,
        "changes": history.changes,
        "state": history.state(imported),
        "known": list(known),
        "imported": imported.segmentation is not None,
        "versions": [version.model_dump(exclude={"file", "content"}) for version in history.versions],
        "drafts": [draft.model_dump(exclude={"entries", "body", "number"}) for draft in list_drafts(folder, case_id)],
    }


def read_label(folder: Path, case_id: str, number: int) -> Drawing:
    """A version of a case's label; 0 is the imported one, which is empty where there is none.

    Raises:
        OsteonError: There is no such version, it is damaged, or cannot be drawn.
    """
    dataset = Dataset.open(folder)
    geometry = dataset.geometry(dataset.case(case_id))
    check_drawable(dataset, geometry)
    if number == 0 and dataset.imported.case(case_id).segmentation is None:
        return encode_label(None, dataset, geometry)
    return encode_label(_on_grid(load_version(dataset, case_id, number), dataset, case_id), dataset, geometry)


def read_prediction(folder: Path, case_id: str, path: Path) -> Drawing:
    """A model's label of a case, of which those structures are taken that the dataset has."""
    dataset = Dataset.open(folder)
    geometry = dataset.geometry(dataset.case(case_id))
    check_drawable(dataset, geometry)
    found = read_named_labels(path, None, label_meanings_for([path]), pieces=True)
    known = {structure.name for structure in dataset.structures}
    if all(structure.name in known for structure in found.structures):
        found = read_segmentation(path, dataset.structures, pieces=True)
    else:
        found = _known_part(found, dataset)
    return encode_label(_on_grid(found, dataset, case_id), dataset, geometry)


def read_draft_label(folder: Path, case_id: str, author: str) -> tuple[Drawing, dict[str, Any]]:
    """An author's draft, and what is known of it. Raises UsageError where there is none."""
    draft = read_draft(folder, case_id, author)
    if draft is None:
        raise UsageError("there is no draft of yours", hint="reload the page")
    entries = rename_entries(entries_from(draft.entries), Dataset.open(folder).structures)
    about = draft.model_dump(exclude={"entries", "body", "number"})
    return Drawing(body_of(folder, case_id, draft).read_bytes(), entries), about


def keep_label_draft(folder: Path, case_id: str, drawn: DrawnLabel) -> dict[str, Any]:
    """Keep a drawing as a draft. Raises RejectedError as `transfer.decode_label`, FileError."""
    dataset = Dataset.open(folder)
    decode_label(drawn.body, drawn.entries, dataset, dataset.geometry(dataset.case(case_id)))
    draft = keep_draft(
        folder,
        case_id,
        drawn.body,
        drawn.entries,
        author=drawn.author,
        base=drawn.base,
        seconds=_seconds(drawn.seconds),
        what=drawn.what,
    )
    return {"at": draft.at, "current": read_history(folder, case_id).current}


def save_drawing(folder: Path, case_id: str, drawn: DrawnLabel) -> dict[str, Any]:
    """Save a drawing as a new version; its author's draft is removed then.

    Raises:
        ConflictError: Another version counts than the one that it was made from; nothing is written.
        RejectedError, OsteonError: As `transfer.decode_label` and `label_versions.save_label`.
    """
    dataset = Dataset.open(folder)
    segmentation = decode_label(drawn.body, drawn.entries, dataset, dataset.geometry(dataset.case(case_id)))
    names = {structure.name for structure in dataset.structures}
    if strange := set(drawn.looked_for) - names:
        raise UsageError(f"no structure is called {sorted(strange)[0]}", hint="reload the page")
    looked_for = {*drawn.looked_for, *present_structures(segmentation.merged())}
    kind: Kind = drawn.kind
    work = LabelWork(drawn.author, kind, _seconds(drawn.seconds), drawn.what, looked_for)
    version = save_label(dataset, case_id, segmentation, work, base=drawn.base)
    remove_draft(folder, case_id, drawn.author)
    return version.model_dump(exclude={"file", "content"})


def restore_version(folder: Path, case_id: str, number: int, author: str, base: int) -> dict[str, Any]:
    """Let an older version count again. Raises ConflictError where another counts by now than the page shows."""
    dataset = Dataset.open(folder)
    dataset.case(case_id)
    current = read_history(folder, case_id).current
    if current != base:
        raise ConflictError(
            f"the label was changed meanwhile: version {current} counts now", hint="look at it before restoring another"
        )
    restore_label(dataset, case_id, number, author=author)
    return {"current": read_history(folder, case_id).current}


def conflict_answer(folder: Path, case_id: str, error: ConflictError) -> dict[str, Any]:
    """What is said where somebody else was quicker."""
    history = read_history(folder, case_id)
    author = history.version.author if history.version is not None else ""
    return {"message": error.message, "hint": error.hint, "current": history.current, "author": author}


def _seconds(value: float) -> float:
    return min(max(value, 0.0), LONGEST_S) if math.isfinite(value) else 0.0


def _on_grid(segmentation: Segmentation, dataset: Dataset, case_id: str) -> Segmentation:
    geometry = dataset.geometry(dataset.case(case_id))
    placed, _ = place_segmentation(
        segmentation, geometry, name=f"the label of case {case_id}", image_name=f"the scan {case_id}"
    )
    if dataset.manifest.overlapping or not placed.overlapping:
        return placed
    return to_index_map(placed, f"case {case_id}")


def _known_part(found: Segmentation, dataset: Dataset) -> Segmentation:
    """The structures that the dataset has, in its values; the others are left out."""
    if dataset.manifest.overlapping:
        raise UsageError(
            "the prediction has structures that the dataset lacks", hint="add them to the dataset, then reload the page"
        )
    array = np.zeros(found.geometry.shape, smallest_uint(max((s.values[-1] for s in dataset.structures), default=0)))
    named: dict[str, Any] = {structure.name: structure for structure in dataset.structures}
    for structure in found.structures:
        if structure.name in named:
            array[found.mask(structure)] = named[structure.name].value
    return Segmentation(array, found.geometry, dataset.structures)


def names_of(entries: Sequence[Entry]) -> list[list[Any]]:
    """Entries as JSON has them."""
    return [[entry.name, entry.value] for entry in entries]
