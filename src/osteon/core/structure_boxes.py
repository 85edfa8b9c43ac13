"""Where each structure lies in an array: the boxes of all of them in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, bounding_box
from osteon.core.dice import LabelArray
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation, Structure


def find_boxes(labels: LabelArray, structures: Sequence[Structure]) -> list[Box | None]:
    """The smallest box around each structure, in the order of `structures`; None where it has no voxel.

    Args:
        labels: An index map `[i, j, k]` of structure values, or multi-hot `[structure, i, j, k]` in the order of
            `structures`, where every value above 0 counts.
        structures: What to look for. Other values of an index map count as background.
    """
    if labels.ndim == 4:
        return [bounding_box(layer) for layer in labels]
    return bounding_boxes(labels, [structure.value for structure in structures])


def crop_mask(labels: LabelArray, structures: Sequence[Structure], number: int, box: Box) -> npt.NDArray[np.bool_]:
    """`[i, j, k]` bool: the voxels of `structures[number]` inside the box, of an index map or a multi-hot array."""
    if labels.ndim == 4:
        return np.asarray(labels[number][box.slices] > 0)
    return np.asarray(labels[box.slices] == structures[number].value)


def structure_masks(segmentation: Segmentation) -> Iterator[tuple[Structure, Box, npt.NDArray[np.bool_]]]:
    """Each structure that has a voxel, its box, and its mask within the box."""
    array, structures = segmentation.array, segmentation.structures
    for number, box in enumerate(find_boxes(array, structures)):
        if box is not None:
            yield structures[number], box, crop_mask(array, structures, number, box)
