"""Files that are written whole or not at all, and those that lie below a folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from osteon.core.errors import DiskFullError, FileError, missing_file
from osteon.core.platform import TIMES_OF_CHANGE
from osteon.core.temporaries import sweep, temporary_beside


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The temporary keeps `path`'s suffixes, since many writers choose the format by them, and is called as no other is,
    of this process or another machine's. On an error it is removed and `path` is left as it was.

    Raises:
        DiskFullError: The disk is full.
        FileError: The folder cannot be written.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error, _number(error, temporary)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _number(error: OSError, temporary: Path) -> int | None:
    """The number of a writer's error. Where it has none, writing more of the file tells it."""
    if not _is_short(error):
        return error.errno
    try:
        with temporary.open("ab", buffering=0) as stream:
            for _ in range(16):
                stream.write(bytes(1 << 16))
            os.fsync(stream.fileno())
    except OSError as again:
        return again.errno
    return None  # there is room again


def _is_short(error: OSError) -> bool:
    """Whether NumPy could write only a part: it does not hand the system's number on."""
    return error.errno is None and "requested and" in str(error)


def is_disk_full(error: OSError) -> bool:
    """Whether the disk, or what one may use of it, was full, as far as the error tells."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_short(error)


def write_error(path: Path, error: OSError, number: int | None = None) -> FileError:
    """The error for a file that could not be written, with the way out.

    Args:
        path: The file.
        error: What the system said.
        number: The error's number, where it is known better than `error` has it.
    """
    number = errno.ENOSPC if number is None and is_disk_full(error) else number or error.errno
    again = "and run the same command again; what is done is kept"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path}: the disk is full", hint=f"free some space {again}")
    if number == errno.EFBIG:
        return FileError(
            f"{path}: is larger than this disk or the limit on file sizes (`ulimit -f`) allows",
            hint=f"write to another disk, or raise the limit, {again}",
        )
    if number == errno.ENAMETOOLONG:
        return FileError(f"{path}: the name is longer than this disk allows", hint="give a shorter name")
    return FileError(f"{path}: cannot be written ({error.strerror or error})", hint="check the folder's permissions")


def remove_file(path: Path) -> None:
    """Remove a file, where it is there. Raises FileError where that is not allowed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # there is none of such a name
            raise write_error(path, error) from error


def is_file(path: Path) -> bool:
    """Whether a file is there. A path that no system takes (too long, a NUL byte) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there. A path that no system takes is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


_POINTERS = (b"version https://git-lfs.github.com/spec/", b"annex/objects/", b"annex\\objects\\")
"""What stands in the file that Git LFS or git-annex leaves in the place of one that was not fetched."""
_LONGEST_POINTER = 1024
"""Bytes (github.com/git-lfs/git-lfs, docs/spec.md; git-annex.branchable.com/internals/pointer_file)."""


def files_below(folder: Path, *, hidden: bool = True, beside: str | None = None) -> Iterator[Path]:
    """All files below a folder, in an order that is the same on every machine.

    Links are followed, and each folder is read once: a link to a folder that is reached without it, or that holds the
    link itself, leads nowhere new.

    Args:
        folder: Where to begin.
        hidden: Whether files and folders that begin with a dot are taken.
        beside: Folders below that hold a file of this name are passed over.
    """
    return (path for path in _below(folder, hidden, beside) if is_file(path))


def absent_below(folder: Path, *, beside: str | None = None) -> Iterator[tuple[Path, str]]:
    """The names below a folder whose files are not there, and what lies in their place. Hidden ones are passed over.

    Args:
        folder: Where to begin.
        beside: As for `files_below`.
    """
    for path in _below(folder, False, beside):
        if path.is_symlink() and not path.exists():
            yield path, f"a link to {path.readlink()}, which is not there"
        elif is_pointer(path):
            yield path, "a pointer of Git LFS or git-annex to a file that was not fetched"


def is_pointer(path: Path) -> bool:
    """Whether a file is only what Git LFS or git-annex leaves in the place of one that was not fetched."""
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST_POINTER:
            return False
        head = path.read_bytes()
    except (OSError, ValueError):
        return False
    return head.startswith(_POINTERS[0]) or any(head.count(b"\n") < 2 and mark in head for mark in _POINTERS[1:])


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts `IM2` before `IM10`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _below(folder: Path, hidden: bool, beside: str | None) -> Iterator[Path]:
    """All that is no folder, links that lead nowhere too."""
    top = os.path.realpath(folder)
    seen = {top}

    def leads_on(name: str, above: str) -> bool:
        path = os.path.join(above, name)  # noqa: PTH118 (os.walk's)
        real = os.path.realpath(path)
        if os.path.islink(path):  # noqa: PTH114
            within = Path(real).relative_to(top).parts if _within(real, top) else None
            met = within is not None and (hidden or not any(part.startswith(".") for part in within))
            if met or _within(os.path.realpath(above), real):
                return False
        if real in seen:
            return False
        seen.add(real)
        return True

    for root, folders, names in os.walk(folder, followlinks=True):
        if beside in names and Path(root) != Path(folder):
            folders.clear()
            continue
        folders[:] = [n for n in sorted(folders, key=natural) if (hidden or n[0] != ".") and leads_on(n, root)]
        yield from (Path(root) / name for name in sorted(names, key=natural) if hidden or name[0] != ".")


def _within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


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


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text whole or not at all.

    Of names of files that are not UTF-8 the bytes are written as `\udcXX`: JSON and YAML read them back as they were.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_yaml(path: Path, data: Any, *, head: str = "") -> None:
    """Write YAML in the order given, after comment lines `head`."""
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    write_text(path, comment + yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


class _Dumper(yaml.SafeDumper):
    """Writes lists of numbers on one line, so that `spacing_mm: [1.0, 1.0, 1.0]` reads as people write it."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """A list, on one line where it holds numbers or lists of numbers alone."""
        return super().represent_sequence(tag, sequence, flow_style=_is_numbers(sequence) or flow_style)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the name is the library's)
        """Never write `&id001`: equal lists are written out."""
        return True


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_numbers(part) for part in value)
    return isinstance(value, int | float)


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON; NaN is refused, since readers outside Python choke on it."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path, what: str) -> str:
    """Read UTF-8 text (a byte order mark is passed over).

    Raises:
        FileError: `path` is missing or not text; `what` says what it should have been.
    """
    if not is_file(Path(path)):
        raise missing_file(Path(path), what)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {what} cannot be read ({error})", hint="save it as UTF-8 text") from error


def read_yaml(path: Path, what: str) -> Any:
    """Read YAML without ever running code. Raises FileError as `read_text`, or where it is not YAML."""
    try:
        return yaml.safe_load(read_text(path, what))
    except yaml.YAMLError as error:
        raise FileError(f"{path}: {what} is not valid YAML ({error})", hint="correct the line named above") from error


def read_json(path: Path, what: str) -> Any:
    """Read JSON. Raises FileError as `read_text`, or where it is not JSON."""
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:  # numbers of 10,000 digits and lists in lists in lists, too
        raise FileError(f"{path}: {what} is not valid JSON ({error})", hint="correct the place named above") from error
