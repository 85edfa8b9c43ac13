"""The orientation of a scan: whether it is known, how oblique or sheared it is; and how pictures are turned upright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.app.previews import ShrinkFactors
from osteon.core.errors import OsteonError
from osteon.core.geometry import Geometry, closest_axes, reorient_to_ras
from osteon.formats.dicom_files import element_text, looks_like_dicom, read_dataset
from osteon.formats.io import header_warnings
from osteon.formats.raster import has_unknown_sides

EdgeLetters = tuple[str, str, str, str]
"""Letters at the left, right, top and bottom edge of a picture."""
AXIS_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
"""Of each world axis: the end it runs to, and the other one."""
_UNKNOWN = ("no orientation", "no space")
"""Kinds of header warnings: headers that leave open where right, front and top are."""
_EDGE_LETTERS = {"R": ("L", "R"), "L": ("R", "L"), "A": ("P", "A"), "P": ("A", "P"), "H": ("I", "S"), "F": ("S", "I")}
"""Where a row or column runs by PatientOrientation (PS3.3, C.7.6.1.1.1): the letters of its start and end."""


def is_orientation_known(path: Path, geometry: Geometry) -> bool:
    """Whether a file says where right, front and top are."""
    return not has_unknown_sides(geometry) and not any(
        odd.kind in _UNKNOWN for odd in header_warnings(path, label=False)
    )


def picture_edge_letters(path: Path) -> EdgeLetters | None:
    """Letters of a picture without a position in space: those of DICOM's PatientOrientation; None where it has none."""
    try:
        if not looks_like_dicom(path):
            return None
        directions = element_text(read_dataset(path, pixels=False), "PatientOrientation").split("\\")
    except OsteonError:
        return None
    ends = [_EDGE_LETTERS.get(way.strip()[:1]) for way in directions]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return (*ends[0], *ends[1])


def oblique_degrees(geometry: Geometry) -> float:
    """The largest angle between an index axis and the patient's axis that it runs along most."""
    axes, _ = closest_axes(geometry.affine_ras)
    along = [abs(float(geometry.directions[world, index])) for index, world in enumerate(axes)]
    return math.degrees(math.acos(min(1.0, *along)))


def shear_degrees(geometry: Geometry) -> float:
    """By how much two index axes miss a right angle, at most."""
    between = np.abs(geometry.directions.T @ geometry.directions - np.eye(3))
    return math.degrees(math.asin(min(1.0, float(between.max()))))


def slice_steps(geometry: Geometry, factors: ShrinkFactors) -> list[dict[str, int | bool]]:
    """For the patient's axes to the right, front and top: the scan's slices, and which of them a preview shows.

    Each has `count`, `step` (every so many are one of the preview) and `flipped` (the file runs the other way).
    """
    turn = reorient_to_ras(geometry)
    return [
        {"count": geometry.shape[axis], "step": factors[axis], "flipped": turn.flipped[axis]} for axis in turn.order
    ]


@dataclass(frozen=True)
class PictureOrientation:
    """How `[i, j, k]` with one singleton axis becomes `[row, column]`.

    The patient's right is on the left and the head on top, as radiologists hang pictures; seen from the side, the
    front is on the left.

    Attributes:
        x_axis: The array axis along a row.
        y_axis: The array axis along a column.
        flipped: Whether x and y run against the array's axes.
        columns: Pixels of a row.
        rows: Pixels of a column.
        pixel_mm: Width and height of a pixel, in the geometry's unit.
        marks: Letters at the left, right, top and bottom edge, by the geometry; see `orientation.is_orientation_known`.
    """

    x_axis: int
    y_axis: int
    flipped: tuple[bool, bool]
    columns: int
    rows: int
    pixel_mm: tuple[float, float]
    marks: tuple[str, str, str, str]

    @classmethod
    def from_geometry(cls, geometry: Geometry) -> PictureOrientation:
        """The orientation of a grid; the picture is seen along the thinnest axis."""
        along = int(np.argmin(geometry.shape))
        axes, signs = closest_axes(geometry.affine_ras)
        x, y = sorted((axis for axis in range(3) if axis != along), key=lambda axis: axes[axis])
        flipped = signs[x] > 0, signs[y] > 0  # columns run to the left or back, rows down or back
        pixel = geometry.spacing_mm[x], geometry.spacing_mm[y]
        marks = (*AXIS_LETTERS[axes[x]], *AXIS_LETTERS[axes[y]])
        return cls(x, y, flipped, geometry.shape[x], geometry.shape[y], pixel, marks)

    def to_pixel(self, index: Sequence[int]) -> tuple[int, int]:
        """Column and row of a voxel."""
        x, y = index[self.x_axis], index[self.y_axis]
        return self.columns - 1 - x if self.flipped[0] else x, self.rows - 1 - y if self.flipped[1] else y

    def to_picture(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """`[i, j, k]` as `[row, column]`, contiguous."""
        along = 3 - self.x_axis - self.y_axis
        flat: npt.NDArray[np.generic] = np.take(array, 0, axis=along)
        rows = flat if self.y_axis < self.x_axis else flat.T
        return np.ascontiguousarray(rows[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[0] else 1])

    def from_picture(self, picture: npt.NDArray[np.generic], shape: Sequence[int]) -> npt.NDArray[np.generic]:
        """`[row, column]` as `[i, j, k]` of that shape: what `to_picture` undoes."""
        rows = picture[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[0] else 1]
        return (rows if self.y_axis < self.x_axis else rows.T).reshape(tuple(shape))
