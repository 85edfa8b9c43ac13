"""Resampling along the axes of a grid: linear, with a filter against aliasing where the grid gets coarser.

Both grids cover the same extent of the world (edge to edge, not centre to centre), so sheared and oblique axes keep
their directions and only the number of voxels along each changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from osteon.core.boxes import bounding_box

CHUNK_VOXELS = 1 << 22
"""Voxels of an image that are held as floats at a time."""

Slices = tuple[slice, slice, slice]


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
        array = apply_axis_weights(array, weights, axis)
    return array.contiguous()


def apply_axis_weights(array: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
    """`[..., i, j, k]` with the weights `[new, old]` along axis 0, 1 or 2 of the three; nothing is turned for it."""
    if axis == 2:
        return torch.matmul(array, weights.T)
    if axis == 1:
        return torch.matmul(weights, array)
    return torch.matmul(weights, array.flatten(-2)).unflatten(-1, array.shape[-2:])


def resample_image(array: npt.NDArray[np.generic], shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Resample `[channel, i, j, k]` of any type to `[channel, *shape]` float32, an array of its own.

    Of the image only some planes are held as floats: those across the axis along which it lies outermost in memory.
    """
    made = np.zeros((len(array), *shape), dtype=np.float32)
    for channel, there in zip(array, made, strict=True):
        _resample_channel(channel, torch.from_numpy(there))
    return made


def _resample_channel(channel: npt.NDArray[np.generic], made: torch.Tensor) -> None:
    """Add a channel `[i, j, k]`, resampled, to zeros."""
    outer = max(range(3), key=lambda axis: (abs(channel.strides[axis]), -axis))
    inner = sorted({0, 1, 2} - {outer}, key=lambda axis: made.shape[axis] / channel.shape[axis])  # what shrinks first
    count, wanted = channel.shape[outer], made.shape[outer]
    across = axis_weights(count, wanted)
    step = max(1, CHUNK_VOXELS * count // channel.size)
    for first in range(0, count, step):
        planes = np.moveaxis(channel, outer, 0)[first : first + step]
        part = torch.from_numpy(np.ascontiguousarray(np.moveaxis(planes, 0, outer), dtype=np.float32))
        for axis in inner:
            if part.shape[axis] != made.shape[axis]:
                part = apply_axis_weights(part, axis_weights(part.shape[axis], made.shape[axis]), axis)
        if count == wanted:
            made.narrow(outer, first, part.shape[outer]).copy_(part)
            continue
        weights = across[:, first : first + part.shape[outer]]
        new = _span((weights > 0).any(1))
        made.narrow(outer, new.start, new.stop - new.start).add_(
            apply_axis_weights(part, weights[new].contiguous(), outer)
        )


def resample_index_map(labels: npt.NDArray[np.integer], shape: tuple[int, int, int]) -> npt.NDArray[np.integer]:
    """Resample an index map `[i, j, k]`: each value's mask linearly, then the value with the largest share.

    Only the box around each value is resampled, so many small structures cost little, and some planes at a time, so
    that no shares of the whole are held. Ties go to the lower value.
    """
    if labels.shape == shape:
        return labels
    weights = [axis_weights(old, new) for old, new in zip(labels.shape, shape, strict=True)]
    winner = np.zeros(shape, dtype=labels.dtype)
    places = [(value, place) for value, place in enumerate(ndimage.find_objects(labels), start=1) if place is not None]
    for planes in _plane_chunks(shape):
        own = winner[planes]
        best, total = torch.zeros(own.shape), torch.zeros(own.shape)
        for value, place in places:
            made = _resample_mask(partial(_of_value, labels, value), place, weights, planes)
            if made is None:
                continue
            share, new = made
            total[new] += share
            better = share > best[new]
            best[new] = torch.where(better, share, best[new])
            own[new][better.numpy()] = value
        own[(total.neg_().add_(1) >= best).numpy()] = 0  # the background's share
    return winner


def resample_multi_hot(labels: npt.NDArray[np.integer], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Resample multi-hot `[structure, i, j, k]`: each mask linearly, then 1 where its share is above a half."""
    weights = [axis_weights(old, new) for old, new in zip(labels.shape[1:], shape, strict=True)]
    result = np.zeros((len(labels), *shape), dtype=np.uint8)
    for mask, own in zip(labels, result, strict=True):
        box = bounding_box(mask)
        if box is None:
            continue
        for planes in _plane_chunks(shape):
            made = _resample_mask(partial(_above_0, mask), box.slices, weights, planes)
            if made is not None:
                own[planes][made[1]] = (made[0] > 0.5).numpy()
    return result


def _of_value(labels: npt.NDArray[np.integer], value: int, part: Slices) -> npt.NDArray[np.bool_]:
    return np.asarray(labels[part] == value)


def _above_0(mask: npt.NDArray[np.integer], part: Slices) -> npt.NDArray[np.bool_]:
    return np.asarray(mask[part] > 0)


def _plane_chunks(shape: Sequence[int]) -> Iterator[slice]:
    """All planes of a grid along its first axis, some at a time."""
    step = max(1, CHUNK_VOXELS // (shape[1] * shape[2]))
    return (slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step))


def _resample_mask(
    mask: Callable[[Slices], npt.NDArray[np.bool_]], place: Slices, weights: Sequence[torch.Tensor], planes: slice
) -> tuple[torch.Tensor, Slices] | None:
    """A mask's share of each new voxel in some planes, and the box of these that it can reach; None: none of them.

    Args:
        mask: Gives a box of it.
        place: The smallest box around it.
        weights: `[new, old]` of the three axes.
        planes: Of the new grid.
    """
    first = weights[0][planes, place[0]]
    reached = first > 0
    if not reached.any():
        return None
    spans, old = [_span(reached.any(1))], _span(reached.any(0))
    own = slice(place[0].start + old.start, place[0].start + old.stop)
    filled = torch.from_numpy(np.ascontiguousarray(mask((own, *place[1:]))))
    along = [first[:, old], *(weight[:, span] for weight, span in zip(weights[1:], place[1:], strict=True))]
    spans += [_span((weight > 0).any(1)) for weight in along[1:]]
    for axis, (weight, span) in enumerate(zip(along, spans, strict=True)):
        filled = torch.matmul(filled.movedim(axis, -1).float(), weight[span].T).movedim(-1, axis)
    return filled, (spans[0], spans[1], spans[2])


def _span(occupied: torch.Tensor) -> slice:
    where = torch.nonzero(occupied).flatten()
    return slice(int(where[0]), int(where[-1]) + 1)
