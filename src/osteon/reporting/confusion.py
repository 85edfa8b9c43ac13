"""Which structure was taken for which: voxels of each reference by what was predicted there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.labels import Segmentation, Structure

MIN_SHARE = 0.005
"""Part of a structure's voxels below which a mix-up is not listed."""


@dataclass(frozen=True)
class MixUp:
    """A part of one structure's voxels that was predicted as another, over all cases.

    Attributes:
        structure: Of the reference.
        predicted: Of the prediction.
        share: Part of the structure's voxels.
        cases: Cases in which it happened to at least `MIN_SHARE` of the structure.
    """

    structure: str
    predicted: str
    share: float
    cases: int


@dataclass
class Confusion:
    """Counts over cases; see `add`.

    Attributes:
        names: Of the structures.
        counts: `[reference, prediction]` voxels; the last column is the background alone.
        happened: `[reference, prediction]` cases.
        sizes: Voxels of each reference.
    """

    names: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    happened: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, structures: Sequence[Structure]) -> Confusion:
        """Without a case."""
        n = len(structures)
        empty = np.zeros((n, n + 1), dtype=np.int64)
        return cls(tuple(s.name for s in structures), empty, empty.copy(), np.zeros(n, dtype=np.int64))

    def add(self, table: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
        """Add what `count_confusion` says of a case: its table `[n, n + 1]` and sizes `[n]`, in voxels."""
        self.counts += table
        self.sizes += sizes
        self.happened += table >= np.maximum(1, MIN_SHARE * sizes)[:, None]

    def mix_ups(self) -> list[MixUp]:
        """Those of at least `MIN_SHARE` of a structure, the largest first; the background is no mix-up."""
        found = [
            MixUp(name, other, float(self.counts[r, p] / self.sizes[r]), int(self.happened[r, p]))
            for r, name in enumerate(self.names)
            for p, other in enumerate(self.names)
            if r != p and self.sizes[r] and self.counts[r, p] >= MIN_SHARE * self.sizes[r]
        ]
        return sorted(found, key=lambda mix_up: -mix_up.share)


def count_confusion(
    prediction: Segmentation, reference: Segmentation, structures: Sequence[Structure]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Voxels of each structure's reference by what was predicted there, and how many each has.

    Where structures overlap, a voxel counts for another one where that was predicted and is not in the reference: what
    two structures share by nature is no mix-up.

    Returns:
        `[reference, prediction + 1]`, the last column for voxels at which nothing was predicted; and `[reference]`.
    """
    n = len(structures)
    table = np.zeros((n, n + 1), dtype=np.int64)
    sizes = np.zeros(n, dtype=np.int64)
    if not (prediction.overlapping or reference.overlapping):
        values = np.array([s.value for s in structures])
        order = np.argsort(values)
        there = reference.array != 0
        rows = _positions(reference.array[there], values, order, n)
        columns = _positions(prediction.array[there], values, order, n)
        joint = np.bincount(rows * (n + 1) + columns, minlength=(n + 1) * (n + 1)).reshape(n + 1, n + 1)
        return joint[:n].astype(np.int64), joint[:n].sum(1)
    true = {s.name: reference.mask(s) for s in structures}
    found = {s.name: prediction.mask(s) for s in structures}
    nothing = ~np.logical_or.reduce(list(found.values()))
    for r, structure in enumerate(structures):
        mask = true[structure.name]
        sizes[r] = np.count_nonzero(mask)
        if not sizes[r]:
            continue
        for p, other in enumerate(structures):
            inside = mask & found[other.name] if p == r else mask & found[other.name] & ~true[other.name]
            table[r, p] = np.count_nonzero(inside)
        table[r, n] = np.count_nonzero(mask & nothing)
    return table, sizes


def _positions(
    labels: npt.NDArray[np.integer], values: npt.NDArray[np.int64], order: npt.NDArray[np.intp], nothing: int
) -> npt.NDArray[np.intp]:
    """The place of each label among `values`; `nothing` for the others."""
    found = np.searchsorted(values, labels, sorter=order)
    place = order[np.minimum(found, len(values) - 1)]
    return np.where(values[place] == labels, place, nothing)
