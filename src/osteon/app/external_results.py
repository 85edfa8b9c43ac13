"""Importing results of other programs: label files as they are, tables of RLE as label files.

Other programs have other names for files: `p1_ct_seg.nii.gz`, `p1/Segmentation.seg.nrrd`, `p1/Femur L.nii.gz`.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from osteon.core.errors import CaseError, DatasetError, LabelError, UsageError
from osteon.core.folders import files_below
from osteon.core.labels import Segmentation
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.formats.io import companion_paths, read_segmentation, read_structures, table_of, write_segmentation
from osteon.formats.label_meanings import has_placeholder_names, label_meanings_for, read_named_labels
from osteon.formats.labelmap import is_placeholder
from osteon.formats.mask_names import case_name, name_words, strip_mask_words, structure_key
from osteon.formats.registry import stem_of, suffix_of
from osteon.formats.rle import RleRow, decode_rle, is_rle_csv, parse_runs, read_convention, read_rle_csv
from osteon.formats.rle_convention import RENAME, ConventionEvidence

RESULT_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".csv", ".zip")
COMPANION_SUFFIXES = (".mhd", ".raw", ".zraw", ".json", ".ctbl", ".label")
"""Suffixes of files that belong to label files: their voxels, or names of their structures."""
StructureNames = Mapping[str, str]
"""A structure's name in a file → in the dataset; empty for one that is left out."""


def import_result(
    source: Path, folder: Path, target: Path, names: StructureNames | None = None
) -> tuple[list[str], list[str]]:
    """Import the label files and tables of a folder into a result.

    Args:
        source: The uploaded folder; it is not changed.
        folder: The dataset whose cases they are of.
        target: The result's folder.
        names: For `unknown_structures`.

    Returns:
        Cases that were added, and notes for the user.

    Raises:
        UsageError: Nothing in it is a label file or a table.
        DatasetError: None of it belongs to a case of the dataset.
        LabelError: It names structures that the dataset does not have, holds what is no label map, or counts pixels in
            another way than its heading says.
    """
    dataset = Dataset.open(folder)
    labels, tables = _label_files(source), [path for path in _files(source) if _is_table(path)]
    if not tables and not labels:
        raise UsageError(
            "there is neither a label file nor a table of RLE in it",
            hint="upload .nii.gz, .seg.nrrd, .mha, or a CSV with the columns image_name, class, rle",
        )
    added: list[str] = []
    notes: list[str] = []
    for table in tables:
        added += _add_table(table, dataset, target, notes)
    by_case: dict[str, list[Path]] = defaultdict(list)
    for path in labels:
        case = _case_of_file(path, source, dataset)
        if case is None:
            notes.append(f"{path.name}: no case of the dataset is called so")
        else:
            by_case[case.id].append(path)
    for case_id, paths in by_case.items():
        try:
            if len(paths) == 1:
                _add_file(case_id, paths[0], dataset, target, names or {}, notes)
            else:
                _merge_files(case_id, paths, dataset, target, names or {})
            added.append(case_id)
        except CaseError as error:
            notes.append(error.message)
    if not added:
        cases = ", ".join(case.id for case in dataset.manifest.cases[:3])
        raise DatasetError(
            f"none of it can be taken as a result of a case ({notes[0] if notes else 'it is empty'})",
            hint=f"name files and pictures after the cases, such as {cases}, and structures as the dataset does",
        )
    return added, notes


def unknown_structures(source: Path, folder: Path) -> list[str]:
    """Structures of an upload's label files that the dataset does not have, whatever their capitals and marks."""
    dataset = Dataset.open(folder)
    known = {structure_key(structure.name) for structure in dataset.structures}
    unknown: dict[str, None] = {}
    for path in _label_files(source):
        try:
            structures = read_structures(path)
        except CaseError:  # raised again when it is imported
            continue
        unknown |= {
            s.name: None for s in structures if not is_placeholder(s.name) and structure_key(s.name) not in known
        }
    return list(unknown)


def _files(source: Path) -> list[Path]:
    return list(files_below(source, hidden=False))


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and is_rle_csv(path)


def _label_files(source: Path) -> list[Path]:
    return sorted(path for path in _files(source) if suffix_of(path) in (*RESULT_SUFFIXES, ".mhd"))


def _add_file(
    case_id: str, path: Path, dataset: Dataset, target: Path, names: StructureNames, notes: list[str]
) -> None:
    """One label file of a case. Raises as the readers do."""
    legend, nameless = label_meanings_for([path]), has_placeholder_names(path)
    new_names = {s.name: _dataset_name(s.name, dataset, names) for s in read_structures(path)}
    target.mkdir(parents=True, exist_ok=True)
    if not nameless and any(new != old for old, new in new_names.items()):
        renamed = _rename_structures(read_segmentation(path), new_names)
        write_segmentation(target / f"{case_id}{'.seg.nrrd' if renamed.overlapping else '.nii.gz'}", renamed)
        return
    read = read_named_labels(path, dataset.structures, legend, pieces=True)  # raises where it is no label map
    if nameless or companion_paths(path) or table_of(path):  # it would leave behind what lies beside it, and names
        write_segmentation(target / f"{case_id}{'.seg.nrrd' if read.overlapping else '.nii.gz'}", read)
        if legend is None and nameless:
            notes.append(f"{path.name}: names no structures; its numbers are taken as the dataset's")
        return
    shutil.copyfile(path, target / f"{case_id}{suffix_of(path)}")


