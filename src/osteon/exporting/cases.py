"""The segmentations that paths stand for: label files, folders of them with or without a record, and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from osteon.core.errors import LabelError, UsageError, missing_file_error
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Case
from osteon.exporting.export_form import ExportCase
from osteon.formats import read_segmentation
from osteon.formats.label_folders import find_label_files
from osteon.formats.label_meanings import LabelMeanings, label_meanings_for, read_named_labels
from osteon.predicting.records import read_predictions


def find_segmentations(sources: Sequence[Path], structures: Sequence[Structure] | None = None) -> list[ExportCase]:
    """The segmentations that paths stand for.

    A file is one. A folder with dataset.yaml stands for the references of its labelled cases, any other folder for the
    label files in it; where `predictions.json` lies beside them it says which scan each was made from.

    Args:
        sources: Files and folders.
        structures: What labels mean; None takes the files' own names, or those of a dataset.json beside them.

    Raises:
        FileError: A path does not exist.
        UsageError: A folder holds no labels, two cases have the same name, or `structures` are given for a dataset,
            which has its own.
    """
    found: list[ExportCase] = []
    for source in map(Path, sources):
        if (source / MANIFEST).is_file():
            if structures:
                raise UsageError(
                    f"--labels: {source} is a dataset, which says what its labels mean", hint="leave it out"
                )
            dataset = Dataset.open(source)
            if not dataset.manifest.labelled:
                raise UsageError(f"{source}: none of its cases has labels", hint="give a dataset with references")
            found += [dataset_case(dataset.restrict_to(case), case) for case in dataset.manifest.labelled]
        elif source.exists():
            record = read_predictions(source if source.is_dir() else source.parent)
            files = find_label_files(source, "the segmentation")
            legend = None if structures else label_meanings_for(files.values())
            for name, file in files.items():
                found.append(_file_case(name, file, record.get(name), structures, legend))
        else:
            raise missing_file_error(source, "the segmentation")
    check_unique_names(found)
    return [replace(case, alone=len(found) == 1) for case in found]


def dataset_case(dataset: Dataset, case: Case) -> ExportCase:
    """A case of a dataset, with its reference where it has one."""
    return ExportCase(
        case.id,
        None if case.segmentation is None else dataset.resolve(case.segmentation),
        partial(dataset.load_segmentation, case),
        case.annotated,
        tuple(dataset.resolve(image) for image in case.images),
        dataset=dataset,
        entry=case,
    )


def check_unique_names(cases: Sequence[ExportCase]) -> None:
    """Raise UsageError where two cases have one name: their files would be the same."""
    seen: dict[str, ExportCase] = {}
    for case in cases:
        if case.id in seen:
            raise UsageError(
                f"two segmentations are called {case.id}: {seen[case.id].file} and {case.file}",
                hint="export them into different folders, or rename one",
            )
        seen[case.id] = case


def _file_case(
    name: str, file: Path, record: Any, structures: Sequence[Structure] | None, legend: LabelMeanings | None
) -> ExportCase:
    scan: tuple[Path, ...] = ()
    model = ""
    if isinstance(record, dict) and record.get("output") == file.name:
        scan = tuple(Path(entry[0]) for entry in record.get("input") or [])
        model = str(record.get("model") or "")
    return ExportCase(name, file, partial(_load, file, structures, legend), None, scan, model)


def _load(
    file: Path, structures: Sequence[Structure] | None, legend: LabelMeanings | None, *, pieces: bool = False
) -> Segmentation:
    found = (
        read_segmentation(file, structures, pieces=pieces)
        if structures
        else read_named_labels(file, None, legend, pieces=pieces)
    )
    if not found.structures:
        raise LabelError(f"{file}: holds no structure", hint="leave this file out")
    return found
