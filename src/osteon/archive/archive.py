"""What osteon asks of an archive of images, be it spoken to by DICOMweb or by DIMSE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from osteon.archive.settings import ArchiveSettings, read_credentials
from osteon.core.errors import UsageError


@dataclass(frozen=True)
class Query:
    """Which studies, and which of their series; what is empty fits all. `*` and `?` stand for letters.

    Attributes:
        patient: PatientID.
        study: StudyInstanceUID; several with commas between.
        series: SeriesInstanceUID; several with commas between.
        accession: AccessionNumber.
        modality: Of series: CT, MR, DX.
        body_part: BodyPartExamined of series, capitals or not.
        description: SeriesDescription, capitals or not.
        study_description: StudyDescription, as the archive compares it.
        since: First StudyDate.
        until: Last StudyDate.
        limit: Studies after which an archive is asked for no more; None: all that fit.
    """

    patient: str = ""
    study: str = ""
    series: str = ""
    accession: str = ""
    modality: str = ""
    body_part: str = ""
    description: str = ""
    study_description: str = ""
    since: date | None = None
    until: date | None = None
    limit: int | None = None

    @property
    def dates(self) -> str:
        """As DICOM says a range of dates; empty where any will do."""
        ends = ["" if day is None else f"{day:%Y%m%d}" for day in (self.since, self.until)]
        return "-".join(ends) if any(ends) else ""

    def fits(self, series: SeriesEntry) -> bool:
        """Whether a series is asked for."""
        wanted = ((self.modality, series.modality), (self.body_part, series.body_part))
        return (
            all(not asked or asked.upper() == found.upper() for asked, found in wanted)
            and (not self.description or fnmatchcase(series.description.lower(), self.description.lower()))
            and (not self.series or series.series_uid in split_uids(self.series))
        )


@dataclass(frozen=True)
class StudyEntry:
    """A study that an archive has.

    Attributes:
        study_uid: StudyInstanceUID.
        patient_id: PatientID; empty where the archive does not say it.
        date: StudyDate as YYYYMMDD; empty where there is none.
        description: StudyDescription.
        modalities: ModalitiesInStudy.
        instances: How many it has; None where the archive does not say it.
    """

    study_uid: str
    patient_id: str = ""
    date: str = ""
    description: str = ""
    modalities: tuple[str, ...] = ()
    instances: int | None = None


@dataclass(frozen=True)
class SeriesEntry:
    """A series that an archive has.

    Attributes:
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        modality: Of it.
        body_part: BodyPartExamined.
        description: SeriesDescription.
        instances: How many it has; None where the archive does not say it.
    """

    study_uid: str
    series_uid: str
    modality: str = ""
    body_part: str = ""
    description: str = ""
    instances: int | None = None


class Archive(Protocol):
    """An archive. Each call may raise ArchiveDownError (try again later), AccessError and ArchiveError."""

    def find_studies(self, query: Query) -> list[StudyEntry]:
        """Studies that fit; `Query.fits` tells which of their series do."""
        ...

    def find_series(self, study_uid: str) -> list[SeriesEntry]:
        """Series of a study; none where the archive has no such study."""
        ...

    def find_instances(self, study_uid: str, series_uid: str) -> list[str]:
        """SOPInstanceUIDs of a series, as it is now."""
        ...

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        """Fetch a series into a folder that is there when it is whole.

        Args:
            study_uid: StudyInstanceUID.
            series_uid: SeriesInstanceUID.
            folder: Is made, or replaced where it is there; one file for each instance, named by its UID.

        Returns:
            The files, by name.

        Raises:
            ArchiveDownError: The archive ended in the middle.
            SeriesChangedError: The series grew meanwhile.
            ArchiveError: What came is of another study or patient, not the whole series, or two instances have one UID.
        """
        ...

    def store(self, files: Sequence[Path]) -> None:
        """Send DICOM files; what the archive has already under the same UIDs stays as it is or is replaced.

        Raises:
            ArchiveFullError: There is no room.
            ArchiveError: A file was refused; the message names it. Others may have been taken.
        """
        ...


def open_archive(url: str, settings: ArchiveSettings | Mapping[str, Any] | None = None) -> Archive:
    """An archive that is connected to at the first call.

    Args:
        url: `https://host/dicom-web` (DICOMweb), or `dicom://AET@host:port` (DIMSE; `dicoms://` with TLS).
        settings: What else a connection needs, or its keys.

    Raises:
        UsageError: The URL or a setting is nonsense, or the libraries are missing.
    """
    known = settings if isinstance(settings, ArchiveSettings) else ArchiveSettings.of(settings or {})
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the archive's URL is none ({error})", hint=_FORMS) from None
    if parts.scheme in ("http", "https") and parts.hostname:
        if "@" in parts.netloc:
            raise UsageError(
                "the archive's URL holds a user or a password, which histories and logs would keep",
                hint="leave them out; use --credentials FILE, or OSTEON_ARCHIVE_USER and OSTEON_ARCHIVE_PASSWORD",
            )
        from osteon.archive.dicomweb import DicomWebArchive

        return DicomWebArchive(url, known, read_credentials(known))
    if parts.scheme in ("dicom", "dicoms") and parts.hostname and parts.username and port and not parts.password:
        from osteon.archive.dimse import DimseArchive

        return DimseArchive(parts.username, parts.hostname, port, known, tls=parts.scheme == "dicoms")
    raise UsageError("the archive's URL is none that osteon knows", hint=_FORMS)


def query_studies(archive: Archive, query: Query) -> list[StudyEntry]:
    """Studies that fit, each once, the oldest first; without the query's parts that series decide on."""
    found = {
        study.study_uid: study
        for uid in split_uids(query.study) or [""]
        for study in archive.find_studies(replace(query, study=uid, series="", body_part="", description=""))
    }
    return sorted(found.values(), key=lambda study: (study.date, study.study_uid))


def split_uids(text: str) -> list[str]:
    """UIDs with commas between."""
    return [uid for part in text.split(",") if (uid := part.strip())]


_FORMS = "https://HOST/dicom-web for DICOMweb, dicom://AET@HOST:PORT for DIMSE"
