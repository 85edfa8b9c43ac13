"""Fetching studies from an archive into folders, and sending files to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.archive.archive import Archive, Query, SeriesEntry, StudyEntry, query_studies
from osteon.archive.given_files import dicom_files
from osteon.core.errors import ArchiveError, DiskFullError, FileError, OsteonError, UsageError
from osteon.core.progress import progress_bar, status
from osteon.core.text import pluralise

if TYPE_CHECKING:
    from osteon.archive.deidentifying import Deidentifier

MOST_STUDIES = 1000
"""More are not fetched unasked."""
_BATCH = 32
"""Files that are sent together."""


@dataclass
class PullReport:
    """What became of a query.

    Attributes:
        studies: How many fit.
        fetched: Folders of series that were fetched.
        present: Folders of series that were there already.
        failed: Study and series → why it was not fetched.
    """

    studies: int
    fetched: list[Path] = field(default_factory=list)
    present: list[Path] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)


@dataclass
class PushReport:
    """What became of files.

    Attributes:
        sent: Those that the archive has taken.
        passed_over: Those that are not DICOM.
        failed: File → why it was not taken.
    """

    sent: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)


def parse_query(texts: Sequence[str]) -> Query:
    """A query from `KEY=VALUE`, whose keys are those of Query. Raises UsageError where one is unknown or no date."""
    known = [one.name for one in fields(Query) if one.name != "limit"]
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_").lower()
        if not equals or key not in known:
            raise UsageError(f"--query {text}: there is no such key", hint=f"KEY=VALUE, of {', '.join(known)}")
        values[key] = _day(text, value.strip()) if key in ("since", "until") else value.strip()
    return Query(**values)


def pull(
    archive: Archive, folder: Path, query: Query, *, many: bool = False, deidentifier: Deidentifier | None = None
) -> PullReport:
    """Fetch what a query finds: `folder/StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm`.

    A series whose folder has as many files as the archive has instances is not fetched again. One that fails does not
    keep the others back.

    Args:
        archive: Where from.
        folder: Where to.
        query: Of studies and their series.
        many: Fetch more than MOST_STUDIES, too.
        deidentifier: Of the same folder: what arrives there has no patient, and other UIDs.

    Raises:
        UsageError: More fit than that.
        ArchiveError: The query itself was not answered.
        AccessError: This user is not let in.
        DiskFullError: The disk is full; what is there is whole.
    """
    with status("asking the archive"):
        studies = query_studies(archive, query)
    if len(studies) > MOST_STUDIES and not many:
        raise UsageError(
            f"{len(studies):,} studies fit, and not more than {MOST_STUDIES:,} are fetched unasked",
            hint="narrow the query, or say --yes",
        )
    report = PullReport(len(studies))
    with progress_bar("fetching studies", len(studies)) as advance:
        for study in studies:
            failed = len(report.failed)
            _pull_study(archive, study, query, report, deidentifier or _AsItIs(folder))
            advance(list(report.failed.values())[-1] if len(report.failed) > failed else None)
    return report


class _AsItIs:
    """Series in folders called by their UIDs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, study_uid: str, series_uid: str) -> Path:
        return self.folder / study_uid / series_uid

    def is_whole(self, series: SeriesEntry) -> bool:
        """A folder is there when its series is whole; it may have grown in the archive since."""
        place = self.place(series.study_uid, series.series_uid)
        return place.is_dir() and series.instances in (None, sum(1 for _ in place.glob("*.dcm")))

    def fetch(self, archive: Archive, series: SeriesEntry) -> None:
        archive.fetch_series(series.study_uid, series.series_uid, self.place(series.study_uid, series.series_uid))


def _pull_study(
    archive: Archive, study: StudyEntry, query: Query, report: PullReport, target: _AsItIs | Deidentifier
) -> None:
    try:
        found = [series for series in archive.find_series(study.study_uid) if query.fits(series)]
    except ArchiveError as error:
        report.failed[f"study {study.study_uid}"] = error
        return
    for series in found:
        place = target.place(series.study_uid, series.series_uid)
        if target.is_whole(series):
            report.present.append(place)
            continue
        try:
            target.fetch(archive, series)
        except DiskFullError:
            raise
        except (ArchiveError, FileError) as error:
            report.failed[f"study {study.study_uid}, series {series.series_uid}"] = error
        else:
            report.fetched.append(place)


def push(archive: Archive, paths: Sequence[Path]) -> PushReport:
    """Send files, and those in folders, to an archive; one that is refused does not keep the others back.

    Raises:
        FileError: A path is not there.
        ArchiveError: It is down or full; what was sent before stays there.
        AccessError: This user is not let in.
    """
    report = PushReport()
    images, report.passed_over = dicom_files(paths)
    with progress_bar("sending files", len(images)) as advance:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            _push_batch(archive, batch, report)
            for path in batch:
                advance(report.failed.get(str(path)))
    return report


def _push_batch(archive: Archive, batch: Sequence[Path], report: PushReport) -> None:
    try:
        archive.store(batch)
    except OsteonError as error:
        if type(error) not in (ArchiveError, FileError):
            raise
        if len(batch) == 1:
            report.failed[str(batch[0])] = error
            return
        for path in batch:  # which of them, and the rest
            _push_batch(archive, [path], report)
        return
    report.sent += batch


def _day(text: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(f"--query {text}: is no date", hint="write it as 2026-07-31") from None


def describe_pull(report: PullReport) -> str:
    """In a sentence."""
    if not report.studies:
        return "no study fits"
    fit = "fits" if report.studies == 1 else "fit"
    parts = [f"{pluralise(report.studies, 'study', 'studies')} {fit}", f"{len(report.fetched)} series fetched"]
    return ", ".join([*parts, *([f"{len(report.present)} there already"] if report.present else [])])
