"""Resampling probabilities to a finer grid exactly, with all classes interpolated only where that can matter.

Weights of linear interpolation are positive and sum to 1, so where all voxels that a new one is made of have the same
best class, the new one has it too. Only where they disagree (about one voxel in a hundred) are all classes
interpolated. The same holds for a threshold on each structure's probability. The result is that of interpolating all
classes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from osteon.core.boxes import Box
from osteon.preparing.resample import apply_axis_weights, axis_weights

SLAB_VOXELS = 1 << 22
"""New voxels that are decided at a time."""
CHUNK_VOXELS = 1 << 16
"""New voxels for which all classes are held at a time."""
MIXED = -1

Reduce = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Taps:
    """The old voxels that each new one is interpolated from, along one axis.

    Attributes:
        first: `[new]` the first old voxel.
        count: Old voxels from there on that any new one takes, at most.
        places: `[new, count]` the old voxels; those without weight repeat the first.
        weights: `[new, count]` their weights, which sum to 1.
    """

    first: torch.Tensor
    count: int
    places: torch.Tensor
    weights: torch.Tensor


def make_taps(old: int, new: int) -> Taps:
    """Taps of linear interpolation from `old` to `new` voxels; see `resample.axis_weights`."""
    if old == new:
        alone = torch.arange(new)
        return Taps(alone, 1, alone[:, None], torch.ones(new, 1))
    return taps_from_weights(axis_weights(old, new))


def taps_from_weights(whole: torch.Tensor) -> Taps:
    """Taps of an interpolation by its weights `[new, old]`: none below 0, and each row sums to 1."""
    old = whole.shape[1]
    there = whole > 0
    first = there.int().argmax(1)
    count = int((there.int().sum(1)).max())
    places = first[:, None] + torch.arange(count)
    inside = places < old
    weights = whole.gather(1, places.clamp(max=old - 1)) * inside
    places = torch.where(weights > 0, places, first[:, None])
    return Taps(first, count, places, weights)


def uniform_code(best: torch.Tensor, along: Sequence[Taps]) -> torch.Tensor:
    """For each old voxel the class that all voxels from it on have, as far as any new voxel reaches; else `MIXED`.

    Args:
        best: `[i, j, k]` int16: the best class of each voxel.
        along: Taps of the three axes.
    """
    low, high = best, best
    for axis, one in enumerate(along):
        low, high = _window(low, axis, one.count, torch.minimum), _window(high, axis, one.count, torch.maximum)
    return torch.where(low == high, low, MIXED)


def _window(part: torch.Tensor, axis: int, count: int, reduce: Reduce) -> torch.Tensor:
    """Of each voxel and the `count` − 1 after it; at the end the last repeats."""
    result, length = part.clone(), part.shape[axis]
    for step in range(1, min(count, length)):
        before = result.narrow(axis, 0, length - step)  # the others have met the last already
        before.copy_(reduce(before, part.narrow(axis, step, length - step)))
    return result


def slabs(code: torch.Tensor, along: Sequence[Taps]) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """New voxels, a slab along the first axis at a time.

    Args:
        code: From `uniform_code`.
        along: Taps of the three axes.

    Yields:
        Number of the slab's first plane; its classes `[planes, j, k]`, `MIXED` among them; and where these lie in
        the new grid, `[n, 3]`.
    """
    new = [len(one.first) for one in along]
    planes = max(1, SLAB_VOXELS // (new[1] * new[2]))
    for start in range(0, new[0], planes):
        part = code.index_select(0, along[0].first[start : start + planes])
        part = part.index_select(1, along[1].first).index_select(2, along[2].first)
        where = torch.nonzero(part == MIXED)
        where[:, 0] += start
        yield start, part, where


def interpolate_at(probabilities: torch.Tensor, where: torch.Tensor, along: Sequence[Taps]) -> torch.Tensor:
    """`[class, n]` float32: all classes at some new voxels.

    Args:
        probabilities: `[class, i, j, k]` of any float type.
        where: `[n, 3]` new voxels.
        along: Taps of the three axes.
    """
    rows = [(one.places[where[:, axis]], one.weights[where[:, axis]]) for axis, one in enumerate(along)]
    total = torch.zeros((len(probabilities), len(where)))
    for i in range(along[0].count):
        for j in range(along[1].count):
            for k in range(along[2].count):
                weight = rows[0][1][:, i] * rows[1][1][:, j] * rows[2][1][:, k]
                there = probabilities[:, rows[0][0][:, i], rows[1][0][:, j], rows[2][0][:, k]]
                total.addcmul_(there.float(), weight)
    return total


def best_classes(
    probabilities: torch.Tensor, best: torch.Tensor, shape: Sequence[int], along: Sequence[Taps] | None = None
) -> Iterator[tuple[int, torch.Tensor]]:
    """The best class of every voxel of a finer (or any other) grid over the same extent.

    Args:
        probabilities: `[class, i, j, k]` probabilities.
        best: `[i, j, k]` int16: their argmax.
        shape: Of the new grid.
        along: Taps of the three axes; linear interpolation where left out.

    Yields:
        Number of a slab's first plane, and its classes `[planes, j, k]` int16. Ties go to the lower class.
    """
    along = along or [make_taps(old, new) for old, new in zip(best.shape, shape, strict=True)]
    for start, part, where in slabs(uniform_code(best, along), along):
        for some in where.split(CHUNK_VOXELS):
            i, j, k = some.T
            part[i - start, j, k] = argmax_output(interpolate_at(probabilities, some, along))
        yield start, part


def argmax_output(values: torch.Tensor) -> torch.Tensor:
    """`[...]` int16: the first output with the greatest value of `[output, ...]`; argmax takes twenty times as long."""
    most = values[0].float()
    best = torch.zeros(most.shape, dtype=torch.int16)
    for number, value in enumerate(values[1:], 1):
        single = value.float()
        best.masked_fill_(single > most, number)
        most = torch.maximum(most, single)
    return best


def above_threshold(
    values: torch.Tensor, shape: Sequence[int], along: Sequence[Taps] | None = None, *, threshold: float = 0.5
) -> Iterator[tuple[int, torch.Tensor]]:
    """Where values `[i, j, k]`, interpolated, are above a threshold: first plane, and `[planes, j, k]` bool.

    Args:
        values: Of one structure.
        shape: Of the new grid.
        along: Taps of the three axes; linear interpolation where left out.
        threshold: The value that stands for a probability of a half.
    """
    along = along or [make_taps(old, new) for old, new in zip(values.shape, shape, strict=True)]
    for start, part, where in slabs(uniform_code((values > threshold).to(torch.int16), along), along):
        for some in where.split(CHUNK_VOXELS):
            i, j, k = some.T
            part[i - start, j, k] = (interpolate_at(values[None], some, along)[0] > threshold).to(part.dtype)
        yield start, part == 1


def interpolate_box(
    probabilities: torch.Tensor, box: Box, shape: Sequence[int], weights: Sequence[torch.Tensor] | None = None
) -> torch.Tensor:
    """`[class, i, j, k]` float32: all classes in a box of the new grid `shape`.

    Args:
        probabilities: `[class, i, j, k]`.
        box: Of the new grid.
        shape: Of that.
        weights: `[new, old]` of the three axes; linear interpolation where left out.
    """
    weights = weights or [axis_weights(old, new) for old, new in zip(probabilities.shape[1:], shape, strict=True)]
    part = probabilities
    for axis, (first, stop) in enumerate(zip(box.first, box.stop, strict=True)):
        along = weights[axis][first:stop]
        there = torch.nonzero(along.any(0)).flatten()
        low, high = int(there[0]), int(there[-1]) + 1
        part = apply_axis_weights(part.narrow(1 + axis, low, high - low).float(), along[:, low:high], axis)
    return part.contiguous()
