"""Stamps that tell whether a file, or a folder's content, has changed, by times or bytes; and which file is oldest."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from osteon.core.errors import FileError
from osteon.core.files import is_file, is_folder
from osteon.core.platform import HAS_CHANGE_TIMES

DAY_S = 86_400.0


def modification_stamp(path: Path) -> str:
    """Size and time of writing (ns), which tell without reading whether a file was written again; or `missing`.

    Programs can set that time; where an outdated file would do harm, compare `content_stamp`.
    """
    if not is_file(path):
        return "missing"
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def content_stamp(path: Path) -> str:
    """Size, times (ns) and SHA-256 of a file, or of all files in a folder, with a space between them.

    The second time is that of the last change of any kind, which no program can set: `cp -p` and `rsync -t` bring a
    file's size and time of writing along, but not this one. So `refresh_stamp` need not read what has not been touched.
    """
    return f"{file_times(path)} {_digest(path)}"


def refresh_stamp(path: Path, stamp: str) -> str | None:
    """The stamp with the file's times as they are now, where its bytes are those that `stamp` was made of; else None.

    Bytes are read only where size is the same and a time is not. A stamp without a digest (an earlier osteon's) is
    compared by size and time of writing.
    """
    before, now = stamp.split(" "), file_times(path)
    if len(before) < len(now.split(" ")) + 1:
        return stamp if before == now.split(" ")[: len(before)] else None
    if before[0] != now.split(" ")[0]:
        return None
    if HAS_CHANGE_TIMES and before[:-1] == now.split(" "):
        return stamp
    return f"{now} {before[-1]}" if _digest(path) == before[-1] else None


def file_times(path: Path) -> str:
    """Size, time of writing and time of any change; of a folder their sum and the latest. Nothing is read.

    Where these are the same the file is (on Windows, which keeps no time of any change, it almost always is); where
    they differ it may be all the same.
    """
    facts = [part.stat() for part in _files(path)]
    if not facts:
        return "missing 0 0"
    written, changed = max(fact.st_mtime_ns for fact in facts), max(fact.st_ctime_ns for fact in facts)
    return f"{sum(fact.st_size for fact in facts)} {written} {changed}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in _files(path):
        try:
            with part.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise FileError(f"{part}: cannot be read ({error.strerror})", hint="check its permissions") from error
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """The file itself, or all files below a folder."""
    if is_file(path):
        return [path]
    return sorted(part for part in path.rglob("*") if part.is_file()) if is_folder(path) else []


def age_key(path: Path) -> float:
    """A key that sorts files by when they were written, the oldest first, for caches that keep the newest.

    A file from the future (by a day, since disks of a network have clocks of their own) was written by a clock that
    was wrong: it counts as the oldest, else it would outlast everything that is written from now on.
    """
    written = path.stat().st_mtime
    return written if written < time.time() + DAY_S else 0.0
