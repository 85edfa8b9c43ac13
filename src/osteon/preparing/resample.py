"""Resampling along the axes of a grid: linear, with a filter against aliasing where the grid gets coarser.

Both grids cover the same extent of the world (edge to edge, not centre to centre), so sheared and oblique axes keep
their directions and only the number of voxels along each changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch


def resampled_shape(
    shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]
) -> tuple[int, int, int]:
    """The number of voxels that covers the same extent at another spacing; at least one along each axis."""
    i, j, k = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True))
    return i, j, k


def axis_weights(count: int, wanted: int) -> torch.Tensor:
    """`[wanted, count]` weights of linear interpolation between voxel centres.

    Where `wanted` is smaller the triangle is widened by the ratio, so that nothing aliases. Rows sum to 1: beyond the
    outermost centres the outermost voxel is repeated, and a widened triangle that reaches over the edge is cut there.
    """
    ratio = count / wanted
    width = max(1.0, ratio)
    place = (torch.arange(wanted, dtype=torch.float64) + 0.5) * ratio - 0.5
    if width == 1.0:
        place = place.clamp(0, count - 1)
    weights = (1 - (torch.arange(count, dtype=torch.float64) - place[:, None]).abs() / width).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).float()


def resample(array: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Resample the last three axes of a float tensor `[..., i, j, k]` to `shape`, one axis after the other."""
    order = sorted(range(3), key=lambda axis: shape[axis] / array.shape[axis - 3])  # what shrinks goes first
    for axis in order:
        count = array.shape[axis - 3]
        if count == shape[axis]:
            continue
        weights = axis_weights(count, shape[axis]).to(array)
        array = weigh_along(array, weights, axis)
    return array.contiguous()


def weigh_along(array: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
    """`[..., i, j, k]` with the weights `[new, old]` along axis 0, 1 or 2 of the three; nothing is turned for it."""
    if axis == 2:
        return torch.matmul(array, weights.T)
    if axis == 1:
        return torch.matmul(weights, array)
    return torch.matmul(weights, array.flatten(-2)).unflatten(-1, array.shape[-2:])


def resample_image(array: npt.NDArray[np.floating], shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Resample `[channel, i, j, k]` to `[channel, *shape]` float32."""
    if array.shape[1:] == shape:
        return np.asarray(array, dtype=np.float32)
    image = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return torch.stack([resample(channel, shape) for channel in image]).numpy()


def resample_index_map(labels: npt.NDArray[np.integer], shape: tuple[int, int, int]) -> npt.NDArray[np.integer]:
    """Resample an index map `[i, j, k]`: each value's mask linearly, then the value with the largest share.

    Only the box around each value is resampled, so many small structures cost little. Ties go to the lower value.
    """
    if labels.shape == shape:
        return labels
    best = torch.zeros(shape)
    winner = torch.zeros(shape, dtype=torch.int64)
    total = torch.zeros(shape)
    for value in np.unique(labels):
        if value == 0:
            continue
        mask = labels == value
        share, box = _resample_mask(mask, shape)
        total[box] += share
        better = share > best[box]
        best[box] = torch.where(better, share, best[box])
        winner[box] = torch.where(better, int(value), winner[box])
    winner[1 - total >= best] = 0  # the background's share
    return winner.numpy().astype(labels.dtype)


def resample_multi_hot(labels: npt.NDArray[np.integer], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Resample multi-hot `[structure, i, j, k]`: each mask linearly, then 1 where its share is above a half."""
    made = np.zeros((len(labels), *shape), dtype=np.uint8)
    for number, mask in enumerate(labels):
        if mask.any():
            share, box = _resample_mask(mask > 0, shape)
            made[number][box] = (share > 0.5).numpy()
    return made


def _resample_mask(
    mask: npt.NDArray[np.bool_], shape: tuple[int, int, int]
) -> tuple[torch.Tensor, tuple[slice, slice, slice]]:
    """A mask's share of each new voxel, within the box of new voxels that it can reach."""
    filled = torch.from_numpy(mask)
    for axis in range(3):
        weights = axis_weights(mask.shape[axis], shape[axis])
        others = tuple(a for a in range(3) if a != axis)
        occupied = torch.from_numpy(mask.any(axis=others))
        old = _span(occupied)
        new = _span((weights[:, old] > 0).any(1))
        part = filled.movedim(axis, -1)[..., old].float()
        filled = torch.matmul(part, weights[new, old].T).movedim(-1, axis)
        if axis == 0:
            box: tuple[slice, ...] = ()
        box = (*box, new)
    return filled, (box[0], box[1], box[2])


def _span(occupied: torch.Tensor) -> slice:
    where = torch.nonzero(occupied).flatten()
    return slice(int(where[0]), int(where[-1]) + 1)
