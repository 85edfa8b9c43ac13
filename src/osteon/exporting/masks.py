"""The masks of a segmentation's structures: each cut to what it fills, or as pictures have them, rows and columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.boxes import Box
from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.pieces import split_pieces
from osteon.core.structure_boxes import crop_mask, find_boxes
from osteon.exporting.export_form import ExportCase

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


def picture_masks(segmentation: Segmentation, case: ExportCase) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Name and mask `[rows, columns]` of each structure that somebody looked for, in the order of the structures.

    Where a structure has numbered pieces, each of them under its name.

    Raises:
        GeometryError: It is not a picture.
    """
    shape = segmentation.geometry.shape
    if shape[2] != 1:
        raise GeometryError(
            f"{case.file}: has {shape[0]}×{shape[1]}×{shape[2]} voxels, and this form is for pictures",
            hint="export stl, dicom-seg or seg-nrrd",
        )
    split, wholes = split_pieces(segmentation)
    for structure, whole in zip(split.structures, wholes, strict=True):
        if case.annotated is None or whole.name in case.annotated:
            yield whole.name, split.mask(structure)[:, :, 0].T


def picture_names(cases: Sequence[ExportCase]) -> list[str]:
    """How a table calls the picture of each case: by its file, or by the case where several files have one name."""
    names = [case.picture_name for case in cases]
    times = Counter(names)
    return [name if times[name] == 1 else case.id for name, case in zip(names, cases, strict=True)]
