"""Scans with one mask file for each structure; or with one label map, a DICOM SEG or an RTSTRUCT.

Scans are DICOM series anywhere below the case's folder, or NIfTI, NRRD or MetaImage files. A folder for each case,
`images/` and `masks/` with names `case_structure`, or a folder for each structure: `masks.pairing` tells which is
whose.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

from osteon.core.errors import OsteonError
from osteon.core.folders import files_below
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.io import table_of
from osteon.formats.label_tables import (
    TABLE_NAMES,
    ambiguous_tables_beside,
    find_label_table,
    is_label_table,
    is_unambiguous_table,
    read_label_table,
)
from osteon.formats.mask_names import classify_name, structure_key
from osteon.formats.registry import contains_dicom, stem_of
from osteon.formats.unsupported import Holds
from osteon.importing.masks.cases import MaskCase, MaskClassifier
from osteon.importing.masks.conversion import read_case
from osteon.importing.masks.dataset import case_ids, check_names, collect_channels, collect_structures, summarise_cases
from osteon.importing.masks.dicom import read_series_patient
from osteon.importing.masks.files import SourceInventory, find_source_files, is_binary, path_below, volume_files
from osteon.importing.masks.groups import ScanGroup
from osteon.importing.masks.pairing import pair_files
from osteon.importing.masks.structures import case_stands_last, is_spine
from osteon.importing.masks.unmatched import no_pairs_error
from osteon.importing.options import DICOM_OPTIONS, BetweenSlices, ImportOptions
from osteon.importing.pieces import FRAGMENT, number_pieces, stems_with_pieces
from osteon.importing.pseudonyms import Pseudonyms
from osteon.importing.source_forms import ConvertedCase, Source, SourceCase, SourceForm, report_skipped_files
from osteon.importing.structure_names import user_structures

CASE_LISTS = ("dataset.json", "pairs.txt", "pairs.csv", "pairs.tsv")
"""Files that list the cases of a folder."""
_MAX_READ = 20
"""Files whose names say nothing, and whose voxels are looked at to recognise the form."""


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be scans with masks."""
    if not source.is_dir():
        return "is one file, not a folder of scans and masks"
    if listed := [name for name in CASE_LISTS if (source / name).is_file()]:
        return f"{listed[0]} lists the cases already"
    files = list(volume_files(source))
    kinds = [classify_name(path_below(source, path)) for path in files]
    dicom = contains_dicom(source)
    if not files and not dicom:
        return "no scan (a DICOM series, .nii.gz, .nrrd or .mha)"
    if not files:
        inventory = find_source_files(source)
        if not inventory.masks:
            return "no mask beside the DICOM files (.nii.gz, .nrrd, DICOM SEG or RTSTRUCT)"
        return None if inventory.scans else "no scan to the DICOM SEG or RTSTRUCT"
    unclear = [path for path, kind in zip(files, kinds, strict=True) if kind == "unclear"]
    scans, masks = dicom or "scan" in kinds, "mask" in kinds
    if (scans and masks) or (scans and unclear) or (masks and unclear):
        return None
    if dicom and "scan" in kinds and any(mask.kind != "file" for mask in find_source_files(source).masks):
        return None  # scans as files, and labels as DICOM
    if masks and not scans:
        return "masks, but no scan that they belong to"
    looked = [is_binary(path) for path in islice(unclear, _MAX_READ)]
    if any(looked) and not all(looked):
        return None
    if scans and find_source_files(source).masks:  # called scans, but one is none: `T1` of a vertebra
        return None
    return "no mask file (one for each structure, such as femur.nii.gz or p1_femur.nii.gz)"


def read(source: Path, options: ImportOptions) -> Source:
    """List the cases of scans with masks.

    Raises:
        FileError: The source or its table of labels cannot be read.
        DatasetError: No mask belongs to a scan.
        UsageError: `--case-pattern`, `--labels` or `--priority` does not fit what was found.
    """
    inventory = find_source_files(source)
    groups = pair_files(
        inventory, options.case_pattern, series=options.series, ignore_references=options.ignore_references
    )
    if not any(group.masks for group in groups):
        raise no_pairs_error(source, inventory, options.case_pattern)
    return build_source(source, inventory, groups, options)


