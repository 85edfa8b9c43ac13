"""RTSTRUCT: contours of regions, filled onto an image's grid."""

from __future__ import annotations

from pathlib import Path

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation


def read_rtstruct(path: Path, geometry: Geometry) -> Segmentation:
    """Read contours as a segmentation on the image's grid: an index map, or multi-hot where regions overlap.

    Args:
        path: The file.
        geometry: The image's grid: contours must lie in its slices.

    Raises:
        FileError: The file is missing, truncated, damaged, or no RTSTRUCT.
        GeometryError: Contours do not lie in the image's slices.
        LabelError: It holds no closed contour.
    """
    raise NotImplementedError
