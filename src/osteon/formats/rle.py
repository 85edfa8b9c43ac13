"""Masks as runs in text, and tables of them: `image_name,class,rle`, one row for each structure of each picture.

A run is its first pixel and its length. Osteon counts pixels from 1 along the rows of the picture (left to right, then
down); others do otherwise (`rle_convention`). A mask of nothing is an empty text. The table says no picture's size;
whoever decodes must know it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, LabelError
from osteon.core.files import atomic_write, open_binary
from osteon.formats.rle_convention import (
    DEFAULT_CONVENTION,
    DOWN_THE_COLUMNS,
    Base,
    RleConvention,
    convention_by_column,
)

COLUMNS = ("image_name", "class", "rle")
_OTHER_NAMES = {
    "image_name": ("image_name", "image", "imagename", "image_id", "imageid", "filename", "file_name"),
    "class": ("class", "class_name", "label", "structure", "classid", "class_id"),
    "rle": ("rle", *DOWN_THE_COLUMNS),
}
_MAX_ROW_BYTES = 1 << 26
"""Bytes. A mask of 2048² in which every second pixel is set takes 32 million; a longer row is a stray quote."""
_NUMBERS = re.compile(r"[0-9\s]*", re.ASCII)
_TOO_LONG = re.compile(r"[0-9]{19}", re.ASCII)
_open = partial(open_binary, what="the table of RLE")
_HINT = "pairs of first pixel and length are needed, such as `1 3 10 2`"


def decode_rle(
    text: str, shape: tuple[int, int], convention: RleConvention = DEFAULT_CONVENTION, *, name: str = "the RLE"
) -> npt.NDArray[np.bool_]:
    """The mask `[rows, columns]` of a text of runs.

    Args:
        text: First pixel and length in turns, separated by spaces; the runs in any order.
        shape: Rows and columns of the picture.
        convention: How pixels are counted.
        name: Where the text stands, for messages.

    Raises:
        LabelError: The text holds something else than whole numbers, or an odd count of them; a run begins before the
            first pixel, is empty, ends behind the picture, or overlaps another.
    """
    starts, lengths = check_runs(parse_runs(text, name=name), shape, base=convention.base, name=name).T
    ends = starts + lengths  # the first pixel behind each run, from 1
    stretches = np.empty(2 * len(starts) + 1, dtype=np.int64)  # background and run in turns
    stretches[0:-1:2] = starts - np.concatenate(([1], ends[:-1]))
    stretches[1::2] = lengths
    stretches[-1] = shape[0] * shape[1] - (ends[-1] - 1 if len(ends) else 0)
    flat = np.repeat(np.arange(len(stretches)) % 2 == 1, stretches)
    return flat.reshape(shape) if convention.order == "rows" else flat.reshape(shape[::-1]).T


def parse_runs(text: str, *, name: str = "the RLE") -> npt.NDArray[np.int64]:
    """The runs `[n, 2]` of first pixel and length that a text says. Raises LabelError as `decode_rle`.

    `-1` is none, as Kaggle's SIIM-ACR Pneumothorax Segmentation writes it.
    """
    text = "" if text.strip() == "-1" else text
    if not _NUMBERS.fullmatch(text) or _TOO_LONG.search(text):
        word = next((w for w in text.split() if not re.fullmatch(r"[0-9]{1,18}", w, re.ASCII)), "")
        raise LabelError(f"{name}: `{word[:40]}` is no pixel and no length", hint=_HINT)
    numbers = np.fromstring(text, dtype=np.int64, sep=" ") if text.strip() else np.zeros(0, np.int64)
    if len(numbers) % 2:
        raise LabelError(f"{name}: {len(numbers)} numbers; the last run has no length", hint=_HINT)
    return numbers.reshape(-1, 2)


def check_runs(
    runs: npt.NDArray[np.int64], shape: tuple[int, int], *, base: Base = 1, name: str = "the RLE"
) -> npt.NDArray[np.int64]:
    """The runs `[n, 2]`, counted from 1, in ascending order, all of them within the picture.

    Args:
        runs: As `parse_runs` gives them.
        shape: Rows and columns of the picture.
        base: The first pixel's number in `runs`.
        name: For messages.

    Raises:
        LabelError: As `decode_rle`.
    """
    pixels = shape[0] * shape[1]
    starts, lengths = runs[:, 0], runs[:, 1]
    if (starts < base).any():
        raise LabelError(f"{name}: a run begins at pixel 0; the first pixel is 1", hint=_HINT)
    if (lengths < 1).any():
        raise LabelError(f"{name}: the run at pixel {starts[lengths < 1][0]} has the length 0", hint=_HINT)
    last = pixels - 1 + base
    beyond = (starts > last) | (lengths > last - starts + 1)
    if beyond.any():
        start, length = runs[beyond][0]
        raise LabelError(
            f"{name}: the run {start} {length} ends behind the picture, which has {shape[0]} rows of {shape[1]} "
            f"pixels ({pixels})",
            hint="give the picture's true size",
        )
    if (starts[1:] < starts[:-1]).any():
        runs = runs[np.argsort(starts, kind="stable")]
        starts, lengths = runs[:, 0], runs[:, 1]
    overlapping = starts[1:] < starts[:-1] + lengths[:-1]
    if overlapping.any():
        at = int(np.argmax(overlapping))
        raise LabelError(f"{name}: the runs at pixel {starts[at]} and {starts[at + 1]} overlap", hint=_HINT)
    runs = runs + np.array([1 - base, 0])
    return runs


def encode_rle(mask: npt.NDArray[np.generic]) -> str:
    """The text of a mask `[rows, columns]`: the fewest runs, in ascending order. `decode_rle` is its exact inverse."""
    flat = np.zeros(mask.size + 2, dtype=bool)
    flat[1:-1] = np.asarray(mask).reshape(-1) != 0
    edges = np.flatnonzero(flat[1:] != flat[:-1])  # in turns: where a run begins, and where it has ended
    runs = edges.reshape(-1, 2).copy()
    runs[:, 1] -= runs[:, 0]
    runs[:, 0] += 1
    return runs_to_text(runs)


def runs_to_text(runs: npt.NDArray[np.int64]) -> str:
    """The text of runs `[n, 2]` as they are; `parse_runs` is its inverse."""
    return " ".join(map(str, runs.ravel().tolist()))


@dataclass(frozen=True)
class RleRow:
    """One row of a table.

    Attributes:
        line: Its line in the file, from 1.
        image: The picture's name, as the table writes it.
        structure: The structure's name.
        rle: The runs, not yet looked at.
        offset: Where the row begins in the file, in bytes; see `read_rle_rows`.
    """

    line: int
    image: str
    structure: str
    rle: str
    offset: int


def read_rle_csv(path: Path, *, broken: Callable[[int, FileError], None] | None = None) -> Iterator[RleRow]:
    """The rows of a table one after the other, in little memory; other columns and empty lines are skipped.

    Args:
        path: The file.
        broken: Called with line and error of each row that cannot be read; None: the error is raised.

    Raises:
        FileError: The file is missing or not text, its heading lacks a column, or a row is too short; the message
            names the line.
    """
    path = Path(path)
    with _open(path) as stream:
        columns, separator, _ = _heading(stream, path)
        for line, offset, record in _records(stream):
            try:
                row = _row(record, line, offset, columns, separator, path)
            except FileError as error:
                if broken is None:
                    raise
                broken(line, error)
            else:
                yield row


def read_rle_rows(path: Path, rows: Sequence[tuple[int, int]]) -> Iterator[RleRow]:
    """Some rows of a table again, given by `line` and `offset`, without reading the others. Raises FileError."""
    path = Path(path)
    with _open(path) as stream:
        columns, separator, _ = _heading(stream, path)
        for line, offset in rows:
            stream.seek(offset)
            record = next(_records(stream, first_line=line), None)
            if record is None:
                raise FileError(f"{path}: has changed while it was read", hint="run the command again")
            yield _row(record[2], line, offset, columns, separator, path)


def write_rle_csv(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write a table row by row: picture, structure, runs (as `encode_rle` gives them). Raises FileError."""
    with atomic_write(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def is_rle_csv(path: Path) -> bool:
    """Whether a file's heading is that of such a table."""
    try:
        read_convention(path)
    except FileError:
        return False
    return True


def describe_missing_columns(path: Path) -> str:
    """What keeps a table with runs from being one that is read, in words; empty where no column holds runs."""
    try:
        with _open(Path(path)) as stream:
            raw = stream.readline(_MAX_ROW_BYTES).decode("utf-8-sig", errors="replace").strip()
    except FileError:
        return ""
    separator = max(",;\t", key=raw.count)
    names = [name.strip().lower() for name in _fields(raw, separator)]
    if not any(name in _OTHER_NAMES["rle"] for name in names):
        return ""
    missing = [column for column in COLUMNS if not any(name in _OTHER_NAMES[column] for name in names)]
    return f"{path.name} has runs, but no column {' and no column '.join(missing)}" if missing else ""


def read_convention(path: Path) -> RleConvention:
    """How a table counts, as far as its heading tells. Raises FileError where it is none."""
    with _open(Path(path)) as stream:
        return _heading(stream, Path(path))[2]


def _heading(stream: BinaryIO, path: Path) -> tuple[tuple[int, int, int], str, RleConvention]:
    """Where the three columns stand, what separates them, how pixels are counted; the stream is at the first row."""
    raw = stream.readline(_MAX_ROW_BYTES).decode("utf-8-sig", errors="replace").strip()
    for separator in (",", ";", "\t"):
        written = _fields(raw, separator)
        names = [name.strip().lower() for name in written]
        places = [next((names.index(n) for n in _OTHER_NAMES[c] if n in names), -1) for c in COLUMNS]
        if min(places) >= 0:
            return (places[0], places[1], places[2]), separator, convention_by_column(written[places[2]])
    raise FileError(
        f"{path}: its first line names no columns {', '.join(COLUMNS)}", hint=f"begin the file with {','.join(COLUMNS)}"
    )


def _records(stream: BinaryIO, *, first_line: int = 2) -> Iterator[tuple[int, int, bytes]]:
    """Line, offset and bytes of each record; a quoted field may go over several lines.

    Where a quote is never closed the record is its first line alone, with an odd count of quotes, and the next one
    begins behind that.
    """
    line, offset = first_line, stream.tell()
    while raw := stream.readline(_MAX_ROW_BYTES):
        parts, quotes, length = [raw], raw.count(b'"'), len(raw)
        while quotes % 2 and length < _MAX_ROW_BYTES and (more := stream.readline(_MAX_ROW_BYTES)):
            parts.append(more)
            quotes, length = quotes + more.count(b'"'), length + len(more)
        if quotes % 2:
            parts = [raw]
            stream.seek(offset + len(raw))
        record = b"".join(parts)
        if record.strip():
            yield line, offset, record
        line, offset = line + len(parts), offset + len(record)


def _row(raw: bytes, line: int, offset: int, columns: tuple[int, int, int], separator: str, path: Path) -> RleRow:
    if raw.count(b'"') % 2 or len(raw) >= _MAX_ROW_BYTES:
        raise FileError(f"{path}: line {line} does not end; a quote is missing", hint="save the table again as CSV")
    try:
        record = raw.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: line {line} is not UTF-8 ({error})", hint="save it as UTF-8 text") from error
    fields = _fields(record, separator)
    image, structure, runs = columns
    if max(image, structure) >= len(fields) or not fields[image].strip() or not fields[structure].strip():
        raise FileError(
            f"{path}: line {line} names no picture and structure: {record[:60]}", hint=f"write {','.join(COLUMNS)}"
        )
    text = fields[runs].strip() if runs < len(fields) else ""
    return RleRow(line, fields[image].strip(), fields[structure].strip(), text, offset)


def _fields(record: str, separator: str) -> list[str]:
    if '"' not in record:  # the csv module has a limit of its own on long fields
        return record.split(separator)
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_ROW_BYTES))
    return next(csv.reader(io.StringIO(record, newline=""), delimiter=separator), [])
