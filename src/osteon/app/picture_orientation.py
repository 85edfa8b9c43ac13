"""The upright orientation of pictures: how a volume of one slice becomes rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry, closest_axes

AXIS_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
"""Of each world axis: the end it runs to, and the other one."""


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

    def to_picture(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """`[i, j, k]` as `[row, column]`, contiguous."""
        along = 3 - self.x_axis - self.y_axis
        flat: npt.NDArray[np.generic] = np.take(array, 0, axis=along)
        rows = flat if self.y_axis < self.x_axis else flat.T
        return np.ascontiguousarray(rows[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[0] else 1])