def build_source(
    source: Path,
    inventory: SourceInventory,
    groups: list[ScanGroup],
    options: ImportOptions,
    *,
    holding: Sequence[Holds] = ("images",),
) -> Source:
    """The cases of scans and masks that were sorted; `holding` as for `report_skipped_files`.

    Raises as `read` does, but for what belongs to a scan.
    """
    table_in = cache(partial(find_label_table, others=_tables_beside(inventory)))
    table = None if options.structures else table_in(source)
    named = user_structures(options.structures) or (read_label_table(table) if table else None)
    known = None if named is None else [structure.name for structure in named]
    spelling = {structure_key(name): name for name in known or ()}
    classifier = MaskClassifier(
        spelling, known, table_in, _has_one_map_each(groups), is_spine(groups), case_stands_last(groups)
    )
    cases = [classifier.classify(group) for group in groups]
    structures = named or collect_structures(cases)
    if structures is not None and options.fragments == "instances":
        by_file = named is None and any(case.structure_masks or case.dicom_labels for case in cases)
        structures = stems_with_pieces(s.name for s in structures) if by_file else number_pieces(structures, FRAGMENT)
    check_names(cases, structures, by_user=named is not None, priority=options.priority)
    patients = [read_series_patient(group.scans[0].series) for group in groups]
    pseudonyms = Pseudonyms(source, patients, keep_identity=options.keep_identity)
    for case, name in zip(cases, case_ids(groups, source, patients, pseudonyms, inventory.warnings), strict=True):
        case.id = name
    found = Source(
        source.absolute().name, collect_channels(cases, options), [], structures, warnings=inventory.warnings
    )
    found.lost = [*inventory.lost, *map(str, inventory.unmatched)]
    found.summary = summarise_cases(cases, structures, table)
    if pseudonyms.keys:
        found.summary.append(
            f"patients are called {', '.join(sorted(set(pseudonyms.keys.values()))[:3])} …; "
            "who is behind a key is written beside the source, never into the dataset"
        )
    for case, patient in zip(cases, patients, strict=True):
        subject = pseudonyms.subject(patient) or case.group.subject
        convert = partial(read_case, case, found.structures, options)
        convert = partial(pseudonyms.without_names, convert, patient, _case_files(case))
        found.cases.append(_source_case(case, subject, convert, options.between_slices))
        found.lost += [f"{mask.path}: lies beside the case's folder of masks; skipped" for mask in case.skipped]
    used = {table, *(case.table.path for case in cases if case.table is not None)}
    found.warnings += _warn_unused_tables(source, used) + _warn_doubtful_tables(cases, used)
    report_skipped_files(found, source, holding)
    return found


def _tables_beside(inventory: SourceInventory) -> set[Path]:
    """Tables of names that belong to one mask each; one that cannot be read says so when its case is sorted."""
    found = set()
    for mask in inventory.masks:
        with suppress(OsteonError):
            table = table_of(mask.path) if mask.kind == "file" else None
            found |= {table.path} if table is not None else set()
    return found


def _warn_unused_tables(source: Path, used: Container[Path | None]) -> list[str]:
    """A note on the tables of names below the source that name no label map."""
    below = [path for path in files_below(source, hidden=False, skip_with=FILE_NAME) if path not in used]
    unused = [
        path for path in below if is_unambiguous_table(path) or (path.name in TABLE_NAMES and is_label_table(path))
    ]
    if not unused:
        return []
    count = f"{len(unused)} tables of labels, such as {unused[0]}, name" if len(unused) > 1 else f"{unused[0]} names"
    return [f"{count} no label map that was taken; not read"]


def _warn_doubtful_tables(cases: Sequence[MaskCase], used: Container[Path | None]) -> list[str]:
    """A note on what is called after a label map that nothing names, and may be its table or something else."""
    unnamed = [mask.path for case in cases if case.is_unnamed for mask in case.label_maps]
    found = [other for path in unnamed for other in ambiguous_tables_beside(path, stem_of(path)) if other not in used]
    if not found:
        return []
    count = f"{len(found)} files, such as {found[0]}, may be tables" if len(found) > 1 else f"{found[0]} may be a table"
    new_name = f"{found[0].stem}_labels{found[0].suffix}"
    return [
        f"{count} of labels, and nothing says so; not read: call it {new_name} where its numbers are the label map's"
    ]


def _has_one_map_each(groups: list[ScanGroup]) -> bool:
    """Whether every case has one label file, and the first of them holds several structures."""
    files = [[mask.path for mask in group.masks if mask.kind == "file"] for group in groups]
    labelled = [paths for paths in files if paths]
    return bool(labelled) and all(len(paths) == 1 for paths in labelled) and not is_binary(labelled[0][0])


def _source_case(
    case: MaskCase, subject: str | None, convert: partial[ConvertedCase], between_slices: BetweenSlices
) -> SourceCase:
    scans = case.group.scans
    files = () if any(scan.series for scan in scans) else tuple(scan.path for scan in scans)
    plain = len(files) == 1 and case.problem is None and not case.structure_masks and not case.dicom_labels
    row = SourceCase(case.id, files, subject=subject, between_slices=between_slices, table=case.table)
    if plain and len(case.label_maps) <= 1:
        return replace(row, label=case.label_maps[0].path if case.label_maps else None)
    return replace(row, convert=convert, parts=_case_files(case), labels=bool(case.group.masks))


def _case_files(case: MaskCase) -> tuple[Path, ...]:
    """The files of DICOM series, and the masks."""
    series = [path for scan in case.group.scans if scan.series for path in scan.series.files]
    return (*series, *(mask.path for mask in case.group.masks))


FORM = SourceForm(
    "masks",
    "scans (DICOM, NIfTI, NRRD, MetaImage) with one mask file for each structure, or one label file",
    explain_mismatch,
    read,
    "scans and masks that no list names",
    DICOM_OPTIONS | {"fragments", "case_pattern", "priority", "ignore_references", "between_slices"},
)
