"""Labels that people made of a dataset's cases, each a file of its own that is never replaced.

DATASET/annotations/<case>/v<N>.nii.gz    .seg.nrrd where structures overlap
DATASET/annotations/<case>/v<N>.json      who made it, when, from which version, what was looked for
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from osteon.core.errors import ConflictError
from osteon.core.files import write_json
from osteon.core.labels import Segmentation
from osteon.core.locks import LOCK_NAME, exclusive_lock
from osteon.dataset.checks import align_segmentation
from osteon.dataset.dataset import Dataset
from osteon.formats.io import write_segmentation
from osteon.formats.labelmap import to_index_map, to_multi_hot

FOLDER = "annotations"
_VERSION = re.compile(r"v(\d+)(\.nii\.gz|\.seg\.nrrd)")


def store_label(
    dataset: Dataset,
    case_id: str,
    segmentation: Segmentation,
    *,
    author: str,
    base: int | None = None,
    annotated: Collection[str] | None = None,
) -> int:
    """Keep a label as the case's newest version.

    Args:
        dataset: In which the case is.
        case_id: Its id.
        segmentation: On the scan's voxels, its axes in any order and direction, with the dataset's structures.
        author: Who made it.
        base: The version that it was made from, 0 for none; None: not known.
        annotated: Structures that were looked for; None: all.

    Returns:
        Its number, from 1 on.

    Raises:
        UsageError: There is no such case.
        ConflictError: `base` is not the newest version any more; nothing is written.
        GeometryError: It does not lie on the scan's grid: nothing is resampled.
        LabelError: Its structures overlap, and the dataset's do not.
        FileError: It cannot be written.
    """
    case, name = dataset.case(case_id), f"case {case_id}: the label"
    hint = "save it on the scan's own grid: in 3D Slicer with the scan as the segmentation's source geometry"
    image_name = f"case {case_id}: the scan"
    aligned = align_segmentation(segmentation, dataset.geometry(case), name=name, image_name=image_name, hint=hint)
    overlapping = dataset.manifest.overlapping
    label = to_multi_hot(aligned) if overlapping else to_index_map(aligned, name)
    folder = dataset.folder / FOLDER / case.id
    with exclusive_lock(folder / LOCK_NAME):
        before = max(label_versions(dataset, case_id), default=0)
        if base is not None and base != before:
            raise ConflictError(
                f"case {case_id}: the label was made from version {base}, and version {before} is there now",
                hint="nothing was replaced: look at the newer version, and save yours on top of it",
            )
        number = before + 1
        known = None if annotated is None else [s.name for s in dataset.structures if s.name in annotated]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"author": author, "at": at, "base": before if base is None else base, "annotated": known}
        write_json(folder / f"v{number}.json", record)
        write_segmentation(folder / f"v{number}{'.seg.nrrd' if overlapping else '.nii.gz'}", label)
    return number


def label_versions(dataset: Dataset, case_id: str) -> dict[int, Path]:
    """Number → file of all versions of a case's label. Raises UsageError where there is no such case."""
    folder = dataset.folder / FOLDER / dataset.case(case_id).id
    files = folder.iterdir() if folder.is_dir() else ()
    return {int(found[1]): path for path in files if (found := _VERSION.fullmatch(path.name))}
