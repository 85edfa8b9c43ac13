"""Lengths and angles that people measured in a viewer, kept beside what else they did to a case.

FOLDER/annotations/<case>/measurements.json   of a dataset, or of a folder of predictions
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from osteon.core.errors import UsageError
from osteon.dataset.saved_records import change_saved, read_saved, record_path

FILE = "measurements.json"
MAX_MEASUREMENTS = 200
"""Of a case."""
_WORDS = "what was measured", "move it away: it is measured again"
MAX_COORDINATE = 1e6
Line = Sequence[Sequence[float]]
"""Its two ends."""


class SavedMeasurement(BaseModel):
    """A length or an angle.

    Attributes:
        number: From 1 on; no other of the case has or had it.
        kind: An angle is that between two lines, 0 … 90°.
        points: Ends of the line, or of the two lines: RAS mm; of a picture along columns and rows, in `unit`.
        value: In `unit`.
        unit: `mm`, `px` or `°`.
        author: Who measured it.
        at: When: `2026-01-31T14:05:00Z`.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    kind: Literal["length", "angle"] = "length"
    points: list[list[float]]
    value: float
    unit: str
    author: str = ""
    at: str = ""

    def describe(self) -> str:
        """`12.3 mm`, `45.0°`."""
        return f"{self.value:.1f}{'' if self.kind == 'angle' else ' '}{self.unit}"


class _Saved(BaseModel):
    last: int = 0
    measurements: list[SavedMeasurement] = []


def read_measurements(folder: Path, case_id: str) -> list[SavedMeasurement]:
    """What was measured of a case, in order; empty where nothing was. Raises FileError where it is damaged."""
    return read_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS).measurements


def save_lengths(folder: Path, case_id: str, lines: Sequence[Line], unit: str, author: str) -> list[SavedMeasurement]:
    """Keep lines with their lengths; those that are kept already are left out.

    Args:
        folder: Of the dataset, or of the predictions.
        case_id: The case; that it exists is known.
        lines: Their ends, in `unit`.
        unit: `mm` or `px`.
        author: Who measured them.

    Returns:
        Those that are new.

    Raises:
        UsageError: One is no line, or there would be too many.
        FileError: It cannot be written.
    """
    for line in lines:
        numbers = [value for point in line for value in point]
        if len(line) != 2 or any(len(point) not in (2, 3) or len(point) != len(line[0]) for point in line):
            raise UsageError("a line has two ends", hint="draw it again")
        if not all(math.isfinite(value) and abs(value) < MAX_COORDINATE for value in numbers):
            raise UsageError("a line leads out of the scan", hint="draw it again")
    new: list[SavedMeasurement] = []
    with change_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS) as saved:
        known = [one.points for one in saved.measurements]
        for line in lines:
            points = [[round(float(value), 4) for value in point] for point in line]
            length = math.dist(*points)
            if length > 0 and points not in known:
                new.append(_add(saved, points, length, unit, author, "length"))
                known.append(points)
    return new


def save_angle(folder: Path, case_id: str, numbers: Sequence[int], author: str) -> SavedMeasurement:
    """Keep the angle between two lines whose lengths were saved.

    Raises:
        UsageError: They are not two lengths, or there would be too many.
        FileError: It cannot be written.
    """
    with change_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS) as saved:
        lines = [one for one in saved.measurements if one.number in numbers and one.kind == "length"]
        if len(lines) != 2 or len(set(numbers)) != 2:
            raise UsageError("an angle is that between two lengths", hint="tick two of them")
        one, other = (np.subtract(line.points[1], line.points[0]) for line in lines)
        cosine = abs(float(one @ other)) / float(np.linalg.norm(one) * np.linalg.norm(other))
        angle = math.degrees(math.acos(min(1.0, cosine)))
        return _add(saved, [point for line in lines for point in line.points], angle, "°", author, "angle")


def remove_measurement(folder: Path, case_id: str, number: int) -> None:
    """Remove one; nothing where it is gone already. Raises FileError."""
    with change_saved(record_path(folder, case_id, FILE), _Saved, *_WORDS) as saved:
        saved.measurements[:] = [one for one in saved.measurements if one.number != number]


def _add(
    saved: _Saved, points: list[list[float]], value: float, unit: str, author: str, kind: Literal["length", "angle"]
) -> SavedMeasurement:
    if len(saved.measurements) >= MAX_MEASUREMENTS:
        raise UsageError(f"a case has {MAX_MEASUREMENTS} measurements at most", hint="remove some of them")
    saved.last += 1
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    new = SavedMeasurement(
        number=saved.last, kind=kind, points=points, value=round(value, 4), unit=unit, author=author, at=at
    )
    saved.measurements.append(new)
    return new
