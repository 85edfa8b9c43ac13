"""nnU-Net's raw folder: imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, imagesTs and dataset.json.

Labels are 1, 2, 3 … there, without gaps and in any order: a dataset's numbers stay where they are so, and a change is
told. nnU-Net writes dataset.json beside what it predicts, and `formats.label_meanings` reads it there. Structures that
overlap become regions: each combination of structures that occurs has a value, and a structure is the list of the
values in which it takes part
(https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/region_based_training.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.errors import DatasetError, UsageError
from osteon.core.files import write_json
from osteon.core.labels import Segmentation, make_structures
from osteon.core.pieces import describe_merging
from osteon.dataset.dataset import Dataset
from osteon.exporting.dataset_files import (
    SUFFIX,
    channel_files,
    channel_name,
    check_fully_annotated,
    dataset_entry,
    label_file,
)
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, ExportOptions, OutputFile

FILE_NAME = "dataset.json"
RESERVED = ("background", "ignore")
_MOST_COMBINATIONS = 255

Combination = tuple[bool, ...]
"""Which of the structures, in the dataset's order."""


@dataclass
class NnunetExport(Exporter):
    """The export in progress.

    Attributes:
        dataset: What is exported.
        options: What the user says.
        values: Combination of structures → its value, numbered as they are met; overlapping structures only.
        voxels: How many voxels each has.
    """

    dataset: Dataset
    options: ExportOptions
    values: dict[Combination, int] = field(default_factory=dict)
    voxels: Counter[Combination] = field(default_factory=Counter)

    def case(self, case: ExportCase) -> ExportedCase:
        """Images and labels; cases held out or without labels go to imagesTs, and references of those to labelsTs."""
        check_fully_annotated(case, "nnU-Net")
        _, entry = dataset_entry(case)
        part = "Ts" if entry.segmentation is None or entry.held_out else "Tr"
        images = channel_files(case, f"images{part}", link=self.options.link)
        if entry.segmentation is None:
            return ExportedCase(images, part)
        segmentation = case.load()
        labels = self._combine(segmentation) if self.dataset.manifest.overlapping else self._renumber(segmentation)
        return ExportedCase([*images, label_file(case, f"labels{part}", labels)], part)

    def finish(self, rows: Sequence[Any]) -> ExportedCase:
        """dataset.json."""
        manifest = self.dataset.manifest
        numbers = self._numbers()
        labels: dict[str, Any] = {"background": 0, **numbers}
        more: dict[str, Any] = {}
        changed = [f"{s.name} {s.value}→{numbers[s.name]}" for s in manifest.structures if s.value != numbers[s.name]]
        notes = describe_merging(manifest.structures)
        if changed and not manifest.overlapping:
            notes += [
                f"nnU-Net wants numbers without gaps: {', '.join(changed)}. Its predictions have these; what they "
                f"mean, `osteon evaluate` reads in the {FILE_NAME} that nnU-Net writes beside them"
            ]
        if manifest.overlapping:
            regions, order = self._regions()
            labels, more = {"background": 0, **regions}, {"regions_class_order": order}
            notes = [
                "structures overlap: written as regions. nnU-Net trains on them as they are, but what it predicts is a "
                "label map, in which the smaller of two that overlap stays"
            ]
        data = {
            "name": manifest.name,
            "description": "written by osteon",
            "channel_names": {str(n): channel_name(channel) for n, channel in enumerate(manifest.channels)},
            "labels": labels,
            **more,
            "numTraining": rows.count("Tr"),
            "file_ending": SUFFIX,
        }
        return ExportedCase([OutputFile(Path(FILE_NAME), partial(write_json, data=data))], None, notes)

    def _numbers(self) -> dict[str, int]:
        """Structure → number: the dataset's where these are 1 … n, else in their order."""
        ordered = sorted(self.dataset.structures, key=lambda structure: structure.value)
        return {structure.name: n for n, structure in enumerate(ordered, start=1)}

    def _renumber(self, segmentation: Segmentation) -> Segmentation:
        values = sorted([0, *(structure.value for structure in self.dataset.structures)])
        numbers = self._numbers()
        structures = tuple(s.model_copy(update={"value": numbers[s.name]}) for s in self.dataset.structures)
        return Segmentation(np.searchsorted(values, segmentation.array), segmentation.geometry, structures)

    def _combine(self, segmentation: Segmentation) -> Segmentation:
        """An index map of combinations."""
        structures = segmentation.structures
        bits = np.packbits(segmentation.array > 0, axis=0)
        labels = np.zeros(segmentation.geometry.shape, np.int64)
        marked = bits.any(axis=0)
        found, inverse, counts = np.unique(bits[:, marked], axis=1, return_inverse=True, return_counts=True)
        values = []
        for column, count in zip(found.T, counts, strict=True):
            combination = tuple(np.unpackbits(column)[: len(structures)].astype(bool).tolist())
            values.append(self.values.setdefault(combination, len(self.values) + 1))
            self.voxels[combination] += int(count)
        if len(self.values) > _MOST_COMBINATIONS:
            raise DatasetError(
                f"more than {_MOST_COMBINATIONS} combinations of structures overlap, too many for regions of nnU-Net",
                hint="import the data again with --priority, which takes overlaps away",
            )
        labels[marked] = np.array(values, np.int64)[inverse.ravel()] if len(values) else 0
        numbers = sorted(set(values))
        named = make_structures([f"label_{n}" for n in numbers], numbers)
        return Segmentation(labels, segmentation.geometry, named)

    def _regions(self) -> tuple[dict[str, list[int]], list[int]]:
        """Structure → its values, the largest first; and the value that each is drawn with, one over the other."""
        sizes: Counter[int] = Counter()
        for combination, count in self.voxels.items():
            sizes.update({n: count for n, there in enumerate(combination) if there})
        order = [n for n, _ in sizes.most_common()]
        regions, drawn = {}, []
        for rank, n in enumerate(order):
            with_it = [c for c in self.voxels if c[n]]
            on_top = [c for c in with_it if not any(c[smaller] for smaller in order[rank + 1 :])]
            regions[self.dataset.structures[n].name] = sorted(self.values[c] for c in with_it)
            drawn.append(self.values[max(on_top or with_it, key=lambda c: self.voxels[c])])
        return regions, drawn


def _start(options: ExportOptions, dataset: Dataset) -> NnunetExport:
    if taken := [structure.name for structure in dataset.structures if structure.name in RESERVED]:
        raise UsageError(
            f"{dataset.folder}: nnU-Net keeps the name {taken[0]} for itself",
            hint="give the structure another one in dataset.yaml",
        )
    return NnunetExport(dataset, options)


FORM = ExportForm(
    "nnunet",
    "a dataset as nnU-Net's raw folder",
    _start,
    of_dataset=True,
    once=(FILE_NAME,),
    accepted=frozenset({"link"}),
)
