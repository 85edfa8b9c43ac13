"""Pictures upright: which way a volume of one slice is laid out in rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry, closest_axes

AXIS_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
"""Of each world axis: the end it runs to, and the other one."""


@dataclass(frozen=True)
class PictureOrientation:
    """How `[i, j, k]` with one singleton axis is spread out as `[row, column]`.

    The patient's right is on the left and the head on top, as radiologists hang pictures; seen from the side, the
    front is on the left.

    Attributes:
        across: The array axis along a row, `down` the one along a column.
        down: See `across`.
        flipped: Whether each of the two is turned round.
        columns: Pixels of a row, `rows` of a column.
        rows: See `columns`.
        pixel_mm: Width and height of a pixel, in the geometry's unit.
        marks: Letters at the left, right, top and bottom edge, by the geometry; `lying` tells whether it knows them.
    """

    across: int
    down: int
    flipped: tuple[bool, bool]
    columns: int
    rows: int
    pixel_mm: tuple[float, float]
    marks: tuple[str, str, str, str]

    @classmethod
    def of(cls, geometry: Geometry) -> PictureOrientation:
        """The sheet of a grid; the thinnest axis is the one looked along."""
        along = int(np.argmin(geometry.shape))
        axes, signs = closest_axes(geometry.affine_ras)
        plane = sorted((axis for axis in range(3) if axis != along), key=lambda axis: axes[axis])
        across, down = plane
        flipped = signs[across] > 0, signs[down] > 0  # columns run to the left or back, rows down or back
        spacing = geometry.spacing_mm
        left, right = AXIS_LETTERS[axes[across]]
        top, bottom = AXIS_LETTERS[axes[down]]
        return cls(
            across,
            down,
            flipped,
            geometry.shape[across],
            geometry.shape[down],
            (spacing[across], spacing[down]),
            (left, right, top, bottom),
        )

    def spread(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """`[i, j, k]` as `[row, column]`, contiguous."""
        along = 3 - self.across - self.down
        flat: npt.NDArray[np.generic] = np.take(array, 0, axis=along)
        rows = flat if self.down < self.across else flat.T
        return np.ascontiguousarray(rows[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[0] else 1])
