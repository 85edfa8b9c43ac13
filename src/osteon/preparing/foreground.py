"""Where structures lie in a prepared case: what patches are drawn around in training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from osteon.core.random_streams import item_generator
from osteon.core.voxel_sampling import plane_counts, voxels_at_ranks

FOREGROUND_SAMPLES = 10_000
"""Voxels of each structure that the foreground index keeps, drawn without replacement."""


def foreground_index(labels: npt.NDArray[np.integer], structures: Iterable[int]) -> npt.NDArray[np.int32]:
    """Where these structures lie: `[n, 4]` number from 0, i, j, k, sorted by number; FOREGROUND_SAMPLES of each."""
    rng = item_generator(0)
    parts = []
    for number in sorted(structures):
        mask, value = (labels[number], None) if labels.ndim == 4 else (labels, number + 1)
        counts = plane_counts(mask, value)
        count = int(counts.sum())
        ranks = np.arange(min(count, FOREGROUND_SAMPLES))
        if count > FOREGROUND_SAMPLES:
            ranks = np.sort(rng.choice(count, FOREGROUND_SAMPLES, replace=False))
        where = voxels_at_ranks(mask, counts, ranks, value).astype(np.int32)
        parts.append(np.column_stack((np.full(len(where), number, dtype=np.int32), where)))
    return np.concatenate(parts)
