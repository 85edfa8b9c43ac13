"""Where each row of many tables of RLE stands, so that one picture's rows are read when its turn comes.

Of a row four numbers are kept: fifty tables of 500 pictures and 29 structures take 25 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, LabelError
from osteon.core.file_stamps import file_times
from osteon.formats.raster import SUFFIXES
from osteon.formats.rle import RleRow, check_runs, decode_rle, parse_runs, read_convention, read_rle_csv, read_rle_rows
from osteon.formats.rle_convention import RENAME, ConventionEvidence
from osteon.voting.report import Problem
from osteon.voting.run_length import RunLengthMask, encode_mask
from osteon.voting.structures import HINT, UNKNOWN_NAME

_WIDTH = 4
"""Picture, structure, line, offset."""


def picture_name(name: str) -> str:
    """What a picture is called without the suffix of a picture: tables write `hand1.png` and `hand1`."""
    lowered = name.lower()
    suffix = next((suffix for suffix in SUFFIXES if lowered.endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or name


@dataclass
class NameTable:
    """Names of pictures or structures, numbered in the order in which they were met first."""

    numbers: dict[str, int] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)

    def number(self, key: str, name: str) -> int:
        """The number of a name; `name` is how it is written when it is met for the first time."""
        if key not in self.numbers:
            self.numbers[key] = len(self.written)
            self.written.append(name)
        return self.numbers[key]


class RowIndex:
    """The rows of one table.

    Args:
        path: The table.
        pictures: All tables' pictures, by the name without its suffix.
        structures: All tables' structures.

    Attributes:
        problems: Rows that cannot be read or stand there twice; the first of two counts.
        counting: How the table counts pixels.

    Raises:
        FileError: The table is missing, or its heading lacks a column.
    """

    def __init__(self, path: Path, pictures: NameTable, structures: NameTable) -> None:
        self.path = Path(path)
        self.member = str(path)
        self.state = file_times(self.path)
        self.counting = read_convention(self.path)
        self._evidence = ConventionEvidence()
        self.problems: list[Problem] = []
        self._names = structures.written
        places = array("q")
        aliases: dict[int, str] = {}
        for row in read_rle_csv(self.path, broken=self._unreadable):
            picture = pictures.number(picture_name(row.image), row.image)
            alias = aliases.setdefault(picture, row.image)
            if alias != row.image:
                self._add("twice", row, f"calls {row.image} what is {alias} above", "give a picture one name")
                continue
            places.extend((picture, structures.number(row.structure, row.structure), row.line, row.offset))
        self._rows = np.array(places, dtype=np.int64).reshape(-1, _WIDTH)
        order = np.lexsort((self._rows[:, 2], self._rows[:, 1], self._rows[:, 0]))
        self._rows = self._rows[order]
        self._drop_twins(pictures)
        self._starts = np.searchsorted(self._rows[:, 0], np.arange(len(pictures.written) + 1))
        self.pictures = frozenset(np.unique(self._rows[:, 0]).tolist())
        self.structures = frozenset(np.unique(self._rows[:, 1]).tolist())

    def _drop_twins(self, pictures: NameTable) -> None:
        same = (self._rows[1:, :2] == self._rows[:-1, :2]).all(axis=1)
        for number in np.flatnonzero(same) + 1:
            picture, structure, line, offset = self._rows[number].tolist()
            image, name = pictures.written[picture], self._names[structure]
            row = RleRow(line, image, name, "", offset)
            first = int(self._rows[number - 1][2])
            self._add("twice", row, f"marks {name} in {image} again, after line {first}", "remove one of the rows")
        keep = np.r_[True, ~same][: len(self._rows)]
        self._rows = self._rows[keep]

    def of_picture(self, picture: int) -> dict[int, tuple[int, int]]:
        """Line and offset of each structure that the table marks in a picture."""
        if picture + 1 >= len(self._starts):
            return {}
        part = self._rows[self._starts[picture] : self._starts[picture + 1]]
        return {structure: (line, offset) for _, structure, line, offset in part.tolist()}

    def unknown(self, known: frozenset[int], pictures: NameTable) -> Iterator[Problem]:
        """The rows of structures that are not `known`."""
        for picture, structure, line, _ in self._rows[~np.isin(self._rows[:, 1], sorted(known))].tolist():
            image, name = pictures.written[picture], self._names[structure]
            what = f"{self.path}: line {line} marks {name}, which {UNKNOWN_NAME}"
            yield Problem("unknown", self.member, what, HINT, image, name, line)

    def read(self, place: tuple[int, int], shape: tuple[int, int]) -> RunLengthMask:
        """One row's runs in a picture of so many rows and columns.

        Raises:
            FileError: The table has changed.
            LabelError: The runs are broken, or end behind the picture.
        """
        (row,) = read_rle_rows(self.path, [place])
        name = f"{self.path}: line {row.line} ({row.structure} in {row.image})"
        parsed = parse_runs(row.rle, name=name)
        runs = check_runs(parsed, shape, base=self.counting.base, name=name)
        self._evidence.add(parsed, shape, row.line)
        if self.counting.order == "columns":
            return encode_mask(decode_rle(row.rle, shape, self.counting, name=name))
        return RunLengthMask(runs[:, 0] - 1, runs[:, 0] - 1 + runs[:, 1])

    def read_mask(
        self, place: tuple[int, int], shape: tuple[int, int], case: str, structure: str
    ) -> RunLengthMask | Problem:
        """As `read`; the problem where that raises LabelError. Raises FileError as `read`."""
        try:
            return self.read(place, shape)
        except LabelError as error:
            return Problem("broken", self.member, error.message, error.hint, case, structure, place[0])

    def doubt(self) -> Problem | None:
        """That the masks read so far look as if pixels were counted in another way; None where they do not."""
        what = self._evidence.doubt(self.counting)
        return None if what is None else Problem("counted", self.member, f"{self.path}: {what}", RENAME)

    def check_unchanged(self) -> None:
        """Raise FileError where the table is not the one that was indexed."""
        if file_times(self.path) != self.state:
            raise FileError(f"{self.path}: has changed while it was read", hint="run the command again")

    def _unreadable(self, line: int, error: FileError) -> None:
        self.problems.append(Problem("broken", self.member, error.message, error.hint, line=line))

    def _add(self, kind: str, row: RleRow, what: str, hint: str) -> None:
        text = f"{self.path}: line {row.line} {what}; skipped"
        self.problems.append(Problem(kind, self.member, text, hint, row.image, row.structure, row.line))
