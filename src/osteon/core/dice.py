"""Counting the voxels that two segmentations share, and the Dice coefficient of the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import bounding_box
from osteon.core.labels import BACKGROUND, Structure

LabelArray = npt.NDArray[np.integer] | npt.NDArray[np.bool_]

SLAB_VOXELS = 1 << 21
"""Voxels that are counted at a time: the working memory then stays below about 50 MB and in the processor's cache."""
_BYTES = 256
"""Values of a byte: maps of bytes are counted without a look at what the values mean."""


@dataclass(frozen=True)
class OverlapCounts:
    """Voxels of one structure in the prediction, in the reference, and in both."""

    prediction: int
    reference: int
    intersection: int


def count_overlap(
    prediction: LabelArray, reference: LabelArray, structures: Sequence[Structure]
) -> dict[str, OverlapCounts]:
    """Count each structure's voxels in one pass over both arrays.

    Args:
        prediction: An index map `[i, j, k]` of structure values, or multi-hot `[structure, i, j, k]` in the order of
            `structures`; where multi-hot, every value above 0 counts as 1.
        reference: An array of the same kind and shape, on the same grid.
        structures: What to count. Other values of an index map count as background.

    Returns:
        The counts by structure name, in the order of `structures`.

    Raises:
        ValueError: The arrays differ in shape, or are neither of the two kinds.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} differ in shape")
    if reference.ndim == 4 and len(reference) == len(structures):
        pairs = zip(structures, prediction, reference, strict=True)
        return {structure.name: _count_masks(p > 0, r > 0) for structure, p, r in pairs}
    if reference.ndim == 3:
        return _count_index_maps(prediction, reference, structures)
    raise ValueError(f"expected [i, j, k] or [{len(structures)} structures, i, j, k], not {reference.shape}")


def dice(counts: OverlapCounts) -> float | None:
    """The Dice coefficient 2·|P∩R| / (|P| + |R|) (Dice, Ecology 26, 1945).

    Returns:
        0 … 1. Exactly one of the two empty gives 0. Both empty gives None: there was nothing to find and nothing was
        found, so such a case is counted apart and enters no mean.
    """
    total = counts.prediction + counts.reference
    return 2 * counts.intersection / total if total else None


def _count_masks(prediction: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_]) -> OverlapCounts:
    return OverlapCounts(
        int(np.count_nonzero(prediction)),
        int(np.count_nonzero(reference)),
        int(np.count_nonzero(prediction & reference)),
    )


def _count_index_maps(
    prediction: LabelArray, reference: LabelArray, structures: Sequence[Structure]
) -> dict[str, OverlapCounts]:
    """One histogram of the joint index (position in the prediction, position in the reference)."""
    boxes = [box for box in (bounding_box(prediction), bounding_box(reference)) if box is not None]
    if not boxes:
        return {structure.name: OverlapCounts(0, 0, 0) for structure in structures}
    inside = boxes[0].union(boxes[-1]).slices
    # Walk both arrays along the axis that is slowest in memory: scanners' files come in Fortran order.
    order = np.argsort(reference.strides)[::-1]
    prediction, reference = prediction[inside].transpose(order), reference[inside].transpose(order)
    values = np.sort(np.array([structure.value for structure in structures], dtype=np.int64))
    bytes_alone = prediction.dtype == reference.dtype == np.uint8
    size = _BYTES if bytes_alone else len(values) + 1
    joint = np.zeros(size * size, dtype=np.int64)
    thickness = max(1, SLAB_VOXELS // reference[:1].size)
    for start in range(0, len(reference), thickness):
        p, r = prediction[start : start + thickness], reference[start : start + thickness]
        if bytes_alone:
            both = p.astype(np.uint16) * np.uint16(_BYTES) + r
            index = both[both != 0]
        else:
            marked = (p != BACKGROUND) | (r != BACKGROUND)
            index = _positions(p[marked], values) * size + _positions(r[marked], values)
        joint += np.bincount(index, minlength=size * size)
    table = joint.reshape(size, size)
    counts = {}
    for structure in structures:
        row = structure.value if bytes_alone else int(np.searchsorted(values, structure.value)) + 1
        if row >= size:
            counts[structure.name] = OverlapCounts(0, 0, 0)  # no byte holds its value
            continue
        counts[structure.name] = OverlapCounts(int(table[row].sum()), int(table[:, row].sum()), int(table[row, row]))
    return counts


def _positions(labels: LabelArray, values: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """1 + the position of each label in the sorted `values`, 0 where it is not among them."""
    if not len(values):
        return np.zeros(labels.shape, dtype=np.intp)
    found = np.searchsorted(values, labels)
    known = values[np.minimum(found, len(values) - 1)] == labels
    return np.asarray(np.where(known, found + 1, 0), dtype=np.intp)
