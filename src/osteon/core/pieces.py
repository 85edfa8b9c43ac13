"""The numbered pieces of a structure (`Structure.instances`) as structures of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osteon.core.labels import Segmentation, Structure


def without_pieces(structure: Structure) -> Structure:
    """The structure where all of its pieces are one."""
    return structure.model_copy(update={"instances": None, "last_value": None})


def split_pieces(segmentation: Segmentation) -> tuple[Segmentation, tuple[Structure, ...]]:
    """The segmentation with a structure for each numbered piece that it holds, and the structure that each is of.

    A structure without a piece here stays, without voxels, so that it can be told from one that nobody knows.
    """
    found: list[tuple[Structure, Structure]] = []
    for structure in segmentation.structures:
        numbered = structure.instances and not segmentation.overlapping
        values = np.unique(segmentation.array[segmentation.mask(structure)]) if numbered else ()
        own = [structure.piece(int(value) - structure.value) for value in values]
        own = own or [without_pieces(structure)]
        found += [(piece, structure) for piece in own]
    pieces, wholes = zip(*found, strict=True) if found else ((), ())
    return Segmentation(segmentation.array, segmentation.geometry, pieces), wholes


def describe_merging(structures: Sequence[Structure]) -> list[str]:
    """A line that says whose numbered pieces become one where only classes are known; none where nothing has pieces."""
    names = [structure.name for structure in structures if structure.instances]
    return [f"{', '.join(names)}: numbered pieces are merged, each structure is one"] if names else []
