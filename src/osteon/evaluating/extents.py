"""Where each structure lies in an array: the boxes of all of them in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.boxes import Box, box_of
from osteon.core.labels import Structure
from osteon.core.overlap import Labels

_HIGHEST = np.iinfo(np.uint16).max
"""Above it a list with a place for each value would be too long: the values are numbered first."""


def find_boxes(labels: Labels, structures: Sequence[Structure]) -> list[Box | None]:
    """The smallest box around each structure, in the order of `structures`; None where it has no voxel.

    Args:
        labels: An index map `[i, j, k]` of structure values, or multi-hot `[structure, i, j, k]` in the order of
            `structures`, where every value above 0 counts.
        structures: What to look for. Other values of an index map count as background.
    """
    if labels.ndim == 4:
        return [box_of(layer) for layer in labels]
    around = box_of(labels)
    if around is None or not structures:
        return [None] * len(structures)
    inside = labels[around.slices]
    values = [structure.value for structure in structures]
    if max(values, default=0) > _HIGHEST or int(inside.max()) > _HIGHEST or inside.dtype.kind not in "ui":
        inside = _numbered(inside, values)
        values = list(range(1, len(values) + 1))
    found = ndimage.find_objects(inside)
    return [_box(found[v - 1], around.first) if v <= len(found) and found[v - 1] else None for v in values]


def crop_mask(labels: Labels, structures: Sequence[Structure], number: int, box: Box) -> npt.NDArray[np.bool_]:
    """`[i, j, k]` bool: the voxels of `structures[number]` inside the box, of an index map or a multi-hot array."""
    if labels.ndim == 4:
        return np.asarray(labels[number][box.slices] > 0)
    return np.asarray(labels[box.slices] == structures[number].value)


def _numbered(labels: Labels, values: Sequence[int]) -> npt.NDArray[np.uint16]:
    """The labels as 1, 2, 3 … in the order of `values`, 0 elsewhere."""
    order = np.argsort(values)
    ascending = np.asarray(values, dtype=np.int64)[order]
    place = np.minimum(np.searchsorted(ascending, labels), len(values) - 1)
    return np.where(ascending[place] == labels, order[place] + 1, 0).astype(np.uint16)


def _box(where: tuple[slice, ...], first: tuple[int, int, int]) -> Box:
    i, j, k = ((a + s.start, a + s.stop) for a, s in zip(first, where, strict=True))
    return Box((i[0], j[0], k[0]), (i[1], j[1], k[1]))
