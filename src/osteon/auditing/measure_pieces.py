"""Structures whose pieces are numbered, measured piece by piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.auditing.facts import NumberedPieces
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation, Structure

TINY_VOXELS = 5
"""A piece of fewer is more likely a stray click."""
APART_VOXELS = 4
"""Parts of one number that lie further apart are two pieces."""
LARGE_PART = 0.05
"""Of its piece, from which on the smaller part is one of its own."""


def measure_pieces(segmentation: Segmentation, structure: Structure) -> NumberedPieces | None:
    """The pieces of a structure; None where its pieces are not numbered."""
    if not structure.instances:
        return None
    tiny, twice, count = [], [], 0
    boxes = bounding_boxes(segmentation.array, structure.values)
    for value, box in zip(structure.values, boxes, strict=True):
        if box is None:
            continue
        count += 1
        mask = np.asarray(segmentation.array[box.slices] == value)
        voxels = int(np.count_nonzero(mask))
        if voxels < TINY_VOXELS:
            tiny.append((value, voxels))
        parts = _parts_apart(mask)
        if len(parts) > 1 and parts[1] >= max(TINY_VOXELS, LARGE_PART * voxels):
            twice.append((value, parts[0], parts[1]))
    return NumberedPieces(count, tiny, twice)


def _parts_apart(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Voxels of the parts that lie more than `APART_VOXELS` apart, largest first."""
    near = np.ones((3, 3, 3))
    if ndimage.label(mask, near)[1] < 2:
        return [int(np.count_nonzero(mask))]
    grown = ndimage.binary_dilation(np.pad(mask, APART_VOXELS // 2), near, iterations=APART_VOXELS // 2)
    inside = tuple(slice(APART_VOXELS // 2, -(APART_VOXELS // 2)) for _ in mask.shape)
    parts = ndimage.label(grown, near)[0][inside][mask]
    return sorted(np.bincount(parts)[1:].tolist(), reverse=True)
