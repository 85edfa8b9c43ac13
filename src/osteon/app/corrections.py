"""Corrections of a result's pieces: merged, split, renumbered; each can be undone. In the reader's process.

RESULT/<case>.nii.gz                   as it was corrected: scores, exports and votes take it
RESULT/.corrections/<case>/edits.json  what was done, and when
RESULT/.corrections/<case>/0.nii.gz    as it was before the first correction, 1.nii.gz after it, and so on
"""

from __future__ import annotations

import filecmp
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from osteon.app.pieces import piece_name
from osteon.core.errors import FileError, UsageError
from osteon.core.files import atomic_write, write_json
from osteon.core.labels import Segmentation, Structure
from osteon.core.piece_edits import free_values, merge_pieces, split_piece, swap_pieces
from osteon.core.records import read_record
from osteon.formats.io import read_segmentation, write_segmentation
from osteon.formats.labelmap import value_counts
from osteon.formats.registry import stem_of, suffix_of

FOLDER, EDITS = ".corrections", "edits.json"
MAX_PARTS = 99
"""Into more parts than this no piece is split."""


@dataclass(frozen=True)
class PieceEdit:
    """A correction.

    Attributes:
        kind: What is done.
        values: Of the pieces, in the label map.
        target: Of `renumber`: the value that the piece gets; the piece that has it gets this one's.
    """

    kind: Literal["merge", "split", "renumber"]
    values: tuple[int, ...]
    target: int = 0


class _Edit(BaseModel):
    what: str
    at: str


class _Edits(BaseModel):
    edits: list[_Edit] = []


def corrections_of(path: Path) -> list[str]:
    """What was corrected in a label file, in order; empty where nothing was, or it was made anew since."""
    return [edit.what for edit in _edits(path)]


def correct_pieces(path: Path, edit: PieceEdit) -> str:
    """Correct a result's label file.

    Returns:
        What was done, in a sentence.

    Raises:
        UsageError: It cannot be done: a piece has no neck, a structure has no room.
        FileError: The file cannot be read or written.
    """
    before = read_segmentation(path, pieces=True)
    structures = {value: _structure_of(before, value) for value in edit.values}
    names = {value: _name(structure, value) for value, structure in structures.items()}
    if edit.kind == "merge":
        if len({structure.name for structure in structures.values()}) > 1:
            raise UsageError("these are pieces of several structures", hint="give them to one first: Renumber")
        array = merge_pieces(before.array, edit.values)
        what = f"Merged {' and '.join(names.values())}"
    elif edit.kind == "split":
        (value,) = edit.values
        free = free_values(before.array, structures[value], MAX_PARTS)
        array = split_piece(before.array, value, free, before.geometry.spacing_mm)
        what = f"Split {names[value]}"
    else:
        (value,) = edit.values
        array = swap_pieces(before.array, value, edit.target)
        what = f"Made {names[value]} {_name(_structure_of(before, edit.target), edit.target)}"
    done, folder = _edits(path), _folder(path)
    if not done:
        shutil.rmtree(folder, ignore_errors=True)  # of a label file that was made anew
        folder.mkdir(parents=True)
        shutil.copyfile(path, _version(path, 0))
    write_segmentation(_version(path, len(done) + 1), replace(before, array=array))
    new = _Edit(what=what, at=time.strftime("%Y-%m-%d %H:%M:%S"))
    write_json(folder / EDITS, _Edits(edits=[*done, new]).model_dump())
    _restore(path, len(done) + 1)
    return what


def undo_correction(path: Path) -> str:
    """Take back the last correction of a label file; what it was. Raises UsageError where there is none, FileError."""
    done = _edits(path)
    if not done:
        raise UsageError("nothing was corrected here", hint="reload the page")
    _restore(path, len(done) - 1)
    return done[-1].what


def renumber_targets(path: Path, value: int) -> dict[int, str]:
    """The values that a piece may get, each with what that means.

    Those of its structure's other pieces, and the first free value of each structure that has one. Raises FileError.
    """
    segmentation = read_segmentation(path, pieces=True)
    own, counts = _structure_of(segmentation, value), value_counts(segmentation.array)
    targets = {v: f"{_name(own, v)}: they swap" for v in own.values if v in counts and v != value}
    for structure in (own, *(s for s in segmentation.structures if s is not own)):
        for free in free_values(segmentation.array, structure, 1):
            targets[free] = f"{_name(structure, free)}: free"
    return targets


def _structure_of(segmentation: Segmentation, value: int) -> Structure:
    found = next((s for s in segmentation.structures if value in s.values), None)
    if found is None:
        raise UsageError(f"there is no piece {value}", hint="reload the page")
    return found


def _name(structure: Structure, value: int) -> str:
    return piece_name(structure, value) if structure.instances else structure.name


def _edits(path: Path) -> list[_Edit]:
    """The corrections that led to the file as it is."""
    record = _folder(path) / EDITS
    if not record.is_file():
        return []
    try:
        edits = _Edits.model_validate(read_record(record, "what was corrected", _Edits, "remove it")).edits
    except FileError:
        return []
    for number in range(len(edits), 0, -1):
        version = _version(path, number)
        if version.is_file() and filecmp.cmp(version, path, shallow=False):
            return edits[:number]
    return []


def _restore(path: Path, number: int) -> None:
    with atomic_write(path) as temporary:
        shutil.copyfile(_version(path, number), temporary)


def _folder(path: Path) -> Path:
    return path.parent / FOLDER / stem_of(path)


def _version(path: Path, number: int) -> Path:
    return _folder(path) / f"{number}{suffix_of(path)}"
