"""Voxels of a mask by their rank, without a list of all of them, which takes 8 or 24 bytes for each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def plane_counts(mask: npt.NDArray[np.generic], value: int | None = None) -> npt.NDArray[np.int64]:
    """`[i]`: how many voxels of each plane `mask[i]` are not 0, or are `value`."""
    counts = [np.count_nonzero(plane if value is None else plane == value) for plane in mask]
    return np.array(counts, dtype=np.int64)


def voxels_at_ranks(
    mask: npt.NDArray[np.generic], counts: npt.NDArray[np.int64], ranks: npt.NDArray[np.int64], value: int | None = None
) -> npt.NDArray[np.int64]:
    """`[n, 3]` i, j, k of the voxels with these ranks, counted from 0 as `np.argwhere` lists them.

    Args:
        mask: `[i, j, k]`.
        counts: Of its planes, from `plane_counts`.
        ranks: In ascending order.
        value: As for `plane_counts`.
    """
    before = np.cumsum(counts) - counts
    found = [np.empty((0, 3), dtype=np.int64)]
    planes = np.searchsorted(before + counts, ranks, side="right")
    for i in np.unique(planes):
        where = np.argwhere(mask[i] if value is None else mask[i] == value)[ranks[planes == i] - before[i]]
        found.append(np.column_stack((np.full(len(where), i), where)))
    return np.concatenate(found)
