"""Masks of pictures as run-length codes: one CSV with a row for each structure of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from osteon.dataset.dataset import Dataset
from osteon.exporting.export_form import ExportCase, Form, Made, Options, Output
from osteon.exporting.pictures import picture_masks, picture_names
from osteon.formats.rle import encode, write_rle_csv

FILE_NAME = "masks.csv"


class RleTable:
    """The export in progress."""

    def case(self, case: ExportCase) -> Made:
        """The rows of a picture; one with empty runs for a structure that is not there. Raises GeometryError."""
        return Made((), (case, [(name, encode(mask)) for name, mask in picture_masks(case.load(), case)]))

    def finish(self, rows: Sequence[Any]) -> Made:
        """The one file."""
        names = picture_names([case for case, _ in rows])
        every = [(name, *code) for name, (_, codes) in zip(names, rows, strict=True) for code in codes]
        return Made([Output(Path(FILE_NAME), partial(write_rle_csv, rows=every))])


def _start(_: Options, __: Dataset | None) -> RleTable:
    return RleTable()


FORM = Form("rle-csv", "masks of pictures as run-length codes (CSV)", _start, once=(FILE_NAME,))
"""The form as the table of forms has it."""
