"""The archive of a watch that is sent its studies: they come to a listener, and answers go to an archive or station."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from osteon.archive.archive import Archive, Query, SeriesEntry, StudyEntry, open_archive
from osteon.archive.commitment import failed_instances, make_request, send_request
from osteon.archive.dimse import DimseArchive
from osteon.archive.dimse_messages import NotOfferedError
from osteon.archive.fetching import Inbox, fetch_whole
from osteon.archive.listener import Listener, listening
from osteon.archive.received import ReceivedStudies
from osteon.archive.watch_config import Listen, WatchConfig
from osteon.archive.work_list import WorkList, study_name
from osteon.core.errors import ArchiveError, UsageError
from osteon.core.files import link_or_copy, write_error
from osteon.core.text import pluralise
from osteon.formats.dicom_files import read_dataset

logger = logging.getLogger(__name__)
RECEIVED, SENT = "received", "sent.txt"
_UNWANTED_S = 3600.0
"""A study that no rule fits, and to which nothing comes for so long, is removed."""


@dataclass
class ListeningArchive:
    """See Archive. Studies are those that were sent; answers are looked for where they go.

    Attributes:
        received: What was sent.
        destination: Where answers go.
        listener: Hears reports on storage commitment.
        committing: The destination, where an answer is only taken when it has committed to keep it; else None.
        config: Of the watch.
        work: The work list.
    """

    received: ReceivedStudies
    destination: Archive
    listener: Listener
    committing: DimseArchive | None
    config: WatchConfig
    work: WorkList
    _offered: dict[str, float] = field(default_factory=dict)
    """When a study was first found, by the monotonic clock."""
    _sent: set[tuple[str, str]] = field(default_factory=set)
    """Series and instances of answers that the destination took."""

    def __post_init__(self) -> None:
        lines = self._sent_file.read_text().splitlines() if self._sent_file.is_file() else []
        self._sent = {(parts[0], parts[1]) for line in lines if len(parts := line.split()) == 2}

    def find_studies(self, query: Query) -> list[StudyEntry]:
        """See Archive; whatever its date, since it was sent on purpose."""
        if not self.config.keep:
            self._tidy()
        found = [entry for entry in self.received.studies() if query.study in ("", entry.study_uid)]
        for entry in found:
            self._offered.setdefault(entry.study_uid, time.monotonic())
        return found

    def find_series(self, study_uid: str) -> list[SeriesEntry]:
        """See Archive."""
        return self.received.series(study_uid)

    def find_instances(self, study_uid: str, series_uid: str) -> list[str]:
        """See Archive. A destination that cannot be asked, or must commit, has what was recorded here as taken."""
        if found := self.received.instances(study_uid, series_uid):
            return found
        if self.committing is None:
            try:
                return self.destination.find_instances(study_uid, series_uid)
            except NotOfferedError:
                pass
        return [instance for series, instance in self._sent if series == series_uid]

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        """See Archive."""

        def download(inbox: Inbox) -> None:
            for instance in self.received.instances(study_uid, series_uid):
                path = self.received.path(study_uid, series_uid, instance)
                inbox.take(read_dataset(path, pixels=False), partial(link_or_copy, path))

        return fetch_whole(self, study_uid, series_uid, folder, download)

    def store(self, files: Sequence[Path]) -> None:
        """See Archive; with storage commitment only when the destination has said that it keeps them.

        Raises:
            ArchiveDownError: It has not said so in time.
            ArchiveError: It does not keep one.
        """
        self.destination.store(files)
        if self.committing is not None:
            request = make_request(files)
            with self.listener.report_on(str(request.TransactionUID), self.config.settings.timeout) as wait:
                send_request(self.committing, request)
                failed = failed_instances(wait())
            if failed:
                reasons = ", ".join(sorted({f"0x{reason:04X}" for reason in failed.values()}))
                raise ArchiveError(
                    f"the archive does not commit to keep {pluralise(len(failed), 'answer')} (reason {reasons})",
                    hint="its log says why",
                )
        headers = [read_dataset(path, pixels=False) for path in files]
        self._record([(str(header.SeriesInstanceUID), str(header.SOPInstanceUID)) for header in headers])

    @property
    def _sent_file(self) -> Path:
        return self.config.work_folder / SENT

    def _record(self, taken: list[tuple[str, str]]) -> None:
        try:
            with self._sent_file.open("a") as stream:
                stream.writelines(f"\n{series} {instance}" for series, instance in taken)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise write_error(self._sent_file, error) from error
        self._sent.update(taken)

    def _tidy(self) -> None:
        """Remove studies that are answered or skipped, and those that no rule has fitted for long."""
        self.received.remove_quiet(self.config.settle, self._is_finished)
        for study, count in self.received.remove_quiet(_UNWANTED_S, self._is_unwanted).items():
            images = pluralise(count, "image")
            logger.warning(f"study {study_name(study)}: no rule fits it; it was removed, {images}")
        there = {entry.study_uid for entry in self.received.studies()}
        self._offered = {study: since for study, since in self._offered.items() if study in there}

    def _is_finished(self, study: str) -> bool:
        item = self.work.get(study)
        return item is not None and item.state in ("answered", "skipped")

    def _is_unwanted(self, study: str) -> bool:
        now = time.monotonic()
        return study not in self.work and now - self._offered.get(study, now) > _UNWANTED_S


@contextmanager
def open_listening(config: WatchConfig, listen: Listen, work: WorkList) -> Iterator[ListeningArchive]:
    """Listen while the block runs.

    Args:
        config: Of the watch.
        listen: Its section.
        work: The work list.

    Raises:
        UsageError: The port cannot be listened on, a sender's URL is none, or the archive cannot commit.
        FileError: What was received before is damaged.
    """
    destination = open_archive(config.archive, config.settings)
    committing = destination if isinstance(destination, DimseArchive) and listen.commitment else None
    if listen.commitment and committing is None:
        raise UsageError("listen: only an archive that speaks DIMSE commits to keep answers", hint=_DIMSE_URL)
    senders = dict(_sender(text, config) for text in listen.senders)
    received = ReceivedStudies(config.work_folder / RECEIVED)
    listener = Listener(received, senders, None if committing is None else committing.title, commits=config.keep)
    with listening((listen.host, listen.port), config.settings, listener, tls=listen.tls):
        yield ListeningArchive(received, destination, listener, committing, config, work)


def _sender(text: str, config: WatchConfig) -> tuple[str, DimseArchive | None]:
    if "://" not in text:
        return text, None
    station = open_archive(text, config.settings)
    if not isinstance(station, DimseArchive):
        raise UsageError(f"listen: {text}: a sender speaks DIMSE", hint=_DIMSE_URL)
    return station.title, station


_DIMSE_URL = "give dicom://AET@HOST:PORT"
