"""Labels that were corrected in another program (3D Slicer, ITK-SNAP, napari) taken into a dataset as new versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import CaseError, FileError, OsteonError, UsageError
from osteon.core.folders import files_below
from osteon.core.parallel import case_failure
from osteon.core.progress import track
from osteon.dataset.case_history import LabelVersion, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_placement import place_segmentation
from osteon.dataset.label_versions import LabelWork, load_version, save_label
from osteon.formats.io import read_segmentation
from osteon.formats.labelmap import to_index_map, to_multi_hot
from osteon.formats.registry import stem_of, suffix_of


@dataclass(frozen=True)
class AddedLabels:
    """What became of label files.

    Attributes:
        added: Case id → its new version.
        same: Cases whose file says what already counts: nothing was saved.
        failed: Case or file → what is wrong with it.
        notes: What a person should know, such as labels that were laid onto a larger scan.
    """

    added: dict[str, LabelVersion] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def add_labels(dataset: Dataset, paths: Sequence[Path], work: LabelWork, *, case_id: str | None = None) -> AddedLabels:
    """Save label files as new versions of the cases whose ids are their names; the others go on where one fails.

    Args:
        dataset: Where the cases are.
        paths: Files, or folders of them. `knee_07.nii.gz` is of the case knee_07.
        work: Who made them, and how.
        case_id: The case of the only file, whatever its name.

    Raises:
        UsageError: There are no label files; several for one case; a structure has another name.
        FileError: A path does not exist.
        DiskFullError: The disk is full; what was saved stays.
    """
    if unknown := sorted(set(work.annotated or ()) - {s.name for s in dataset.structures}):
        raise UsageError(f"there is no structure {', '.join(unknown)}", hint="dataset.yaml lists them")
    report = AddedLabels()
    for name, path in track(_files_of_cases(paths, case_id).items(), "adding labels"):
        try:
            case = dataset.case(name)
            segmentation = read_segmentation(path, dataset.structures, pieces=True)
            image = str(dataset.resolve(case.images[0]))
            placed, note = place_segmentation(segmentation, dataset.geometry(case), name=str(path), image_name=image)
            label = to_multi_hot(placed) if dataset.manifest.overlapping else to_index_map(placed, str(path))
            current = read_history(dataset.folder, name).current
            if work.kind != "second reading" and _is_current(dataset, name, current, label.array):
                report.same.append(name)
                continue
            report.added[name] = save_label(dataset, name, label, work, base=current)
            report.notes.extend([f"case {name}: {path} is {note}"] if note else [])
        except (OsteonError, OSError, MemoryError) as error:
            report.failed[name] = error if isinstance(error, UsageError) else case_failure(name, error)
    return report


def _files_of_cases(paths: Sequence[Path], case_id: str | None) -> dict[str, Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileError(f"{path}: does not exist", hint="check the path")
        inside = [path] if path.is_file() else [p for p in files_below(path, hidden=False) if suffix_of(p) is not None]
        files += inside
    if not files:
        raise UsageError(f"{paths[0]}: no label file is there", hint="give .nii.gz or .seg.nrrd files called as cases")
    if case_id is not None and len(files) > 1:
        raise UsageError("--case belongs to one file", hint="leave it out: files are called as their cases")
    found: dict[str, Path] = {}
    for path in files:
        name = case_id or stem_of(path)
        if name in found:
            raise UsageError(f"{found[name]} and {path}: both are of the case {name}", hint="give one of them")
        found[name] = path
    return found


def _is_current(dataset: Dataset, case_id: str, number: int, array: npt.NDArray[np.generic]) -> bool:
    try:
        return np.array_equal(load_version(dataset, case_id, number).array, array)
    except CaseError:
        return False  # there is none, or it cannot be read: the new one takes its place
