"""Queries and their answers, as DICOM's keys have them (PS3.4, C.6.2): the same for DICOMweb and DIMSE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from osteon.archive.archive import Query, SeriesEntry, StudyEntry
from osteon.archive.fetching import check_uid
from osteon.formats.dicom_files import element_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def study_keys(query: Query) -> dict[str, str]:
    """Keys of the study's level that are not empty."""
    keys = {
        "PatientID": query.patient,
        "StudyInstanceUID": query.study,
        "AccessionNumber": query.accession,
        "ModalitiesInStudy": query.modality.upper(),
        "StudyDescription": query.study_description,
        "StudyDate": query.dates,
    }
    return {key: value for key, value in keys.items() if value}


def read_study(entry: Dataset) -> StudyEntry:
    """A study of an answer. Raises ArchiveError where its UID is none."""
    return StudyEntry(
        check_uid(element_text(entry, "StudyInstanceUID"), "a study"),
        element_text(entry, "PatientID"),
        element_text(entry, "StudyDate"),
        element_text(entry, "StudyDescription"),
        tuple(_texts(entry.get("ModalitiesInStudy"))),
        _count(entry, "NumberOfStudyRelatedInstances"),
    )


def read_series(study_uid: str, entry: Dataset) -> SeriesEntry:
    """A series of an answer. Raises ArchiveError where its UID is none."""
    return SeriesEntry(
        study_uid,
        check_uid(element_text(entry, "SeriesInstanceUID"), "a series"),
        element_text(entry, "Modality"),
        element_text(entry, "BodyPartExamined"),
        element_text(entry, "SeriesDescription"),
        _count(entry, "NumberOfSeriesRelatedInstances"),
    )


def _texts(value: Any) -> Iterable[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(each) for each in value if each]


def _count(entry: Dataset, key: str) -> int | None:
    text = element_text(entry, key)
    return int(text) if text.isdecimal() else None
