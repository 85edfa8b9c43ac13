"""Objects that may show a patient's name in their pixels, or hold what no profile can clean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from osteon.formats.dicom_files import DIRECTORY, element_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_STORAGE = r"1\.2\.840\.10008\.5\.1\.4\.1\.1"
_OPAQUE = {
    rf"{_STORAGE}\.104\..*": "a document within DICOM (PDF, STL, …)",
    rf"{_STORAGE}\.11\..*": "a presentation state: what was drawn over images",
    rf"{_STORAGE}\.66": "raw data",
    re.escape(DIRECTORY): "a directory of files (DICOMDIR)",
    r"(?!1\.2\.840\.10008\.).*": "a manufacturer's own kind of object",
}
_PICTURES = {
    rf"{_STORAGE}\.7(\..*)?": "a Secondary Capture",
    rf"{_STORAGE}\.[36](\..*)?": "ultrasound",
    rf"{_STORAGE}\.77\..*": "a photograph or endoscopy",
}
_MODALITIES = ("US", "IVUS", "ES", "XC", "GM", "OT", "DOC", "SC", "XA", "RF")
_COLOURED = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def opaque_kind(header: Dataset) -> str:
    """What an object is that is never given away; empty where it may be."""
    return _first(_OPAQUE, element_text(header, "SOPClassUID"))


def text_in_pixels(header: Dataset) -> str:
    """Why there may be text in an image's pixels; empty where nothing speaks for it.

    Args:
        header: All but the pixels.
    """
    said = element_text(header, "BurnedInAnnotation").upper()
    if said == "YES":
        return "says that there is text in its pixels"
    if any(header[tag].value for tag in _overlay_bits(header)):
        return "an overlay in the bits of its pixels"
    if said == "NO" or "Rows" not in header:
        return ""
    modality = element_text(header, "Modality").upper()
    if found := _first(_PICTURES, element_text(header, "SOPClassUID")):
        return found
    if modality in _MODALITIES or "ConversionType" in header or "SCREEN" in element_text(header, "ImageType").upper():
        return f"an image of the kind {modality or 'screenshot'}, in which text is usual"
    coloured = element_text(header, "PhotometricInterpretation").upper() in _COLOURED
    return "an image in colour, as screenshots are" if coloured and modality != "SEG" else ""


def _overlay_bits(header: Dataset) -> list[BaseTag]:
    """The tags of Overlay Bit Position."""
    tags = header.keys()
    return [tag for tag in tags if tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102]


def _first(kinds: dict[str, str], uid: str) -> str:
    return next((name for pattern, name in kinds.items() if re.fullmatch(pattern, uid)), "")
