"""Masks of pictures as run-length codes: one CSV with a row for each structure of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from osteon.core.pieces import describe_merging
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, OutputFile
from osteon.exporting.masks import picture_masks, picture_names
from osteon.formats.rle import encode_rle, write_rle_csv

FILE_NAME = "masks.csv"


class RleTableExport(Exporter):
    """The export in progress."""

    def case(self, case: ExportCase) -> ExportedCase:
        """The rows of a picture; one with empty runs for a structure that is not there. Raises GeometryError."""
        segmentation = case.load()
        codes = [(name, encode_rle(mask)) for name, mask in picture_masks(segmentation, case)]
        return ExportedCase((), (case, codes, describe_merging(segmentation.structures)))

    def finish(self, rows: Sequence[Any]) -> ExportedCase:
        """The one file."""
        names = picture_names([case for case, *_ in rows])
        every = [(name, *code) for name, (_, codes, _) in zip(names, rows, strict=True) for code in codes]
        notes = list(dict.fromkeys(note for _, _, own in rows for note in own))
        return ExportedCase([OutputFile(Path(FILE_NAME), partial(write_rle_csv, rows=every))], None, notes)


FORM = ExportForm(
    "rle-csv", "masks of pictures as run-length codes (CSV)", lambda *_: RleTableExport(), once=(FILE_NAME,)
)
