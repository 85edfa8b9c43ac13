"""ITK-SNAP's segmentations: a label map for each case, and beside it what its values are called and how they look.

ITK-SNAP knows no names in a NIfTI header: it takes them from a file (Segmentation → Import Label Descriptions).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from osteon.core.errors import LabelError
from osteon.core.files import write_text
from osteon.exporting.dataset_files import label_file
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, OutputFile
from osteon.formats.label_tables import DESCRIPTIONS, label_descriptions

_HIGHEST = np.iinfo(np.uint16).max
"""ITK-SNAP's label maps have 16 bits."""


class ItkSnapExport(Exporter):
    """The export in progress."""

    def case(self, case: ExportCase) -> ExportedCase:
        """Two files. Raises LabelError where structures overlap, or have values that ITK-SNAP does not know."""
        segmentation, _ = case.load_split()
        values = [structure.value for structure in segmentation.structures]
        if segmentation.overlapping or max(values, default=0) > _HIGHEST:
            what = "overlap" if segmentation.overlapping else f"have values above {_HIGHEST}"
            raise LabelError(f"{case.id}: its structures {what}, which ITK-SNAP does not know", hint="export seg-nrrd")
        write = partial(write_text, text=label_descriptions(segmentation.structures))
        return ExportedCase([label_file(case, "", segmentation), OutputFile(Path(f"{case.id}{DESCRIPTIONS}"), write)])


FORM = ExportForm("itk-snap", "label maps with ITK-SNAP's descriptions of labels", lambda *_: ItkSnapExport())
