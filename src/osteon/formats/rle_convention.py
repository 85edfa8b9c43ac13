"""How a table of RLE counts pixels, and whether its masks look as if that were right.

Osteon counts along the rows, from 1. Kaggle's competitions that call the column `EncodedPixels` or `rle_mask` count
down the columns, from 1: "the pixels are one-indexed and numbered from top to bottom, then left to right" (Airbus Ship
Detection, TGS Salt Identification, Severstal). No table says it in so many words.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Order = Literal["rows", "columns"]
Base = Literal[0, 1]
RunArray = npt.NDArray[np.int64]

DOWN_THE_COLUMNS = ("encodedpixels", "encoded_pixels", "rle_mask")
"""Names of the column with the runs, in small letters; with every other name they go along the rows."""
MAX_ROWS = 2000
"""Rows of a table that are looked at."""
_TIMES = 2.0
"""Where outlines get longer than this by counting the one way, pixels were counted the other way."""
_BROKEN = 3
"""So many runs that go over a picture's edge are no chance."""


@dataclass(frozen=True)
class RleConvention:
    """How pixels are counted.

    Attributes:
        order: Along what.
        base: The first pixel's number.
        why: In words.
    """

    order: Order = "rows"
    base: Base = 1
    why: str = "as osteon counts them"

    def describe(self) -> str:
        """In words."""
        return f"runs are counted along {self.order}, from {self.base} ({self.why})"


DEFAULT_CONVENTION = RleConvention()
RENAME = "call the column `rle` where pixels go along the rows, `EncodedPixels` where down the columns, both from 1"
"""The way out where no option says how pixels are counted."""


def convention_by_column(column: str) -> RleConvention:
    """What the name of the column with the runs tells."""
    down = column.strip().lower() in DOWN_THE_COLUMNS
    return RleConvention("columns" if down else "rows", 1, f"by the column's name {column.strip()[:40]}")


@dataclass
class ConventionEvidence:
    """What the masks of a table look like, counted along rows and along columns.

    A structure hangs together: what lies in one line mostly lies in the next one, too. Counted the wrong way it becomes
    scattered stripes, whose outline is many times as long. In square pictures the one is the other, turned over.

    Attributes:
        rows: Looked at.
        outline: By order, edges of pixels between a mask and its outside.
        broken: By order and base, runs that begin within a line and end within another.
        square: Whether all pictures are.
        zero: The line of the table's first run that begins at 0.
    """

    rows: int = 0
    outline: dict[Order, int] = field(default_factory=lambda: {"rows": 0, "columns": 0})
    broken: dict[tuple[Order, Base], int] = field(default_factory=lambda: defaultdict(int))
    square: bool = True
    zero: int | None = None

    def add(self, runs: RunArray, shape: tuple[int, int] | None, line: int) -> None:
        """Look at a row's runs `[n, 2]` as the table has them, in a picture of so many rows and columns, if known."""
        if len(runs) and self.zero is None and (runs[:, 0] == 0).any():
            self.zero = line
        if self.rows >= MAX_ROWS or not len(runs) or shape is None:
            return
        self.rows += 1
        self.square &= shape[0] == shape[1]
        runs = runs[np.argsort(runs[:, 0], kind="stable")]
        starts, stops = runs[:, 0], runs.sum(axis=1)
        lines: tuple[tuple[Order, int], ...] = (("rows", shape[1]), ("columns", shape[0]))
        bases: tuple[Base, Base] = (0, 1)
        for order, length in lines:
            beside = _below(stops + length, runs) - _below(starts + length, runs)
            self.outline[order] += 2 * (len(runs) + int((runs[:, 1] - beside).sum()))
            for base in bases:
                first, last = (starts - base) % length, (stops - base) % length
                self.broken[order, base] += int(((first > 0) & (last > 0) & (first + runs[:, 1] > length)).sum())

    def other_order(self, convention: RleConvention) -> tuple[Order, str] | None:
        """The order that fits far better, and why; None where there is none."""
        other: Order = "rows" if convention.order == "columns" else "columns"
        here, there = self.outline[convention.order], self.outline[other]
        if not self.square and here > _TIMES * there:
            why = f"its masks are stripes: counted along {other}, their outlines are {here / there:.1f} times shorter"
        elif (
            not self.square
            and self._breaks(convention.order, 0, other, 0)
            and self._breaks(convention.order, 1, other, 1)
        ):
            why = f"its runs go over the pictures' edges, along {other} none does"
        else:
            return None
        return other, f"{convention.describe()}, {why}"

    def other_base(self, convention: RleConvention) -> tuple[Base, str] | None:
        """The same for the first pixel's number."""
        other: Base = 0 if convention.base else 1
        if not self._breaks(convention.order, convention.base, convention.order, other):
            return None
        return (
            other,
            f"{convention.describe()}, its runs go over the pictures' edges by a pixel, from {other} none does",
        )

    def _breaks(self, order: Order, base: Base, other_order: Order, other_base: Base) -> bool:
        """Whether runs lie in two lines, counted in the one way, and none does in the other."""
        return self.broken[order, base] >= _BROKEN and not self.broken[other_order, other_base]

    def doubt(self, convention: RleConvention) -> str | None:
        """What speaks against a way of counting; None where nothing does."""
        other = self.other_order(convention) or self.other_base(convention)
        return None if other is None else other[1]


def _below(place: npt.NDArray[np.int64], runs: RunArray) -> npt.NDArray[np.int64]:
    """How many pixels of sorted runs lie before each place."""
    before = np.concatenate(([0], np.cumsum(runs[:, 1])))
    run = np.searchsorted(runs[:, 0], place, side="right") - 1
    within = np.clip(place - runs[run, 0], 0, runs[run, 1])
    found: npt.NDArray[np.int64] = np.where(run < 0, 0, before[run] + within)
    return found
