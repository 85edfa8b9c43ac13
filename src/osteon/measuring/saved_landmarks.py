"""Landmarks that people moved, kept beside what else they did to a case.

FOLDER/annotations/<case>/landmarks.json   of a dataset, or of a folder of predictions
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from osteon.core.errors import UsageError
from osteon.dataset.saved_records import change_saved, read_saved, record_path
from osteon.measuring.figure import Figure
from osteon.measuring.landmarks import LandmarkMove, find_landmarks

FILE = "landmarks.json"
_WORDS = "moved landmarks", "move it away: they are found again"
MAX_COORDINATE = 1e6


class _Saved(BaseModel):
    moves: list[LandmarkMove] = []


def read_moves(folder: Path, case_id: str) -> list[LandmarkMove]:
    """What was moved of a case; empty where nothing was. Raises FileError where it is damaged."""
    return read_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS).moves


def save_move(
    folder: Path,
    case_id: str,
    figures: Sequence[Figure],
    structure: str,
    name: str,
    point: Sequence[float],
    author: str,
) -> LandmarkMove:
    """Keep where a landmark was moved to, in place of where it was moved before.

    Args:
        folder: Of the dataset, or of the predictions.
        case_id: The case; that it exists is known.
        figures: Of it, as they were measured.
        structure: The landmark's.
        name: Of the landmark.
        point: Where it is now: RAS mm.
        author: Who moved it.

    Raises:
        UsageError: There is no such landmark, or the point lies nowhere.
        FileError: It cannot be written.
    """
    if (structure, name) not in {(one.structure, one.name) for one in find_landmarks(figures)}:
        raise UsageError(f"{case_id}: {structure} has no landmark {name}", hint="reload the page")
    if len(point) != 3 or not all(math.isfinite(value) and abs(value) < MAX_COORDINATE for value in point):
        raise UsageError("a landmark lies at three coordinates in the scan", hint="move the crosshair into the scan")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    move = LandmarkMove(
        structure=structure, name=name, point=[round(float(value), 3) for value in point], author=author, at=at
    )
    with change_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS) as saved:
        saved.moves[:] = [one for one in saved.moves if (one.structure, one.name) != (structure, name)] + [move]
    return move


def undo_move(folder: Path, case_id: str, structure: str, name: str) -> None:
    """Put a landmark back to where it was found; nothing where it is there. Raises FileError."""
    with change_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS) as saved:
        saved.moves[:] = [one for one in saved.moves if (one.structure, one.name) != (structure, name)]
