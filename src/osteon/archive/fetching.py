"""Taking what an archive sends: each instance checked and written, the folder there when the series is whole."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.archive.archive import Archive, Query
from osteon.core.errors import ArchiveDownError, ArchiveError, SeriesChangedError
from osteon.core.files import write_error
from osteon.core.text import pluralise

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LONGEST_UID = 64
_AGAIN = "fetch it again later"
_ADMINISTRATOR = "nothing of it was kept; the archive's administrator must know"


def check_uid(uid: str, what: str) -> str:
    """A UID as PS3.5 has them, so that it can name a file. Raises ArchiveError for anything else."""
    if len(uid) <= _LONGEST_UID and _UID.fullmatch(uid):
        return uid
    raise ArchiveError(f"the archive names {what} {uid[:80]!r}, which is no UID", hint=_ADMINISTRATOR)


class Inbox:
    """Where a series' instances arrive.

    Args:
        folder: Where they are written.
        study: StudyInstanceUID that they must have.
        series: SeriesInstanceUID that they must have.
        patient: PatientID that they must have; empty for any, the same in all.
    """

    def __init__(self, folder: Path, study: str, series: str, patient: str) -> None:
        self.folder, self.study, self.series = folder, study, series
        self.patient = patient or None
        self.taken: dict[str, Path] = {}

    def take(self, header: Dataset, write: Callable[[Path], object]) -> None:
        """Take an instance.

        Args:
            header: Of it, with or without the rest.
            write: Writes the file.

        Raises:
            ArchiveError: It is of another study, series or patient, or its UID has come before.
            FileError: It could not be written.
        """
        if (str(header.get("StudyInstanceUID", "")), str(header.get("SeriesInstanceUID", ""))) != (
            self.study,
            self.series,
        ):
            raise ArchiveError(
                f"series {self.series}: the archive sent an instance of another series",
                hint=_ADMINISTRATOR,
            )
        patient = str(header.get("PatientID", "") or "").strip()
        if self.patient is not None and patient != self.patient.strip():
            raise ArchiveError(
                f"series {self.series}: the archive sent an instance of another patient",
                hint=_ADMINISTRATOR,
            )
        self.patient = patient
        uid = check_uid(str(header.get("SOPInstanceUID", "")), "an instance")
        if uid in self.taken:
            raise ArchiveError(
                f"series {self.series}: the archive sent two instances with the UID {uid}",
                hint=_ADMINISTRATOR,
            )
        path = self.folder / f"{uid}.dcm"
        try:
            write(path)
        except OSError as error:
            raise write_error(path, error) from error
        self.taken[uid] = path


def fetch_whole(
    archive: Archive, study: str, series: str, folder: Path, download: Callable[[Inbox], None]
) -> list[Path]:
    """Fetch a series so that the folder is there when it is whole; see `Archive.fetch_series`.

    Args:
        archive: Is asked before and afterwards what the series has.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        folder: Is made, or replaced.
        download: Gives the inbox the instances of the series.
    """
    check_uid(study, "a study")
    check_uid(series, "a series")
    patients = {entry.patient_id for entry in archive.find_studies(Query(study=study)) if entry.study_uid == study}
    if len(patients) > 1:
        raise ArchiveError(
            f"study {study}: the archive has it for several patients", hint="its administrator must know"
        )
    before = archive.find_instances(study, series)
    if not before:
        raise ArchiveError(
            f"series {series}: the archive does not have it", hint="look for it again: it may have moved"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        inbox = Inbox(partial, study, series, next(iter(patients), ""))
        download(inbox)
        missing = set(before) - set(inbox.taken)
        if missing:
            count = f"{len(missing)} of {pluralise(len(set(before)), 'instance')}"
            raise ArchiveDownError(f"series {series}: {count} did not come", hint=_AGAIN)
        if set(archive.find_instances(study, series)) != set(before):
            raise SeriesChangedError(f"series {series}: it has changed while it was fetched", hint=_AGAIN)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(folder / path.name for path in inbox.taken.values())
