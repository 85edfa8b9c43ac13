"""The masks of a segmentation's structures, each cut to what it fills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation, Structure

Mask = npt.NDArray[np.bool_]
CONNECTIVITY = ndimage.generate_binary_structure(3, 2)
"""Voxels that share a face or an edge are one piece."""


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
    if segmentation.overlapping:
        for structure in segmentation.structures:
            yield crop_mask(structure, segmentation.mask(structure), segmentation.geometry)
        return
    boxes = bounding_boxes(segmentation.array, [structure.value for structure in segmentation.structures])
    for structure, found in zip(segmentation.structures, boxes, strict=True):
        box = found.slices if found is not None else (slice(0, 0),) * 3
        yield _part(structure, segmentation.array[box] == structure.value, box, segmentation.geometry)


def crop_mask(structure: Structure, mask: Mask, geometry: Geometry) -> CroppedMask:
    """A mask `[i, j, k]` cut to what it fills."""
    box = ndimage.find_objects(mask.view(np.uint8), max_label=1)[0] or (slice(0, 0),) * 3
    return _part(structure, mask[box], box, geometry)


def _part(structure: Structure, mask: Mask, box: tuple[slice, ...], geometry: Geometry) -> CroppedMask:
    affine = geometry.affine_ras.copy()
    affine[:3, 3] = geometry.to_world(np.array([[part.start for part in box]]))[0]
    i, j, k = mask.shape
    return CroppedMask(structure, mask, Geometry((i, j, k), affine, geometry.unit), geometry.singleton_axes)
