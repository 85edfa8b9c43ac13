"""3D Slicer's segmentations: a file for each case."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from osteon.dataset.dataset import Dataset
from osteon.exporting.export_form import ExportCase, Form, Made, Options, Output
from osteon.formats.seg_nrrd import write_seg_nrrd


class SegNrrd:
    """The export in progress."""

    def case(self, case: ExportCase) -> Made:
        """One file."""
        write = partial(write_seg_nrrd, segmentation=case.load())
        return Made([Output(Path(f"{case.id}.seg.nrrd"), write)])

    def finish(self, rows: Sequence[Any]) -> Made:  # noqa: ARG002 (all is written with the cases)
        """Nothing more."""
        return Made()


def _start(_: Options, __: Dataset | None) -> SegNrrd:
    return SegNrrd()


FORM = Form("seg-nrrd", "3D Slicer's segmentation, with names and colours", _start)
"""The form as the table of forms has it."""
