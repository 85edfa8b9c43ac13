"""Numbered pieces as viewers show them: each as an entry of its own, with a colour near its structure's and a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from osteon.core.boxes import Box, Index3
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation, Structure, piece_colour
from osteon.formats.labelmap import value_counts


@dataclass(frozen=True)
class PieceEntry:
    """A piece as an entry of a viewer's list.

    Attributes:
        structure: The name of the structure that it is a piece of.
        value: In the label map.
        voxels: How many it has.
        at: One of its voxels, near its middle.
    """

    structure: str
    value: int
    voxels: int
    at: Index3

    def to_dict(self, locate: Callable[[Index3], Sequence[float]]) -> dict[str, Any]:
        """For a scene's record, with `at` as `locate` has it."""
        return asdict(self) | {"at": [round(float(value), 3) for value in locate(self.at)]}


def split_pieces(segmentation: Segmentation) -> tuple[Segmentation, dict[str, PieceEntry]]:
    """The same array with a structure for each piece that is there, and what is known of each, by its name.

    A structure of which no piece is there stays as it is.
    """
    if segmentation.overlapping or not any(structure.instances for structure in segmentation.structures):
        return segmentation, {}
    counts, structures, entries = value_counts(segmentation.array), list[Structure](), dict[str, PieceEntry]()
    for structure in segmentation.structures:
        own = structure.values
        values = [value for value in counts if value in own] if structure.instances else []
        boxes = bounding_boxes(segmentation.array, values)
        for value, box in zip(values, boxes, strict=True):
            number = value - structure.value + 1
            name = piece_name(structure, value)
            structures.append(Structure(name=name, value=value, colour=piece_colour(structure.colour, number)))
            if box is not None:
                entries[name] = PieceEntry(structure.name, value, counts[value], _middle(segmentation, value, box))
        if not values:
            structures.append(structure)
    return replace(segmentation, structures=tuple(structures)), entries


def piece_name(structure: Structure, value: int) -> str:
    """`pelvis, piece 2`: numbers count from 1."""
    return f"{structure.name}, piece {value - structure.value + 1}"


def _middle(segmentation: Segmentation, value: int, box: Box) -> Index3:
    """The voxel of a piece that is nearest to its middle, in the plane that halves it along its longest axis."""
    inside = segmentation.array[box.slices] == value
    axis = int(np.argmax(inside.shape))
    along = np.cumsum(inside.sum(axis=tuple(other for other in range(3) if other != axis)))
    plane = int(np.searchsorted(along, along[-1] / 2))
    there = np.argwhere(inside.take([plane], axis))
    nearest = there[np.square(there - there.mean(0)).sum(1).argmin()]
    nearest[axis] += plane
    i, j, k = (np.array(box.first) + nearest).tolist()
    return i, j, k
