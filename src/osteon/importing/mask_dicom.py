"""What the headers of DICOM files say about patients, and which structures DICOM labels name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osteon.core.errors import FileError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.formats.dicom_seg import read_dicom_seg
from osteon.formats.dicom_series import Series
from osteon.formats.rtstruct import read_rtstruct
from osteon.importing.mask_files import Mask
from osteon.importing.pseudonyms import Patient


def patient_of(series: Series) -> Patient:
    """Whom the series shows. Raises FileError."""
    header = _header(series.files[0], ["PatientID", "PatientName"])
    return Patient(series.patient_id or str(header.get("PatientID", "")), str(header.get("PatientName", "") or ""))


def names_in(mask: Mask) -> tuple[str, ...]:
    """The structures that a DICOM SEG or RTSTRUCT names. Raises FileError."""
    if mask.kind == "rtstruct":
        header = _header(mask.path, ["StructureSetROISequence"])
        found = [item.get("ROIName", "") for item in header.get("StructureSetROISequence") or ()]
    else:
        header = _header(mask.path, ["SegmentSequence"])
        found = [item.get("SegmentLabel", "") for item in header.get("SegmentSequence") or ()]
    return tuple(str(name).strip() for name in found)


def read_labels(mask: Mask, geometry: Geometry) -> Segmentation:
    """The structures of a DICOM SEG or RTSTRUCT on the scan's grid.

    Raises:
        FileError: The file cannot be read.
        GeometryError: It does not lie on the scan's slices.
        LabelError: It holds nothing.
    """
    return read_rtstruct(mask.path, geometry) if mask.kind == "rtstruct" else read_dicom_seg(mask.path, geometry)


def _header(path: Path, tags: list[str]) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
    except Exception as error:
        raise FileError(f"{path}: its DICOM header cannot be read ({error})", hint="copy the file again") from error
