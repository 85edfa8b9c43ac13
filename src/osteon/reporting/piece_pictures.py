"""Numbered pieces in pictures: what matches has one colour on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import numpy as np

from osteon.core.instances import InstanceScores
from osteon.core.labels import Segmentation, Structure


def colour_pieces(
    prediction: Segmentation, reference: Segmentation, scores: Mapping[str, InstanceScores]
) -> tuple[Segmentation, Segmentation]:
    """Both with a structure for each piece; a predicted one without a match is none of the reference's.

    Args:
        prediction: An index map with each piece under its own value.
        reference: Likewise, on the same grid.
        scores: What matches, by structure; of those that are not in it the pieces stay one.
    """
    sides = prediction, reference
    shown = [np.zeros(side.array.shape, np.uint16) for side in sides]
    structures: list[Structure] = []

    def add(structure: Structure, *masks: np.ndarray) -> None:
        structures.append(structure.model_copy(update={"value": len(structures) + 1}))
        for array, mask in zip(shown, masks, strict=True):
            array[mask] = len(structures)

    for structure in prediction.structures:
        if structure.name not in scores:
            add(structure, *(side.mask(structure) for side in sides))
            continue
        found, truth = (side.pieces(structure) for side in sides)
        own = [int(number) for number in np.unique(truth) if number]
        unmatched = count(max(own, default=0) + 1)
        matched = {pair.predicted: pair.reference for pair in scores[structure.name].pairs}
        numbers = {int(n): matched.get(int(n)) or next(unmatched) for n in np.unique(found) if n}
        for number in sorted({*own, *numbers.values()}):
            predicted = [piece for piece, same in numbers.items() if same == number]
            add(structure.piece(number - 1), np.isin(found, predicted), truth == number)
    first, second = (Segmentation(a, s.geometry, tuple(structures)) for a, s in zip(shown, sides, strict=True))
    return first, second
