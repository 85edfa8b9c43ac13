"""Bodies that a prediction puts on the wrong level of a row of look-alike structures, such as vertebrae."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box
from osteon.core.dice import LabelArray
from osteon.core.labels import Structure
from osteon.core.structure_boxes import crop_mask
from osteon.evaluating.components import label_components
from osteon.formats.labelmap import is_placeholder

SMALLEST = 0.3
"""A piece is a body where it covers this part of the reference it lies on: a rim that reaches a neighbour is none."""
SHORTEST = 3
"""Structures that make a row; two alike are rather a left and a right one."""

_VERTEBRA = re.compile(r"(.*(?:[^a-zA-Z])|)[CTLS](\d{1,2})")
_NUMBER = re.compile(r"\d+")


def find_sequences(structures: Sequence[Structure]) -> list[list[int]]:
    """Structures in a row, as positions: their names differ in one number alone (`rib_left_1`, `rib_left_2` …).

    The vertebrae C, T, L and S are one row. Names that programs make up (`label_3`) say nothing. A row has three
    members at least.
    """
    rows: dict[str, list[int]] = {}
    for number, structure in enumerate(structures):
        vertebra = _VERTEBRA.fullmatch(structure.name)
        if vertebra:
            key = f"{vertebra[1]}vertebra"
        elif len(_NUMBER.findall(structure.name)) == 1 and not is_placeholder(structure.name):
            key = _NUMBER.sub("#", structure.name)
        else:
            continue
        rows.setdefault(key, []).append(number)
    return [row for row in rows.values() if len(row) >= SHORTEST]


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
    for row in find_sequences(structures):
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
