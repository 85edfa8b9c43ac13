"""nnU-Net's resampling: splines between voxels, and thick slices apart from one another.

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

from osteon.core.geometry import Geometry
from osteon.plan.schema import Grid
from osteon.preparing.resample import weigh_along

ANISOTROPY = 3
"""Where voxels are more than so many times as long along one axis, its slices are resampled apart (nnU-Net's value)."""
AT_ONCE = 1 << 22
"""Voxels of an image that are held in float32 at a time."""
NOTHING = 1e-12
"""Splines reach all voxels, by less and less, and numbers near the smallest that there are slow a processor tenfold."""
Planes = Callable[[slice], npt.NDArray[np.float32]]
"""Some planes `[i, j, k]` of an image along its first axis."""
Triple = tuple[int, int, int]
Orders = tuple[int, int, int]


def nnunet_shape(shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> Triple:
    """The number of voxels that covers the same extent at another spacing, rounded in nnU-Net's order."""
    i, j, k = (max(1, round(s / t * n)) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True))
    return i, j, k


def slices_apart(from_mm: Sequence[float], to_mm: Sequence[float], apart: bool | None) -> int | None:
    """The axis whose slices are resampled apart; None: all three axes alike.

    Args:
        from_mm: Voxel edges now.
        to_mm: Voxel edges wanted.
        apart: Whether so; None: where either grid's longest voxel edge is more than `ANISOTROPY` times its shortest.
    """
    for spacing in (from_mm, to_mm):
        if apart is True or (apart is None and max(spacing) / min(spacing) > ANISOTROPY):
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
    weights[np.abs(weights) < NOTHING] = 0
    return torch.from_numpy(weights).float()


@dataclass(frozen=True)
class Splines:
    """A way from one grid to another.

    Attributes:
        shape: Voxels wanted.
        orders: Of the splines along each axis.
        apart: The axis whose slices are resampled apart.
    """

    shape: Triple
    orders: Orders
    apart: int | None

    @staticmethod
    def onto_grid(turned: Geometry, shape: Triple, grid: Grid, order: int | None = None) -> Splines:
        """From a scan, turned as the plan has it, onto the plan's grid of `shape`; `order` over the grid's own."""
        if grid.nnunet is None:
            raise ValueError("the grid is none of nnU-Net's")
        rule = grid.nnunet
        return _splines(
            shape,
            slices_apart(turned.spacing_mm, grid_spacing(grid, turned), rule.apart),
            rule.order if order is None else order,
            rule.order_across,
        )

    @staticmethod
    def back(turned: Geometry, grid: Grid) -> Splines:
        """From the plan's grid to the scan's own."""
        if grid.nnunet is None:
            raise ValueError("the grid is none of nnU-Net's")
        rule = grid.nnunet
        apart = slices_apart(grid_spacing(grid, turned), turned.spacing_mm, rule.back_apart)
        return _splines(turned.shape, apart, rule.back, rule.back_across)

    def weights(self, shape: Sequence[int]) -> list[torch.Tensor]:
        """`[wanted, count]` for each axis of an array of `shape`."""
        return [spline_weights(n, m, order) for n, m, order in zip(shape, self.shape, self.orders, strict=True)]

    def resample(self, shape: Triple, planes: Planes) -> npt.NDArray[np.float32]:
        """`[i, j, k]` on the other grid; splines that shoot beyond the image's range (apart: the slice's) are cut.

        Args:
            shape: Of the image.
            planes: Gives the image's planes along the first axis; only some are asked for at a time.
        """
        if shape == self.shape:
            return planes(slice(None))
        weights = self.weights(shape)
        across = weights[0]
        within = [axis for axis in range(3) if axis != self.apart]
        made = torch.zeros(())
        low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        step = max(1, AT_ONCE // (shape[1] * shape[2]))
        for first in range(0, shape[0], step):
            part = torch.from_numpy(np.ascontiguousarray(planes(slice(first, first + step))))
            least, most = part.amin(within, keepdim=True), part.amax(within, keepdim=True)
            for axis in sorted({1, 2} & set(within), key=lambda axis: self.shape[axis] / shape[axis]):
                part = _along(part, weights[axis], axis)
            if self.apart == 0:
                part.clamp_(least, most)
            else:
                low, high = torch.minimum(low, least), torch.maximum(high, most)
            if not made.ndim:
                made = torch.zeros((self.shape[0], *part.shape[1:]))
            if shape[0] == self.shape[0]:
                made[first : first + step] = part
            else:
                made.flatten(1).addmm_(across[:, first : first + step], part.flatten(1))
        if self.apart != 0:
            made.clamp_(low, high)
        if self.apart:
            made = _along(made, weights[self.apart], self.apart)
        return made.contiguous().numpy()


def _splines(shape: Triple, apart: int | None, order: int, across: int) -> Splines:
    i, j, k = (across if axis == apart else order for axis in range(3))
    return Splines(shape, (i, j, k), apart)


def _along(part: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
    if weights.shape[0] == weights.shape[1]:
        return part
    return weigh_along(part, weights, axis)


def grid_spacing(grid: Grid, turned: Geometry) -> tuple[float, float, float]:
    """Voxel edges on the plan's grid, of which slices that are not resampled keep theirs."""
    i, j, k = grid.spacing_mm
    return i, j, k if grid.resample_last else turned.spacing_mm[2]
