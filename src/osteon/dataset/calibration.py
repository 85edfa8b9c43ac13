"""How long the pixels of an X-ray are, where somebody says so: by a marker of known size, or as a number.

DATASET/annotations/<case>/calibration.json   all that was said, in order; the last counts

dataset.yaml, the image and the labels stay as they are: lengths are turned into millimetres where they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from osteon.core.errors import GeometryError, UsageError
from osteon.core.files import write_json
from osteon.core.geometry import Geometry, Unit
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import changing, now
from osteon.dataset.saved_measurements import Line, SavedMeasurement
from osteon.dataset.saved_records import read_saved, record_path

FILE = "calibration.json"
MARKER_MM = (1.0, 1000.0)
"""The shortest and the longest marker."""
PIXEL_MM = (0.01, 5.0)
"""The shortest and the longest side of a pixel."""
MIN_PIXELS = 10
"""Of a line over a marker: a shorter one would be wrong by more than a tenth."""
SQUARE = 0.01
"""Part by which the sides of a pixel may differ, and one number for both still makes sense."""
SAME = 2e-3
"""Part by which the sides of the same pixels may differ: records have four decimals."""
AGAIN = "calibrate it again, or remove the calibration"


class Calibration(BaseModel):
    """What somebody said of a case's pixels.

    Attributes:
        scale: Millimetres for one of `unit`; None: it was removed, and what the file says counts.
        how: By what, in words.
        unit: The file's own unit.
        spacing: Of the file's grid, ascending, in `unit`: it is the grid of these pixels that was calibrated.
        edge: The shorter side of a pixel, in `unit`.
        author: Who said it.
        at: When: `2026-01-31T14:05:00Z`.
    """

    model_config = ConfigDict(frozen=True)

    scale: float | None = Field(gt=0, allow_inf_nan=False)
    how: str = ""
    unit: Unit = "px"
    spacing: list[float] = []
    edge: float = 1.0
    author: str = ""
    at: str = ""

    @property
    def factor(self) -> float:
        """`scale`, of one that was not removed."""
        return 1.0 if self.scale is None else self.scale

    def describe(self) -> str:
        """What it says, in words: `0.25 mm a pixel, by a marker of 25 mm`."""
        return f"{self.factor * self.edge:.4g} mm a pixel, by {self.how}"

    def check(self, spacing: Sequence[float], unit: str) -> None:
        """Raises GeometryError where an image's pixels, its axes in any order, are not those that were calibrated."""
        if unit != self.unit or not np.allclose(sorted(spacing), self.spacing, rtol=SAME):
            edges = "×".join(f"{edge:.4g}" for edge in self.spacing)
            raise GeometryError(f"the pixels that were calibrated were of {edges} {self.unit}", hint=AGAIN)

    def apply(self, geometry: Geometry) -> Geometry:
        """The grid in millimetres, its axes in any order. Raises GeometryError as `check`."""
        self.check(geometry.spacing_mm, geometry.unit)
        affine = geometry.affine_ras.copy()
        affine[:3] *= self.factor
        return replace(geometry, affine_ras=affine, unit="mm", alternative_affines=())

    def convert(self, measured: SavedMeasurement) -> SavedMeasurement:
        """A saved length or angle in millimetres; one that was saved in another unit stays as it is."""
        if measured.kind == "length" and measured.unit != self.unit:
            return measured
        points = [[value * self.factor for value in point] for point in measured.points]
        if measured.kind == "angle":
            return measured.model_copy(update={"points": points})
        return measured.model_copy(update={"points": points, "value": measured.value * self.factor, "unit": "mm"})


class _Said(BaseModel):
    said: list[Calibration] = []


def read_calibration(folder: Path, case_id: str) -> Calibration | None:
    """What counts of a dataset's case; None where nothing does. Raises FileError where the file is damaged."""
    said = _read(folder, case_id).said
    return said[-1] if said and said[-1].scale is not None else None


def calibration_path(folder: Path, case_id: str) -> Path:
    """Where a dataset keeps what was said of a case's pixels."""
    return record_path(folder, case_id, FILE)


