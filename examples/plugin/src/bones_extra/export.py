"""The volume of each structure in a text file."""

from __future__ import annotations

from pathlib import Path

from osteon.dataset.dataset import Dataset
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, ExportOptions, OutputFile


class VolumesText(Exporter):
    """An export in progress: a file for each case, and nothing about all of them."""

    def case(self, case: ExportCase) -> ExportedCase:
        """`<case>.txt`: a line for each structure, its name and its cm³."""
        segmentation = case.load()
        voxel_cm3 = segmentation.geometry.voxel_volume_mm3 / 1000
        lines = [f"{s.name} {segmentation.mask(s).sum() * voxel_cm3:.3f}\n" for s in segmentation.structures]

        def write(path: Path) -> None:
            path.write_text("".join(lines), encoding="utf-8")

        return ExportedCase([OutputFile(Path(f"{case.id}.txt"), write)])


def start(options: ExportOptions, dataset: Dataset | None) -> VolumesText:  # noqa: ARG001 (no options are looked at)
    """Begin an export."""
    return VolumesText()


VOLUMES = ExportForm("volumes-txt", "a text file of volumes in cm³ for each case", start)
