"""Files that are written whole or not at all, their temporaries, and reading text, YAML and JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import yaml

from osteon.core.errors import DiskFullError, FileError, missing_file_error
from osteon.core.processes import machine_hash

_PART = ".part-"
_TAIL = 24
"""Characters of a file's name that its temporary keeps: a name may be as long as the system allows."""
_TEMPORARY = re.compile(rf"{re.escape(_PART)}(?:([0-9a-f]{{8}})-)?(\d+)-")
"""A temporary's machine (earlier ones named none) and process."""
_STALE_S = 24 * 3600.0
"""A temporary file that another machine has not touched for so long is stale."""
_cleaned: set[Path] = set()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it when the block ends without an error.

    The temporary keeps `path`'s suffixes, since many writers choose the format by them, and is called as no other is,
    of this process or another machine's. On an error it is removed and `path` is left as it was.

    Raises:
        DiskFullError: The disk is full.
        FileError: The folder cannot be written.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error, _error_number(error, temporary)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file another name too, or copy it where the disk has no links. Raises as `atomic_write`."""
    with atomic_write(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _error_number(error: OSError, temporary: Path) -> int | None:
    """The errno of a writer's error. Where it has none, writing more to the file gives it."""
    if not _is_partial_write(error):
        return error.errno
    try:
        with temporary.open("ab", buffering=0) as stream:
            for _ in range(16):
                stream.write(bytes(1 << 16))
            os.fsync(stream.fileno())
    except OSError as again:
        return again.errno
    return None  # there is room again


def _is_partial_write(error: OSError) -> bool:
    """Whether NumPy could write only a part: it does not hand the system's number on."""
    return error.errno is None and "requested and" in str(error)


def is_disk_full(error: OSError) -> bool:
    """Whether the disk, or the user's quota on it, was full, as far as the error tells."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_partial_write(error)


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
    """Whether a file exists. A path that no system takes (too long, a NUL byte) is no file, and no error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder exists. A path that no system takes is no folder, and no error."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


@contextmanager
def open_binary(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file's bytes, to be read. Raises FileError where it is missing (`what` it should be), or cannot be read."""
    if not path.is_file():
        raise missing_file_error(path, what)
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", hint="check the file's permissions") from error


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text whole or not at all.

    Of names of files that are not UTF-8 the bytes are written as `\udcXX`: JSON and YAML read them back as they were.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_yaml(path: Path, data: Any, *, head: str = "") -> None:
    """Write YAML in the order given, after comment lines `head`."""
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    write_text(path, comment + _yaml(data))


def _yaml(data: Any) -> str:
    """YAML, by libyaml where that writes what PyYAML does: it is ten times as fast, but folds lines elsewhere."""
    options: Any = {"sort_keys": False, "allow_unicode": True, "width": _WIDTH}
    with suppress(UnicodeEncodeError):  # bytes of names that are not UTF-8
        text: str = yaml.dump(data, Dumper=_FastDumper, **options)
        folded = any(len(line) > _WIDTH and not _UNBROKEN.fullmatch(line) for line in text.splitlines())
        if not folded and "\\U" not in text and "'':" not in text:
            return text
    return str(yaml.dump(data, Dumper=_Dumper, **options))


_WIDTH = 110
_UNBROKEN = re.compile(r"[ -]*([^\s\"']+: )?[^\s\"']+")
"""A line without a place to fold it, such as a long path."""


class _OnOneLine(yaml.representer.SafeRepresenter):
    """Writes lists of numbers on one line, so that `spacing_mm: [1.0, 1.0, 1.0]` reads as people write it."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """A list, on one line where it holds numbers or lists of numbers alone."""
        plain: yaml.SequenceNode = super().represent_sequence(tag, sequence, _is_numbers(sequence) or flow_style)
        return plain

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the name is the library's)
        """Never write `&id001`: equal lists are written out."""
        return True


class _Dumper(_OnOneLine, yaml.SafeDumper):
    """PyYAML's own."""


_FastDumper: Any = type("_FastDumper", (_OnOneLine, getattr(yaml, "CSafeDumper", yaml.SafeDumper)), {})
"""libyaml's, where PyYAML was built with it."""


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_numbers(part) for part in value)
    return isinstance(value, int | float)


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON; NaN is refused, since readers outside Python choke on it."""
    stream = io.StringIO()  # json.dumps would hold all its tokens at once
    json.dump(data, stream, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, stream.getvalue() + "\n")


def read_text(path: Path, what: str) -> str:
    """Read UTF-8 text (a byte order mark is skipped).

    Raises:
        FileError: `path` is missing or not text; `what` says what it should have been.
    """
    if not is_file(Path(path)):
        raise missing_file_error(Path(path), what)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {what} cannot be read ({error})", hint="save it as UTF-8 text") from error


def read_yaml(path: Path, what: str) -> Any:
    """Read YAML without ever running code. Raises FileError as `read_text`, or where it is not YAML."""
    try:
        text = read_text(path, what)
        with suppress(yaml.YAMLError):
            return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return yaml.safe_load(text)  # its errors show the line, and it knows bytes of names that are not UTF-8
    except (yaml.YAMLError, RecursionError) as error:  # lists in lists in lists, too
        raise FileError(f"{path}: {what} is not valid YAML ({error})", hint="correct the line named above") from error


def read_json(path: Path, what: str) -> Any:
    """Read JSON. Raises FileError as `read_text`, or where it is not JSON."""
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:  # numbers of 10,000 digits and lists in lists in lists, too
        raise FileError(f"{path}: {what} is not valid JSON ({error})", hint="correct the place named above") from error


def temporary_path(path: Path) -> Path:
    """Where a file is written until it is whole. No other process of any machine takes this name."""
    return path.with_name(f"{_PART}{machine_hash()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name[-_TAIL:]}")


def remove_stale(folder: Path) -> None:
    """Remove the temporaries of processes that were killed; a process looks once into a folder, which may be long."""
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    with os.scandir(folder) as entries:
        left = [(folder / entry.name, found) for entry in entries if (found := _TEMPORARY.match(entry.name))]
    for path, found in left:
        with suppress(OSError):
            here = found[1] == machine_hash()
            if not psutil.pid_exists(int(found[2])) if here else age_s(path) > _STALE_S:
                path.unlink()


def age_s(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the disk that it lies on; 0 where it is gone."""
    probe = path.with_name(f".probe-{secrets.token_hex(8)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)
