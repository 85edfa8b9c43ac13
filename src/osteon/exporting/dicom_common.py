"""What DICOM objects that are derived from a series have in common: identities, and what they repeat of it."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.core.files import atomic_write
from osteon.formats.dicom_files import element_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
"""What every image must have and may leave empty (type 2 of PS3.3, C.7); anonymised files often lack it."""
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""What a reference is made of."""


@contextmanager
def ignore_pydicom_warnings() -> Iterator[None]:
    """Without pydicom's warnings of values that the source has, which are repeated as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def derived_uid(*parts: object) -> str:
    """A UID that follows from what it names: the same export gives the same object (2.25 and 128 bits: PS3.5, B.2)."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"


def complete_headers(headers: Mapping[str, Dataset], *, step_mm: float | None) -> tuple[dict[str, Dataset], list[str]]:
    """Copies of a series' headers in which nothing is missing that a reference to it needs.

    Args:
        headers: SOPInstanceUID → header.
        step_mm: Distance between slices; None for a picture, which lies in no frame of reference.

    Returns:
        The copies, and a note where UIDs had to be made up (some anonymisers take them away).
    """
    from pydicom.uid import UID

    found = {instance: copy.copy(header) for instance, header in headers.items()}
    lacking: dict[str, str] = {}
    for keyword in _NEEDED if step_mm is not None else _NEEDED[:2]:
        if not all(element_text(header, keyword) for header in found.values()):
            lacking[keyword] = derived_uid(keyword, sorted(found))
    with ignore_pydicom_warnings():
        for instance, header in found.items():
            header.SOPInstanceUID = instance if UID(instance).is_valid else derived_uid(instance)
            for keyword in MAY_BE_EMPTY:
                if keyword not in header:
                    setattr(header, keyword, None)
            for keyword, uid in lacking.items():
                setattr(header, keyword, uid)
            if step_mm is not None and "SliceThickness" not in header:
                header.SliceThickness = step_mm
    note = f"the series lacks {', '.join(lacking)}; made up for the reference" if lacking else ""
    return found, [note] if note else []


def copy_elements(header: Dataset, keywords: Sequence[str]) -> dict[str, Any]:
    """What a derived object repeats of an image's header, as far as it is there."""
    return {keyword: header.get(keyword) for keyword in keywords if keyword in header}


def save_dicom(path: Path, dataset: Any) -> None:
    """Write a dataset whole or not at all, in UTF-8: structures' names may need letters that the source has not.

    Raises:
        FileError: It cannot be written.
    """
    dataset.SpecificCharacterSet = "ISO_IR 192"
    with atomic_write(path) as temporary, ignore_pydicom_warnings():
        dataset.save_as(temporary, enforce_file_format=True)
