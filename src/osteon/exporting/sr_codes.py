"""Codes of measures and units for DICOM SR: those that the standard lists, local ones else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osteon.exporting.dicom_codes import local_code
from osteon.measuring.figure import Figure, Unit

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

_LISTED: dict[str, tuple[str, str]] = {
    "volume": ("IBSI", "VolumeFromVoxelSummation"),
    "fragment_volume": ("IBSI", "VolumeFromVoxelSummation"),
    "surface_area": ("IBSI", "SurfaceAreaOfMesh"),
    "sphericity": ("IBSI", "Sphericity"),
    "length": ("SCT", "Length"),
    "width": ("SCT", "Width"),
    "depth": ("SCT", "Depth"),
    "longest_diameter": ("SCT", "LongAxis"),
    "perpendicular_diameter": ("SCT", "ShortAxis"),
    "longest_diameter_3d": ("IBSI", "Maximum3DDiameterOfAMesh"),
    "cobb": ("SCT", "CobbAngle"),
}
"""Measure → scheme and pydicom's keyword. What the standard has no word for, or one that means less, is local."""
_UNITS: dict[Unit, tuple[str, str]] = {
    "mm": ("mm", "millimeter"),
    "px": ("{pixels}", "pixels"),
    "mm2": ("mm2", "square millimeter"),
    "px2": ("{pixels}", "pixels"),
    "cm3": ("cm3", "cubic centimeter"),
    "deg": ("deg", "degree"),
    "hu": ("[hnsf'U]", "Hounsfield unit"),
    "ratio": ("1", "no units"),
    "grade": ("{grade}", "grade"),
}
"""UCUM's code and its meaning."""


def code_of_measure(figure: Figure, what: str) -> Code:
    """The concept of a figure.

    Args:
        figure: Of a case.
        what: The measure in words.
    """
    from pydicom.sr.codedict import codes

    if figure.measure == "surface_area" and figure.unit != "mm2":
        return codes.SCT.Area
    if listed := _LISTED.get(figure.measure):
        scheme, keyword = listed
        return getattr(getattr(codes, scheme), keyword)
    return local_code(f"measure {figure.measure}", what)


def code_of_unit(unit: Unit) -> Code:
    """UCUM's."""
    from pydicom.sr.coding import Code

    value, meaning = _UNITS[unit]
    return Code(value, "UCUM", meaning)
