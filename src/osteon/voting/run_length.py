"""Masks as stretches of voxels, and the stretches in which several masks do not change.

A vote depends on who says yes at a voxel, and that changes only where some mask begins or ends. So fifty masks of a
radiograph are a few ten thousand stretches, and neither counting votes nor estimating how good each voter is needs an
array of the picture's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from osteon.core.labels import BACKGROUND, Segmentation

MOST_EDGES = 1 << 18
"""Beginnings and ends that are looked at together: with fifty masks the working memory stays near 50 MB."""

Numbers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RunLengthMask:
    """A mask of a flattened array: the voxels from `starts` on and before `stops`, ascending and apart.

    Attributes:
        starts: `[n]` int64, from 0.
        stops: `[n]` int64, each above its start and at most the next start.
    """

    starts: Numbers
    stops: Numbers

    def within(self, first: int, stop: int) -> RunLengthMask:
        """The part from voxel `first` on and before `stop`."""
        low = np.searchsorted(self.stops, first, side="right")
        high = np.searchsorted(self.starts, stop, side="left")
        return RunLengthMask(np.maximum(self.starts[low:high], first), np.minimum(self.stops[low:high], stop))

    @property
    def count(self) -> int:
        """Voxels."""
        return int((self.stops - self.starts).sum())

    def merge_touching(self) -> RunLengthMask:
        """The same voxels in the fewest stretches."""
        if not len(self.starts):
            return self
        apart = self.starts[1:] > self.stops[:-1]
        return RunLengthMask(self.starts[np.r_[True, apart]], self.stops[np.r_[apart, True]])

    def mask(self, shape: Sequence[int]) -> Bits:
        """The mask as an array of this shape."""
        change = np.zeros(int(np.prod(shape)) + 1, dtype=np.int8)
        change[self.starts] += 1
        change[self.stops] -= 1
        return cast(Bits, np.cumsum(change[:-1], dtype=np.int8).astype(bool).reshape(shape))


EMPTY = RunLengthMask(np.zeros(0, np.int64), np.zeros(0, np.int64))


def encode_mask(mask: npt.NDArray[np.generic]) -> RunLengthMask:
    """The stretches of a mask of any shape, flattened with the last axis fastest; every value but 0 is inside."""
    flat = np.zeros(mask.size + 2, dtype=bool)
    flat[1:-1] = np.asarray(mask).reshape(-1) != 0
    edges = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2)
    return RunLengthMask(edges[:, 0].copy(), edges[:, 1].copy())


def encode_segmentation(segmentation: Segmentation) -> dict[str, RunLengthMask]:
    """The stretches of each structure, by its name; one without a voxel is left out."""
    if segmentation.overlapping:
        pairs = zip(segmentation.structures, segmentation.array, strict=True)
        found = {structure.name: encode_mask(layer) for structure, layer in pairs}
        return {name: runs for name, runs in found.items() if len(runs.starts)}
    flat = segmentation.array.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, stops = np.r_[0, edges], np.r_[edges, len(flat)]
    values = flat[starts]
    names = {structure.value: structure.name for structure in segmentation.structures}
    parts = {int(value): values == value for value in np.unique(values) if value != BACKGROUND}
    return {names[value]: RunLengthMask(starts[part], stops[part]) for value, part in parts.items()}


def intervals(members: Sequence[RunLengthMask]) -> tuple[Numbers, Bits]:
    """The stretches in which no mask changes.

    Args:
        members: One mask each.

    Returns:
        `[n + 1]` edges: stretch k reaches from edge k to edge k + 1; and `[member, n]`: who has it inside. Before the
        first edge and behind the last one nobody has.
    """
    edges = np.unique(np.concatenate([EMPTY.starts, *(part for runs in members for part in (runs.starts, runs.stops))]))
    inside = np.zeros((len(members), max(len(edges) - 1, 0)), dtype=bool)
    for row, runs in zip(inside, members, strict=True):
        change = np.zeros(len(edges), dtype=np.int8)
        change[np.searchsorted(edges, runs.starts)] += 1
        change[np.searchsorted(edges, runs.stops)] -= 1
        row[:] = np.cumsum(change[:-1], dtype=np.int8)
    return edges, inside


def bands(members: Sequence[RunLengthMask], voxels: int, *, most: int = MOST_EDGES) -> Iterator[tuple[int, int]]:
    """Parts of an array, first and stop, in each of which the masks have about `most` edges."""
    edges = 2 * sum(len(runs.starts) for runs in members)
    count = min(max(1, -(-edges // most)), max(voxels, 1))
    for number in range(count):
        yield number * voxels // count, (number + 1) * voxels // count
