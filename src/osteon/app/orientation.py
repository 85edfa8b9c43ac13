"""The orientation of a scan: whether it is known, how oblique it is, and whether its axes are sheared."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from osteon.app.previews import ShrinkFactors
from osteon.core.errors import OsteonError
from osteon.core.geometry import Geometry, closest_axes, reorient_to_ras
from osteon.formats.dicom_files import element_text, looks_like_dicom, read_dataset
from osteon.formats.io import header_warnings
from osteon.formats.raster import has_unknown_sides

EdgeLetters = tuple[str, str, str, str]
"""Letters at the left, right, top and bottom edge of a picture."""
_UNKNOWN = ("no orientation", "no space")
"""Kinds of header warnings: headers that leave open where right, front and top are."""
_EDGE_LETTERS = {"R": ("L", "R"), "L": ("R", "L"), "A": ("P", "A"), "P": ("A", "P"), "H": ("I", "S"), "F": ("S", "I")}
"""Where a row or column runs by PatientOrientation (PS3.3, C.7.6.1.1.1): the letters of its start and end."""


def is_orientation_known(path: Path, geometry: Geometry) -> bool:
    """Whether a file says where right, front and top are."""
    return not has_unknown_sides(geometry) and not any(
        odd.kind in _UNKNOWN for odd in header_warnings(path, label=False)
    )


def picture_edge_letters(path: Path) -> EdgeLetters | None:
    """Letters of a picture without a position in space: those of DICOM's PatientOrientation; None where it has none."""
    try:
        if not looks_like_dicom(path):
            return None
        directions = element_text(read_dataset(path, pixels=False), "PatientOrientation").split("\\")
    except OsteonError:
        return None
    ends = [_EDGE_LETTERS.get(way.strip()[:1]) for way in directions]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return (*ends[0], *ends[1])


def oblique_degrees(geometry: Geometry) -> float:
    """The largest angle between an index axis and the patient's axis that it runs along most."""
    axes, _ = closest_axes(geometry.affine_ras)
    along = [abs(float(geometry.directions[world, index])) for index, world in enumerate(axes)]
    return math.degrees(math.acos(min(1.0, *along)))


def shear_degrees(geometry: Geometry) -> float:
    """By how much two index axes miss a right angle, at most."""
    between = np.abs(geometry.directions.T @ geometry.directions - np.eye(3))
    return math.degrees(math.asin(min(1.0, float(between.max()))))


def slice_steps(geometry: Geometry, factors: ShrinkFactors) -> list[dict[str, int | bool]]:
    """For the patient's axes to the right, front and top: the scan's slices, and which of them a preview shows.

    Each has `count`, `step` (every so many are one of the preview) and `flipped` (the file runs the other way).
    """
    turn = reorient_to_ras(geometry)
    return [
        {"count": geometry.shape[axis], "step": factors[axis], "flipped": turn.flipped[axis]} for axis in turn.order
    ]
