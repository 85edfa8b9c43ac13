"""Studies that were sent to this station: each instance on disk before it is said to be taken."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from osteon.archive.archive import SeriesEntry, StudyEntry
from osteon.archive.fetching import check_uid
from osteon.core.errors import ArchiveError
from osteon.core.files import atomic_write, remove_stale, write_json
from osteon.core.records import read_record
from osteon.formats.dicom_files import element_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FACTS = "series.json"


class _Facts(BaseModel):
    """What a series says of itself, as its first instance had it."""

    model_config = ConfigDict(extra="forbid")

    patient: str = ""
    date: str = ""
    modality: str = ""
    body_part: str = ""
    description: str = ""


@dataclass
class _Series:
    facts: _Facts
    instances: set[str] = field(default_factory=set)
    changed_at: float = 0.0


class ReceivedStudies:
    """The instances of a folder, as `STUDY/SERIES/INSTANCE.dcm`. All methods may be called from several threads.

    Args:
        folder: Is made where it is missing.

    Raises:
        FileError: The facts of a series are damaged; the hint says the way out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._studies: dict[str, dict[str, _Series]] = {}
        for path in sorted(folder.glob(f"*/*/{_FACTS}")):
            remove_stale(path.parent)
            facts = read_record(path, "what a series says", _Facts, "remove its folder, and have it sent again")
            found = {one.stem for one in path.parent.glob("[!.]*.dcm")}
            series = _Series(_Facts.model_validate(facts), found, path.parent.stat().st_mtime)
            self._studies.setdefault(path.parent.parent.name, {})[path.parent.name] = series

    def take(self, header: Dataset, content: bytes) -> None:
        """Take an instance; the same once more changes nothing.

        Args:
            header: Of it, with or without the rest.
            content: The whole file.

        Raises:
            ArchiveError: A UID is none, the study was sent for another patient, or the UID has come with other content.
            DiskFullError, FileError: It could not be written.
        """
        study = check_uid(str(header.get("StudyInstanceUID", "")), "a study")
        series = check_uid(str(header.get("SeriesInstanceUID", "")), "a series")
        instance = check_uid(str(header.get("SOPInstanceUID", "")), "an instance")
        facts = _Facts(
            patient=element_text(header, "PatientID"),
            date=element_text(header, "StudyDate"),
            modality=element_text(header, "Modality"),
            body_part=element_text(header, "BodyPartExamined"),
            description=element_text(header, "SeriesDescription"),
        )
        with self._lock:
            known = self._studies.get(study, {})
            if any(one.facts.patient != facts.patient for one in known.values()):
                raise ArchiveError(
                    f"study {study}: it was sent for several patients", hint="the sender's administrator must know"
                )
            path = self.path(study, series, instance)
            if series in known and instance in known[series].instances:
                if path.read_bytes() != content:
                    raise ArchiveError(
                        f"series {series}: two instances with the UID {instance} were sent",
                        hint="the sender's administrator must know",
                    )
                return
            if series not in known:
                write_json(path.with_name(_FACTS), facts.model_dump())
                known = self._studies.setdefault(study, {})
                known[series] = _Series(facts)
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
            known[series].instances.add(instance)
            known[series].changed_at = time.time()

    def path(self, study: str, series: str, instance: str) -> Path:
        """Where an instance lies."""
        return self.folder / study / series / f"{instance}.dcm"

    def studies(self) -> list[StudyEntry]:
        """All that are there."""
        with self._lock:
            return [self._entry(uid, list(series.values())) for uid, series in self._studies.items()]

    def series(self, study: str) -> list[SeriesEntry]:
        """Those of a study; none where it is not there."""
        with self._lock:
            return [
                SeriesEntry(
                    study, uid, one.facts.modality, one.facts.body_part, one.facts.description, len(one.instances)
                )
                for uid, one in self._studies.get(study, {}).items()
            ]

    def instances(self, study: str, series: str) -> list[str]:
        """SOPInstanceUIDs of a series; none where it is not there."""
        with self._lock:
            found = self._studies.get(study, {}).get(series)
            return [] if found is None else sorted(found.instances)

    def __contains__(self, instance: object) -> bool:
        with self._lock:
            return any(instance in one.instances for series in self._studies.values() for one in series.values())

    def remove_quiet(self, seconds: float, finished: Callable[[str], bool]) -> dict[str, int]:
        """Remove studies that are finished and to which nothing has come for so long; all others stay whole.

        Args:
            seconds: Of quiet; where a clock was set back, from then on.
            finished: Whether a StudyInstanceUID is done with.

        Returns:
            StudyInstanceUID → how many instances it had.
        """
        removed, now = {}, time.time()
        with self._lock:
            for study, series in list(self._studies.items()):
                last = max(one.changed_at for one in series.values())
                if not now - seconds < last <= now and finished(study):
                    del self._studies[study]
                    removed[study] = sum(len(one.instances) for one in series.values())
                    with suppress(OSError):
                        shutil.rmtree(self.folder / study)
        return removed

    def _entry(self, study: str, series: list[_Series]) -> StudyEntry:
        return StudyEntry(
            study,
            patient_id=series[0].facts.patient,
            date=series[0].facts.date,
            modalities=tuple(sorted({one.facts.modality for one in series})),
            instances=sum(len(one.instances) for one in series),
        )
