"""nnU-Net's resampling: splines between voxels, and thick slices separately from one another.

Both grids cover the same extent, edge to edge. Along each axis the interpolation is a matrix, which SciPy's zoom gives:
of the coefficients of the splines, of the voxel that repeats beyond either end, and of the values between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from osteon.core.boxes import Index3
from osteon.preparing.resample import apply_axis_weights

ANISOTROPY = 3
"""Where voxels are more than so many times as long along one axis, its slices are resampled separately (as nnU-Net)."""
CHUNK_VOXELS = 1 << 22
"""Voxels of an image that are held in float32 at a time."""
MIN_WEIGHT = 1e-12
"""Splines reach all voxels, by less and less, and numbers near the smallest that there are slow a processor tenfold."""
Planes = Callable[[slice], npt.NDArray[np.float32]]
"""Some planes `[i, j, k]` of an image along its first axis."""
Orders = tuple[int, int, int]


def find_separate_axis(from_mm: Sequence[float], to_mm: Sequence[float], separate: bool | None) -> int | None:
    """The axis whose slices are resampled separately; None: all three axes in the same way.

    Args:
        from_mm: Voxel edges of the old grid.
        to_mm: Voxel edges of the new one.
        separate: Whether so; None: where either grid's longest voxel edge is more than `ANISOTROPY` times its shortest.
    """
    for spacing in (from_mm, to_mm):
        if separate is True or (separate is None and max(spacing) / min(spacing) > ANISOTROPY):
            longest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return longest[0] if len(longest) == 1 else None
    return None


@lru_cache(maxsize=64)
def spline_weights(count: int, wanted: int, order: int) -> torch.Tensor:
    """`[wanted, count]`: what each new voxel is made of along an axis; rows sum to 1."""
    if count == wanted:
        return torch.eye(count)
    if order == 0:  # the nearest of the old ones, as SciPy rounds
        alone = ndimage.zoom(np.arange(count), wanted / count, order=0, mode="nearest", grid_mode=True)
        return torch.eye(count)[torch.from_numpy(alone)]
    columns = [
        ndimage.zoom(unit, wanted / count, order=order, mode="nearest", grid_mode=True) for unit in np.eye(count)
    ]
    weights = np.stack(columns, axis=1)
    weights[np.abs(weights) < MIN_WEIGHT] = 0
    return torch.from_numpy(weights).float()


@dataclass(frozen=True)
class SplineResampling:
    """From one grid to another over the same extent.

    Attributes:
        shape: Voxels of the new grid.
        orders: Of the splines along each axis.
        separate_axis: The axis whose slices are resampled separately; None: none.
    """

    shape: Index3
    orders: Orders
    separate_axis: int | None

    @staticmethod
    def make(shape: Index3, separate_axis: int | None, order: int, order_across: int) -> SplineResampling:
        """Splines of one order, and of another along the axis whose slices are resampled separately."""
        i, j, k = (order_across if axis == separate_axis else order for axis in range(3))
        return SplineResampling(shape, (i, j, k), separate_axis)

    def weights(self, shape: Sequence[int]) -> list[torch.Tensor]:
        """`[wanted, count]` for each axis of an array of `shape`."""
        return [spline_weights(n, m, order) for n, m, order in zip(shape, self.shape, self.orders, strict=True)]

    def resample(self, shape: Index3, planes: Planes) -> npt.NDArray[np.float32]:
        """`[i, j, k]` on the other grid; splines that shoot beyond the image's range (apart: the slice's) are cut.

        Args:
            shape: Of the image.
            planes: Gives the image's planes along the first axis; only some are asked for at a time.
        """
        if shape == self.shape:
            return planes(slice(None))
        weights = self.weights(shape)
        across = weights[0]
        within = [axis for axis in range(3) if axis != self.separate_axis]
        made = torch.zeros(())
        low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        step = max(1, CHUNK_VOXELS // (shape[1] * shape[2]))
        for first in range(0, shape[0], step):
            part = torch.from_numpy(np.ascontiguousarray(planes(slice(first, first + step))))
            least, most = part.amin(within, keepdim=True), part.amax(within, keepdim=True)
            for axis in sorted({1, 2} & set(within), key=lambda axis: self.shape[axis] / shape[axis]):
                part = _along(part, weights[axis], axis)
            if self.separate_axis == 0:
                part.clamp_(least, most)
            else:
                low, high = torch.minimum(low, least), torch.maximum(high, most)
            if not made.ndim:
                made = torch.zeros((self.shape[0], *part.shape[1:]))
            if shape[0] == self.shape[0]:
                made[first : first + step] = part
            else:
                made.flatten(1).addmm_(across[:, first : first + step], part.flatten(1))
        if self.separate_axis != 0:
            made.clamp_(low, high)
        if self.separate_axis:
            made = _along(made, weights[self.separate_axis], self.separate_axis)
        return made.contiguous().numpy()


def _along(part: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
    if weights.shape[0] == weights.shape[1]:
        return part
    return apply_axis_weights(part, weights, axis)
