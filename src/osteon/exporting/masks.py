"""The masks of a segmentation's structures, each cut to what it fills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.boxes import Box
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.structure_boxes import crop_mask, find_boxes

Mask = npt.NDArray[np.bool_]
CONNECTIVITY = ndimage.generate_binary_structure(3, 2)
"""Voxels that share a face or an edge are one piece."""
NOWHERE = Box((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A structure's mask, cut to the voxels that it fills.

    Attributes:
        structure: Which.
        mask: `[i, j, k]` of the part; without any voxel where the structure is not there.
        geometry: Of the part.
        thin: The axes along which the whole grid has one voxel.
    """

    structure: Structure
    mask: Mask
    geometry: Geometry
    thin: tuple[int, ...] = ()


def crop_masks(segmentation: Segmentation) -> Iterator[CroppedMask]:
    """Each structure's mask in turn: a scan has far more voxels than a bone."""
    array, geometry, structures = segmentation.array, segmentation.geometry, segmentation.structures
    for number, found in enumerate(find_boxes(array, structures)):
        box = found or NOWHERE
        mask = crop_mask(array, structures, number, box)
        yield CroppedMask(structures[number], mask, geometry.crop(box), geometry.singleton_axes)
