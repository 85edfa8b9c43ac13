"""Whether a file, or what lies in a folder, is still what it was: by size and times, or by its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from osteon.core.errors import FileError
from osteon.core.files import is_file, is_folder
from osteon.core.platform import TIMES_OF_CHANGE


def file_state(path: Path) -> str:
    """Size and time of writing: what tells, without reading it, whether a file still is the one that was written.

    Programs can set that time; where something would be made of an outdated file, compare `file_mark`.
    """
    if not is_file(path):
        return "missing"
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def file_mark(path: Path) -> str:
    """What tells whether a file (or what lies in a folder) is still the same: size, times, and SHA-256 of its bytes.

    The second time is that of the last change of any kind, which no program can set: `cp -p` and `rsync -t` bring a
    file's size and time of writing along, but not this one. So `still` need not read what has not been touched.
    """
    return f"{file_times(path)} {_digest(path)}"


def still(path: Path, mark: str) -> str | None:
    """The mark of a file whose bytes are those that `mark` was made of, with its times as they are now; None: changed.

    Bytes are read only where size is the same and a time is not. A mark that has no digest (an earlier osteon's) is
    compared by size and time of writing.
    """
    before, now = mark.split(" "), file_times(path)
    if len(before) < len(now.split(" ")) + 1:
        return mark if before == now.split(" ")[: len(before)] else None
    if before[0] != now.split(" ")[0]:
        return None
    if TIMES_OF_CHANGE and before[:-1] == now.split(" "):
        return mark
    return f"{now} {before[-1]}" if _digest(path) == before[-1] else None


def file_times(path: Path) -> str:
    """Size, time of writing and time of any change; of a folder their sum and the latest. Nothing is read.

    Where these are the same the file is (on Windows, which keeps no time of any change, it almost always is); where
    they differ it may be all the same.
    """
    facts = [part.stat() for part in _parts(path)]
    if not facts:
        return "missing 0 0"
    written, changed = max(fact.st_mtime_ns for fact in facts), max(fact.st_ctime_ns for fact in facts)
    return f"{sum(fact.st_size for fact in facts)} {written} {changed}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in _parts(path):
        try:
            with part.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise FileError(f"{part}: cannot be read ({error.strerror})", hint="check its permissions") from error
    return digest.hexdigest()


def _parts(path: Path) -> list[Path]:
    """The file itself, or all files below a folder."""
    if is_file(path):
        return [path]
    return sorted(part for part in path.rglob("*") if part.is_file()) if is_folder(path) else []
