"""The tree of errors.

OsteonError                 a message, and a hint that says the way out
├── UsageError              the command or the arguments do not make sense            exit 2
│   ├── AccessError         an archive of images does not let this user or station in    exit 2
│   ├── ConflictError       what is to be changed was changed by somebody else meanwhile  exit 2
│   └── PlanError           a key of plan.yaml is missing, unknown or nonsense        exit 2
└── CaseError               something is wrong with data, named by file or case       exit 1
    ├── FileError           a file is missing, truncated, unreadable or unwritable
    │   └── DiskFullError       the disk is full, which is no case's fault: the work stops, what is done is kept
    ├── ArchiveError        an archive of images refused, or did not do what it was asked
    │   ├── ArchiveDownError    it does not answer: the same may work later
    │   ├── ArchiveFullError    it has no room
    │   └── SeriesChangedError  a series grew while it was fetched: it is to be waited for
    ├── GeometryError       two grids that must be the same are not
    ├── LabelError          a segmentation holds what its structures do not name
    │   └── UnknownValueError   a number that no structure has
    ├── ImageError          an image holds what no scanner measures (NaN, Inf, nothing)
    ├── DatasetError        the dataset as a whole cannot serve (one case, too few for the folds)
    ├── ModelError          a model folder lacks a file or holds a wrong one
    ├── DivergedError       the loss of a training is no longer a number
    └── RankError           one of the processes of a training over several devices failed, or was ended
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path

import psutil

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_REQUESTED = re.compile(rf"allocate (?:more than )?([\d.]+) ({'|'.join(_UNITS)})\b")
"""How NumPy and torch name the memory that they did not get."""
_NO_MEMORY = ("can't allocate memory", "annot allocate memory", "failed to map segment", "can't start new thread")
"""In the messages of torch, the system, its loader of libraries, and Python."""


class OsteonError(Exception):
    """What went wrong, where, and what to do about it.

    Args:
        message: One sentence that names the file, case or key and says what is wrong with it.
        hint: The way out, as an instruction. Shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (parallel cases); the default would lose the keyword `hint`.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[OsteonError], message: str, hint: str) -> OsteonError:
    return kind(message, hint=hint)


class UsageError(OsteonError):
    """The command or its arguments do not make sense."""

    exit_code = 2


class AccessError(UsageError):
    """An archive does not let this user or this station in."""


class ConflictError(UsageError):
    """What is to be changed was changed by somebody else meanwhile."""


class PlanError(UsageError):
    """A key of plan.yaml is missing, unknown or nonsense."""


class CaseError(OsteonError):
    """Something is wrong with the data of one case."""


class FileError(CaseError):
    """A file is missing, truncated, unreadable or cannot be written."""


class DiskFullError(FileError):
    """The disk is full. No case is to blame, and none after it would fare better: work on many stops here."""


class ArchiveError(CaseError):
    """An archive of images refused, or did not do what it was asked."""


class ArchiveDownError(ArchiveError):
    """An archive does not answer, or says that it cannot now: the same may work later."""


class ArchiveFullError(ArchiveError):
    """An archive has no room for what it was sent."""


class SeriesChangedError(ArchiveError):
    """A series of an archive changed while it was fetched: it is to be waited for."""


class GeometryError(CaseError):
    """Two grids that must be the same are not."""


class LabelError(CaseError):
    """A segmentation holds values that its structures do not name, or none at all."""


class UnknownValueError(LabelError):
    """A segmentation holds a number that no structure has: what its other numbers mean is in doubt, too."""


class ImageError(CaseError):
    """An image holds values that no scanner measures."""


class DatasetError(CaseError):
    """The dataset as a whole cannot serve the purpose."""


class ModelError(CaseError):
    """A model folder lacks a file or holds a wrong one."""


class DivergedError(CaseError):
    """The loss of a training is no longer a number."""


class RankError(CaseError):
    """One of the processes of a training over several devices has failed, or was ended."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was short: torch and the system raise errors of other classes than MemoryError."""
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which core does not import
        or any(words in str(error) for words in _NO_MEMORY)
    )


def memory_error(name: str, error: Exception, hint: str) -> CaseError:
    """The error for a case that memory did not suffice for, with what was asked for where `error` says it.

    Args:
        name: The case, for people.
        error: One that `is_out_of_memory` knows.
        hint: The way out, unless the machine has no such amount at all.
    """
    requested = _REQUESTED.search(str(error))
    if requested is None:
        return CaseError(f"{name}: not enough memory", hint=hint)
    amount = float(requested[1]) * 1024 ** _UNITS.index(requested[2])
    if amount > psutil.virtual_memory().total:
        hint = "that is more than this machine has: crop the scan, or use another machine"
    return CaseError(f"{name}: not enough memory ({requested[1]} {requested[2]} were asked for at once)", hint=hint)


def summarise_error(error: object) -> str:
    """The first line of another library's error, cut to 200 characters, for a message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else f"{lines[0][:200]}…"


def missing_file_error(path: Path, what: str) -> FileError:
    """The error for a file that is named somewhere but is not there."""
    with suppress(OSError, ValueError):  # a name that no system takes
        target = path.readlink()
        return FileError(
            f"{path}: {what} is a link to {target}, which is not there",
            hint="restore what it leads to (`git annex get`, the disk that it names), or correct the link",
        )
    return FileError(f"{path}: {what} does not exist", hint="check the path, or restore the file")
