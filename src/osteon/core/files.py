"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import glob
import json
import os
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

import psutil
import yaml

from osteon.core.errors import FileError, missing_file


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The temporary keeps `path`'s suffixes, since many writers choose the format by them. On an error the
    temporary is removed and `path` is left as it was.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sweep(path: Path) -> None:
    """Remove what a killed process has left of an earlier attempt at the same file."""
    for left in path.parent.glob(f".part-*-{glob.escape(path.name)}"):
        process = left.name.removeprefix(".part-").partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> FileError:
    """The error for a file that could not be written, with the way out."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FileError(
            f"{path}: the disk is full", hint="free some space and run the same command again; what is done is kept"
        )
    if error.errno == errno.EFBIG:
        return FileError(
            f"{path}: is larger than this disk or the limit on file sizes (`ulimit -f`) allows",
            hint="write to another disk, or raise the limit, and run the same command again; what is done is kept",
        )
    if error.errno is None and "requested and" in str(error):  # NumPy does not hand the number on
        return FileError(
            f"{path}: could be written only in part ({error}); the disk is full, or a limit on file sizes is reached",
            hint="free some space and run the same command again; what is done is kept",
        )
    return FileError(f"{path}: cannot be written ({error.strerror or error})", hint="check the folder's permissions")


def is_file(path: Path) -> bool:
    """Whether a file is there. A path that no system takes (too long, a NUL byte) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def name_key(name: str) -> str:
    """The same for names that are one file on some system: Windows and macOS do not tell capitals apart, and macOS does
    not tell a letter with its accent (NFC) from a letter and an accent (NFD).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the first of name-2, name-3 … whose key (`name_key`) is not among those taken."""
    others = (f"{name}-{number}" for number in count(2))
    return next(own for own in chain([name], others) if name_key(own) not in taken)


def file_state(path: Path) -> str:
    """Size and time of change: what tells, without reading it, whether a file is still the one that was read."""
    if not is_file(path):
        return "missing"
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
