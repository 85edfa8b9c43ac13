"""DICOM SEG objects: binary, fractional and label maps, as segmentations."""

from __future__ import annotations

from pathlib import Path

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation


def read_dicom_seg(path: Path, geometry: Geometry | None = None) -> Segmentation:
    """Read a DICOM SEG: an index map, or multi-hot where segments overlap.

    Args:
        path: The file.
        geometry: The image's grid, onto which the segmentation is laid: its slices must lie on slices of the image.
            None takes the segmentation's own grid, from its first to its last slice.

    Raises:
        FileError: The file is missing, truncated, damaged, or no DICOM SEG.
        GeometryError: Its slices do not lie on the image's grid.
        LabelError: It holds no segment.
    """
    raise NotImplementedError
