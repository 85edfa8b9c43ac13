"""Bodies that a prediction puts on the wrong level of a row of look-alike structures, such as vertebrae."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box
from osteon.core.dice import LabelArray
from osteon.core.labels import Structure
from osteon.core.structure_boxes import crop_mask
from osteon.dataset.name_rows import find_name_rows
from osteon.evaluating.components import label_components

SMALLEST = 0.3
"""A piece is a body where it covers this part of the reference it lies on: a rim that reaches a neighbour is none."""


def count_wrong_levels(
    prediction: LabelArray,
    reference: LabelArray,
    structures: Sequence[Structure],
    boxes: Sequence[Box | None],
    voxels: Mapping[int, int],
) -> dict[int, int]:
    """For each structure in a row, the predicted bodies of its name that lie on another's reference.

    A connected piece of the prediction counts where it shares more voxels with another structure of the row than with
    its own, and these are a part of `SMALLEST` or more of the other's reference.

    Args:
        prediction: An index map `[i, j, k]`, or multi-hot `[structure, i, j, k]`.
        reference: Of either kind, on the same grid.
        structures: In the order of multi-hot arrays.
        boxes: Of each structure in the prediction; None where it is empty.
        voxels: Of each annotated structure in the reference, by position; others are unknown and stay out.
    """
    counts = {}
    for row in find_name_rows([structure.name for structure in structures]):
        for number in row:
            box = boxes[number]
            others = {other: voxels[other] for other in row if other != number and voxels.get(other)}
            if number in voxels:
                counts[number] = 0 if box is None else _wrong(prediction, reference, structures, number, others, box)
    return counts


def _wrong(
    prediction: LabelArray,
    reference: LabelArray,
    structures: Sequence[Structure],
    number: int,
    voxels: Mapping[int, int],
    box: Box,
) -> int:
    """Predicted bodies of one structure that lie on another of `voxels`, which says how large the others are."""
    found = crop_mask(prediction, structures, number, box)
    enough = {
        other: SMALLEST * size
        for other, size in voxels.items()
        if np.count_nonzero(found & crop_mask(reference, structures, other, box)) >= SMALLEST * size
    }
    if not enough:
        return 0
    pieces, count = label_components(found)

    def shared(other: int) -> npt.NDArray[np.int64]:
        return np.bincount(pieces[crop_mask(reference, structures, other, box)], minlength=count + 1)[1:]

    own = shared(number)
    overlaps = [(shared(other), least) for other, least in enough.items()]
    return int(np.any([(share > own) & (share >= least) for share, least in overlaps], axis=0).sum())
