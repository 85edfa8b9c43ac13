"""Masks as pictures have them: rows and columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.errors import GeometryError
from osteon.core.labels import Segmentation
from osteon.exporting.export_form import ExportCase


def picture_masks(segmentation: Segmentation, case: ExportCase) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Name and mask `[rows, columns]` of each structure that somebody looked for, in the order of the structures.

    Raises:
        GeometryError: It is not a picture.
    """
    shape = segmentation.geometry.shape
    if shape[2] != 1:
        raise GeometryError(
            f"{case.file}: has {shape[0]}×{shape[1]}×{shape[2]} voxels, and this form is for pictures",
            hint="export stl, dicom-seg or seg-nrrd",
        )
    for structure in segmentation.structures:
        if case.annotated is None or structure.name in case.annotated:
            yield structure.name, segmentation.mask(structure)[:, :, 0].T


def picture_names(cases: Sequence[ExportCase]) -> list[str]:
    """How a table calls the picture of each case: by its file, or by the case where several files have one name."""
    names = [case.picture_name for case in cases]
    times = Counter(names)
    return [name if times[name] == 1 else case.id for name, case in zip(names, cases, strict=True)]
