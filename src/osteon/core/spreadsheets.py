"""Tables (CSV) that people open in a spreadsheet, which takes a cell for a formula by its first character.

A name that begins so (of a structure, a case, a patient in a DICOM header: they are untrusted) gets an apostrophe in
front, as https://owasp.org/www-community/attacks/CSV_Injection has it. Numbers stay numbers. `unescape_cell` takes it
away where osteon reads such a table. Tables of RLE are not among these: programs compare their names letter
by letter.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Apostrophes among it, so that no two names become one; the last four are full-width."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def escape_cell(value: object) -> object:
    """A value as it is written: text that a spreadsheet would compute gets an apostrophe in front."""
    risky = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if risky else value


def unescape_cell(text: str) -> str:
    """The inverse of `escape_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_rows(stream: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write a table, its heading being the first row; None is an empty cell."""
    csv.writer(stream, lineterminator="\n").writerows([escape_cell(value) for value in row] for row in rows)


def tabulate(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> Iterator[Sequence[object]]:
    """Rows with a heading, from mappings; what a mapping lacks is an empty cell."""
    yield names
    for row in rows:
        yield [row.get(name) for name in names]


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """A table as the text of its file."""
    stream = io.StringIO()
    write_rows(stream, rows)
    return stream.getvalue()


def read_rows(stream: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of such a table by its heading, unescaped; a cell that a row lacks is empty."""
    for row in csv.DictReader(stream):
        yield {name: unescape_cell(value or "") for name, value in row.items() if name is not None}
