"""3D Slicer's segmentations: a file for each case."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, OutputFile
from osteon.formats.seg_nrrd import write_seg_nrrd


class SegNrrdExport(Exporter):
    """The export in progress."""

    def case(self, case: ExportCase) -> ExportedCase:
        """One file."""
        write = partial(write_seg_nrrd, segmentation=case.load_split()[0])
        return ExportedCase([OutputFile(Path(f"{case.id}.seg.nrrd"), write)])


FORM = ExportForm("seg-nrrd", "3D Slicer's segmentation, with names and colours", lambda *_: SegNrrdExport())
