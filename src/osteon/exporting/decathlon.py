"""The layout of the Medical Segmentation Decathlon: imagesTr, labelsTr, imagesTs and dataset.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.core.files import write_json
from osteon.core.pieces import describe_merging
from osteon.dataset.dataset import Dataset
from osteon.exporting.dataset_files import channel_name, check_fully_annotated, dataset_entry, image_file, label_file
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, ExportOptions, OutputFile

FILE_NAME = "dataset.json"


@dataclass(frozen=True)
class DecathlonExport(Exporter):
    """The export in progress."""

    dataset: Dataset
    options: ExportOptions

    def case(self, case: ExportCase) -> ExportedCase:
        """The image, and the labels of a case to train on; cases held out or without labels go to imagesTs."""
        check_fully_annotated(case, "the Decathlon's layout")
        _, entry = dataset_entry(case)
        trained = entry.segmentation is not None and not entry.held_out
        image = image_file(case, "imagesTr" if trained else "imagesTs", link=self.options.link)
        if not trained:
            return ExportedCase([image], f"./{image.path.as_posix()}")
        label = label_file(case, "labelsTr", case.load())
        row = {"image": f"./{image.path.as_posix()}", "label": f"./{label.path.as_posix()}"}
        return ExportedCase([image, label], row)

    def finish(self, rows: Sequence[Any]) -> ExportedCase:
        """dataset.json."""
        manifest = self.dataset.manifest
        training, test = [r for r in rows if isinstance(r, dict)], [r for r in rows if isinstance(r, str)]
        data = {
            "name": manifest.name,
            "description": "written by osteon",
            "reference": "",
            "licence": "",
            "release": "",
            "tensorImageSize": "3D" if len(manifest.channels) == 1 else "4D",
            "modality": {str(n): channel_name(channel) for n, channel in enumerate(manifest.channels)},
            "labels": {"0": "background", **{str(s.value): s.name for s in manifest.structures}},
            "numTraining": len(training),
            "numTest": len(test),
            "training": training,
            "test": test,
        }
        notes = describe_merging(manifest.structures)
        return ExportedCase([OutputFile(Path(FILE_NAME), partial(write_json, data=data))], None, notes)


def _start(options: ExportOptions, dataset: Dataset) -> DecathlonExport:
    if dataset.manifest.overlapping:
        raise UsageError(
            f"{dataset.folder}: its structures overlap, and a label map of the Decathlon holds one in each voxel",
            hint="export nnunet, whose regions can say it",
        )
    return DecathlonExport(dataset, options)


FORM = ExportForm(
    "decathlon",
    "a dataset in the layout of the Medical Segmentation Decathlon",
    _start,
    of_dataset=True,
    once=(FILE_NAME,),
    accepted=frozenset({"link"}),
)
