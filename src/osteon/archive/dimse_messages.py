"""What is said in an association of DIMSE: statuses of answers, what is asked for, and instances that arrive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.archive.fetching import Inbox
from osteon.core.errors import ArchiveDownError, ArchiveError, ArchiveFullError, OsteonError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SUCCESS = 0x0000
CANNOT_UNDERSTAND = 0xC000
OUT_OF_RESOURCES = 0xA700
_FULL = range(0xA700, 0xA800)
"""Statuses: PS3.7, C; PS3.4, B.2.3."""


class NotOfferedError(ArchiveError):
    """What was asked for is none of an archive's services."""


class Taker:
    """Answers C-STORE; what goes wrong is kept for who waits, and everything after it is refused."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox, self.error = inbox, None

    error: OsteonError | None

    def __call__(self, event: Any) -> int:
        """The status of the answer."""
        if self.error is not None:
            return CANNOT_UNDERSTAND
        content = event.encoded_dataset()
        try:
            self.inbox.take(event.dataset, lambda path: path.write_bytes(content))
        except OsteonError as error:
            self.error = error
            return CANNOT_UNDERSTAND
        return SUCCESS


def series_identifier(inbox: Inbox) -> Dataset:
    """What C-GET and C-MOVE ask for: the series of an inbox."""
    from pydicom.dataset import Dataset

    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = inbox.study, inbox.series
    return identifier


def read_status(status: Dataset) -> int:
    """Of an answer. Raises ArchiveDownError where there was none."""
    if "Status" not in status:
        raise ArchiveDownError("the archive ended the connection, or gave no answer in time", hint="try again later")
    return int(status.Status)


def check_stored(path: Path, answer: Dataset) -> None:
    """Raise ArchiveFullError or ArchiveError where a file was not taken; ArchiveDownError without an answer."""
    number = read_status(answer)
    if number == SUCCESS or number >> 12 == 0xB:  # B…: taken, with a warning
        return
    if number in _FULL:
        raise ArchiveFullError(f"{path}: the archive is out of resources (status 0x{number:04X})", hint="send it later")
    raise ArchiveError(f"{path}: the archive refuses it (status 0x{number:04X})", hint="its log says why")


def every_syntax() -> list[str]:
    """UIDs of all transfer syntaxes."""
    from pynetdicom import ALL_TRANSFER_SYNTAXES

    return [str(syntax) for syntax in ALL_TRANSFER_SYNTAXES]