def _dataset_name(name: str, dataset: Dataset, names: StructureNames) -> str:
    """The dataset's name of a structure; the name itself where it is unknown, empty where it is left out."""
    if name in names:
        return names[name]
    known = {structure_key(structure.name): structure.name for structure in dataset.structures}
    return known.get(structure_key(name), name)


def _rename_structures(segmentation: Segmentation, names: StructureNames) -> Segmentation:
    kept = [s for s in segmentation.structures if names.get(s.name)]
    structures = tuple(s.model_copy(update={"name": names[s.name], "counterpart": None}) for s in kept)
    if segmentation.overlapping:
        indices = [n for n, s in enumerate(segmentation.structures) if s in kept]
        return Segmentation(segmentation.array[indices], segmentation.geometry, structures)
    old = segmentation.array
    array = np.where(np.isin(old, [s.value for s in kept]), old, 0).astype(old.dtype)
    return Segmentation(array, segmentation.geometry, structures)


def _merge_files(case_id: str, paths: Sequence[Path], dataset: Dataset, target: Path, names: StructureNames) -> None:
    """Files of one structure each, named after it, or naming it.

    Raises:
        LabelError: They are no such files, or do not lie on one grid.
    """
    known = {structure_key(structure.name): n for n, structure in enumerate(dataset.structures)}
    geometry = dataset.geometry(dataset.case(case_id))
    layers = np.zeros((len(known), *geometry.shape), np.uint8)
    for path in paths:
        rest = _words_after(name_words(strip_mask_words(stem_of(path))), name_words(case_id))
        number = known.get("_".join(rest))
        read = read_segmentation(path)
        if number is None and len(read.structures) == 1:
            name = _dataset_name(read.structures[0].name, dataset, names)
            if not name:
                continue
            number = known.get(structure_key(name))
        if number is None or len(read.structures) > 1:
            listed = ", ".join(path.name for path in paths[:4])
            raise LabelError(
                f"{case_id}: {len(paths)} files are its result, and {path.name} names no structure: {listed}",
                hint="upload one file for each case, or one for each structure, named after it",
            )
        if not read.geometry.is_close(geometry):
            raise LabelError(f"{path.name}: is on another grid than its case", hint="save it on the scan's grid")
        layers[number] |= read.array.any(axis=0) if read.overlapping else read.array != 0
    target.mkdir(parents=True, exist_ok=True)
    write_segmentation(target / f"{case_id}.seg.nrrd", Segmentation(layers, geometry, dataset.structures))


def _words_after(text: tuple[str, ...], case: tuple[str, ...]) -> tuple[str, ...]:
    return text[len(case) :] if text[: len(case)] == case else text


def _case_of_file(path: Path, source: Path, dataset: Dataset) -> Case | None:
    """The case whose result a file is: by its name, by the longest case with which it begins, or else by a folder."""
    exact = _find_case(stem_of(path), dataset)
    if exact is not None:
        return exact
    by_name: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in dataset.manifest.cases:
        stems = [stem_of(Path(image)) for image in case.images]
        for name in {name_words(case.id), *map(name_words, stems), *(name_words(case_name(stem)) for stem in stems)} - {
            ()
        }:
            by_name[name].append(case)
    texts = [stem_of(path), *reversed(path.relative_to(source).parent.parts)]
    for text in texts:
        parts = name_words(strip_mask_words(text))
        heads = (parts[:length] for length in range(len(parts), 0, -1))
        if (owners := next((by_name[head] for head in heads if head in by_name), None)) is not None:
            return owners[0] if len(owners) == 1 else None
    return None


def _add_table(path: Path, dataset: Dataset, target: Path, notes: list[str]) -> list[str]:
    rows: dict[str, list[RleRow]] = defaultdict(list)
    for row in read_rle_csv(path):
        rows[row.image].append(row)
    known = {s.name: n for n, s in enumerate(dataset.structures)}
    unknown = sorted({row.structure for of_image in rows.values() for row in of_image} - set(known))
    if unknown:
        raise LabelError(
            f"the table names structures that the dataset does not have: {', '.join(unknown[:5])}",
            hint=f"use its names: {', '.join(list(known)[:5])} …",
        )
    added = []
    counting, evidence = read_convention(path), ConventionEvidence()
    for image, of_image in rows.items():
        case = _find_case(PurePosixPath(image.replace("\\", "/")).name, dataset)
        if case is None:
            notes.append(f"{image}: no case or picture of the dataset is called so")
            continue
        geometry = dataset.geometry(case)
        columns, height, depth = geometry.shape
        if depth != 1:
            raise LabelError(f"case {case.id}: is not a picture, and RLE is for pictures", hint="upload label files")
        layers = np.zeros((len(known), *geometry.shape), dtype=np.uint8)
        for row in of_image:
            mask = decode_rle(row.rle, (height, columns), counting, name=f"line {row.line}")
            evidence.add(parse_runs(row.rle), (height, columns), row.line)
            layers[known[row.structure], :, :, 0] |= mask.T
        write_segmentation(target / f"{case.id}.seg.nrrd", Segmentation(layers, geometry, dataset.structures))
        added.append(case.id)
    if (doubt := evidence.doubt(counting)) is not None:
        raise LabelError(f"{path.name}: {doubt}", hint=RENAME)
    return added


def _find_case(name: str, dataset: Dataset) -> Case | None:
    """The case with that id, or with an image of that name, with or without its suffix."""
    for case in dataset.manifest.cases:
        images = [Path(image).name for image in case.images]
        if name in (case.id, *images, *map(stem_of, map(Path, images))) or stem_of(Path(name)) == case.id:
            return case
    return None
