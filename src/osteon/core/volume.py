"""Images in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box
from osteon.core.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on a grid.

    Attributes:
        array: `[channel, i, j, k]`, any numeric dtype; a radiograph has one singleton axis.
        geometry: Where the voxels lie, RAS+ millimetres.
    """

    array: npt.NDArray[np.generic]
    geometry: Geometry

    def crop(self, box: Box) -> Volume:
        """A box of it, on the box's grid; the array is a view."""
        return Volume(self.array[(slice(None), *box.slices)], self.geometry.crop(box))

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.geometry.shape:
            raise ValueError(f"array {self.array.shape} does not fit the grid [channel, {self.geometry.shape}]")