def calibrate_by_marker(dataset: Dataset, case_id: str, line: Line, length_mm: float, *, author: str) -> Calibration:
    """Say how long a line over something of known size is.

    Args:
        dataset: Where the case is.
        case_id: The case, a picture.
        line: Its two ends along columns and rows, in the unit that the file has.
        length_mm: How long it is in truth.
        author: Who says so.

    Raises:
        UsageError: The case is no picture, or a figure makes no sense. Nothing is written.
        FileError: The image cannot be read, or the file not be written.
    """
    geometry = _picture_grid(dataset, case_id)
    _check(length_mm, "the length of a marker", MARKER_MM)
    if len(line) != 2 or any(len(end) != 2 for end in line) or not np.isfinite(line).all():
        raise UsageError("a line has two ends", hint="draw it again")
    if np.any(np.asarray(line) < -1) or np.max(line) > max(geometry.extent_mm) + 1:
        raise UsageError("the line leads out of the picture", hint="draw it again")
    edge = min(_sides(geometry))
    drawn = math.dist(*line)
    if drawn < MIN_PIXELS * edge:
        raise UsageError(
            f"the line is {drawn / edge:.1f} pixels long: what follows from it would be wrong by more than a tenth",
            hint=f"draw it over the whole marker, {MIN_PIXELS} pixels at least; or type the size of a pixel",
        )
    how = f"a marker of {length_mm:g} mm that is {drawn:.1f} {geometry.unit} long here"
    return _add(dataset, case_id, geometry, length_mm / drawn, how, author)


def calibrate_by_spacing(dataset: Dataset, case_id: str, pixel_mm: float, *, author: str) -> Calibration:
    """Say how long the side of a pixel is. Raises UsageError and FileError as `calibrate_by_marker`."""
    geometry = _picture_grid(dataset, case_id)
    _check(pixel_mm, "the side of a pixel", PIXEL_MM)
    sides = _sides(geometry)
    if max(sides) > (1 + SQUARE) * min(sides):
        raise UsageError(
            f"the pixels are no squares ({sides[0]:.4g}×{sides[1]:.4g} {geometry.unit}): one number does not say it",
            hint="draw a line over a marker of known size",
        )
    return _add(dataset, case_id, geometry, pixel_mm / min(sides), "a number that was typed", author)


def remove_calibration(dataset: Dataset, case_id: str, *, author: str) -> None:
    """Let what the file says count again; what was said before stays on record. Raises UsageError, FileError."""
    _append(dataset, case_id, Calibration(scale=None, author=author, at=now()))


def _picture_grid(dataset: Dataset, case_id: str) -> Geometry:
    geometry = dataset.geometry(dataset.case(case_id))
    if not geometry.singleton_axes:
        raise UsageError(f"case {case_id}: is a volume, whose file says its millimetres", hint="calibrate pictures")
    return geometry


def _sides(geometry: Geometry) -> Sequence[float]:
    """Of a pixel: without the axis along which there is one."""
    thin = geometry.singleton_axes[-1]
    return [edge for axis, edge in enumerate(geometry.spacing_mm) if axis != thin]


def _check(value: float, what: str, limits: tuple[float, float]) -> None:
    low, high = limits
    if not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{what} of {value:g} mm makes no sense", hint=f"give millimetres, {low:g} to {high:g}")


def _add(dataset: Dataset, case_id: str, geometry: Geometry, scale: float, how: str, author: str) -> Calibration:
    edge = min(_sides(geometry))
    _check(scale * edge, "the side of a pixel", PIXEL_MM)
    spacing = [round(length, 6) for length in sorted(geometry.spacing_mm)]
    new = Calibration(scale=scale, how=how, unit=geometry.unit, spacing=spacing, edge=edge, author=author, at=now())
    _append(dataset, case_id, new)
    return new


def _append(dataset: Dataset, case_id: str, new: Calibration) -> None:
    with changing(dataset, case_id):
        said = [*_read(dataset.folder, case_id).said, new]
        write_json(calibration_path(dataset.folder, case_id), {"said": [one.model_dump() for one in said]})


def _read(folder: Path, case_id: str) -> _Said:
    return read_saved(calibration_path(folder, case_id), _Said, "the calibration", "move it away, and calibrate again")
