"""Results of other programs, brought into the workspace: label files as they are, tables of RLE as label files."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from osteon.core.errors import DatasetError, LabelError, UsageError
from osteon.core.files import files_below
from osteon.core.labels import Segmentation
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.formats.legend import is_nameless, legend_for, read_meant
from osteon.formats.registry import companions, own_table, stem_of, suffix_of, write_segmentation
from osteon.formats.rle import RleRow, decode, is_rle_csv, parse, read_counting, read_rle_csv
from osteon.formats.rle_counting import RENAME, Evidence

TAKEN = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".csv", ".zip")


def add_result(source: Path, folder: Path, target: Path) -> tuple[list[str], list[str]]:
    """Put the label files and tables of a folder into a result.

    Args:
        source: What was uploaded; it is left as it is.
        folder: The dataset whose cases they are of.
        target: The result's folder.

    Returns:
        Cases that were added, and what a person should know.

    Raises:
        UsageError: Nothing in it is a label file or a table.
        DatasetError: None of it belongs to a case of the dataset.
        LabelError: It names structures that the dataset does not have, holds what is no label map, or counts pixels in
            another way than its heading says.
    """
    dataset = Dataset.open(folder)
    files = list(files_below(source, hidden=False))
    tables = [path for path in files if path.suffix.lower() == ".csv" and is_rle_csv(path)]
    labels = [path for path in files if suffix_of(path) in (*TAKEN, ".mhd")]
    if not tables and not labels:
        raise UsageError(
            "there is neither a label file nor a table of RLE in it",
            hint="upload .nii.gz, .seg.nrrd, .mha, or a CSV with the columns image_name, class, rle",
        )
    added: list[str] = []
    notes: list[str] = []
    for table in tables:
        added += _table(table, dataset, target, notes)
    for path in labels:
        case = _case_called(stem_of(path), dataset)
        if case is None:
            notes.append(f"{path.name}: no case of the dataset is called so")
            continue
        legend = legend_for([path])
        read = read_meant(path, dataset.structures, legend)  # refuses what is none
        target.mkdir(parents=True, exist_ok=True)
        if legend is not None or companions(path) or own_table(path):  # it would leave behind what lies beside it
            write_segmentation(target / f"{case.id}{'.seg.nrrd' if read.overlapping else '.nii.gz'}", read)
        else:
            shutil.copyfile(path, target / f"{case.id}{suffix_of(path)}")
            if is_nameless(path):
                notes.append(f"{path.name}: names no structures; its numbers are taken as the dataset's")
        added.append(case.id)
    if not added:
        names = ", ".join(case.id for case in dataset.manifest.cases[:3])
        raise DatasetError(
            f"none of it belongs to a case of the dataset ({notes[0] if notes else 'it is empty'})",
            hint=f"name files and pictures after the cases, such as {names}",
        )
    return added, notes


def _table(path: Path, dataset: Dataset, target: Path, notes: list[str]) -> list[str]:
    rows: dict[str, list[RleRow]] = defaultdict(list)
    for row in read_rle_csv(path):
        rows[row.image].append(row)
    known = {s.name: n for n, s in enumerate(dataset.structures)}
    strange = sorted({row.structure for own in rows.values() for row in own} - set(known))
    if strange:
        raise LabelError(
            f"the table names structures that the dataset does not have: {', '.join(strange[:5])}",
            hint=f"use its names: {', '.join(list(known)[:5])} …",
        )
    added = []
    counting, evidence = read_counting(path), Evidence()
    for image, own in rows.items():
        case = _case_called(PurePosixPath(image.replace("\\", "/")).name, dataset)
        if case is None:
            notes.append(f"{image}: no case or picture of the dataset is called so")
            continue
        geometry = dataset.geometry(case)
        columns, height, depth = geometry.shape
        if depth != 1:
            raise LabelError(f"case {case.id}: is no picture, and RLE is for pictures", hint="upload label files")
        layers = np.zeros((len(known), *geometry.shape), dtype=np.uint8)
        for row in own:
            mask = decode(row.rle, (height, columns), counting, name=f"line {row.line}")
            evidence.add(parse(row.rle), (height, columns), row.line)
            layers[known[row.structure], :, :, 0] |= mask.T
        write_segmentation(target / f"{case.id}.seg.nrrd", Segmentation(layers, geometry, dataset.structures))
        added.append(case.id)
    if (doubt := evidence.doubt(counting)) is not None:
        raise LabelError(f"{path.name}: {doubt}", hint=RENAME)
    return added


def _case_called(name: str, dataset: Dataset) -> Case | None:
    """The case of that id, or whose image is called so, with or without its ending."""
    for case in dataset.manifest.cases:
        images = [Path(image).name for image in case.images]
        if name in (case.id, *images, *map(stem_of, map(Path, images))) or stem_of(Path(name)) == case.id:
            return case
    return None
