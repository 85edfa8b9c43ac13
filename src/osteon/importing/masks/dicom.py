"""What the headers of DICOM files say about patients, and which structures DICOM labels name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from osteon.core.errors import FileError, OsteonError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.formats.dicom_files import element_text
from osteon.formats.dicom_seg import read_dicom_seg, read_dicom_seg_structures
from osteon.formats.dicom_series import Series
from osteon.formats.rtstruct import read_rtstruct
from osteon.importing.masks.files import MaskFile
from osteon.importing.pseudonyms import Patient

_DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


def read_series_patient(series: Series | None) -> Patient:
    """Whom the series shows; nobody where there is none. Raises FileError."""
    return Patient() if series is None else read_patient(series.files[0])


def read_patient(path: Path) -> Patient:
    """Whom a DICOM file shows. Raises FileError."""
    header = _header(path, ["PatientID", "PatientName", *_DATES])
    dates = {element_text(header, name)[:8] for name in _DATES}
    whole = tuple(sorted(date for date in dates if re.fullmatch(r"\d{8}", date)))
    return Patient(element_text(header, "PatientID"), element_text(header, "PatientName"), whole)


def read_structure_names(mask: MaskFile) -> tuple[str, ...]:
    """The structures that a DICOM SEG or RTSTRUCT names, called as `read_dicom_labels` calls them. Raises FileError."""
    if mask.kind == "seg":  # a side that is a code becomes part of the name
        return tuple(structure.name for structure in read_dicom_seg_structures(mask.path))
    header = _header(mask.path, ["StructureSetROISequence"])
    return tuple(element_text(item, "ROIName") for item in header.get("StructureSetROISequence") or ())


def read_dicom_labels(mask: MaskFile, geometry: Geometry, notes: list[str] | None = None) -> Segmentation:
    """The structures of a DICOM SEG or RTSTRUCT on the scan's grid; `notes` is given what in it is worth a look.

    Raises:
        FileError: The file cannot be read.
        GeometryError: It does not lie on the scan's slices.
        LabelError: It holds nothing.
    """
    if mask.kind == "rtstruct":
        return read_rtstruct(mask.path, geometry, notes=notes)
    return read_dicom_seg(mask.path, geometry)


def fits_grid(mask: MaskFile, geometry: Geometry) -> bool:
    """Whether a DICOM SEG or RTSTRUCT can be read onto the scan's grid; reads it whole."""
    try:
        read_dicom_labels(mask, geometry)
    except OsteonError:
        return False
    return True


def _header(path: Path, tags: list[str]) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
    except Exception as error:
        raise FileError(f"{path}: its DICOM header cannot be read ({error})", hint="copy the file again") from error
