"""Scans with one mask file for each structure; or with one label map, a DICOM SEG or an RTSTRUCT.

Scans are DICOM series anywhere below the case's folder, or NIfTI, NRRD or MetaImage files. A folder for each case,
`images/` and `masks/` with names `case_structure`, or a folder for each structure: `mask_pairing` tells which is
whose.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path, PurePosixPath

from osteon.core.errors import OsteonError
from osteon.core.folders import files_below
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.dicom_folders import contains_dicom
from osteon.formats.label_tables import (
    TABLE_NAMES,
    ambiguous_tables_beside,
    find_label_table,
    is_label_table,
    is_unambiguous_table,
    read_label_table,
)
from osteon.formats.mask_names import kind_of, same_name
from osteon.formats.registry import stem_of, table_of
from osteon.formats.unsupported import Holds
from osteon.importing.masks.cases import MaskCase, read_case, sort_masks
from osteon.importing.masks.dataset import case_ids, channels_of, check_names, structures_of, understood
from osteon.importing.masks.dicom import patient_of
from osteon.importing.masks.files import Heap, gather, volume_files
from osteon.importing.masks.groups import Group
from osteon.importing.masks.pairing import pair
from osteon.importing.masks.structures import ends_in_cases, is_spine
from osteon.importing.masks.unmatched import no_pairs
from osteon.importing.masks.values import is_binary
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.importing.skipped_files import tell_passed_over
from osteon.importing.source_forms import Converted, Form, Found, FoundCase, Options

LISTS = ("dataset.json", "pairs.txt", "pairs.csv", "pairs.tsv")
"""Files that list the cases of a folder."""
_LOOKED_AT = 20
"""Files without a telling name whose voxels are looked at to recognise the form."""


def misses(source: Path) -> str | None:
    """What `source` lacks to be scans with masks."""
    if not source.is_dir():
        return "is one file, not a folder of scans and masks"
    if listed := [name for name in LISTS if (source / name).is_file()]:
        return f"{listed[0]} lists the cases already"
    files = list(volume_files(source))
    told = [kind_of(PurePosixPath(path.relative_to(source).as_posix())) for path in files]
    dicom = contains_dicom(source)
    if not files and not dicom:
        return "no scan (a DICOM series, .nii.gz, .nrrd or .mha)"
    if not files:
        heap = gather(source)
        if not heap.masks:
            return "no mask beside the DICOM files (.nii.gz, .nrrd, DICOM SEG or RTSTRUCT)"
        return None if heap.scans else "no scan to the DICOM SEG or RTSTRUCT"
    unclear = [path for path, kind in zip(files, told, strict=True) if kind == "unclear"]
    scans, masks = dicom or "scan" in told, "mask" in told
    if (scans and masks) or (scans and unclear) or (masks and unclear):
        return None
    if dicom and "scan" in told and any(mask.kind != "file" for mask in gather(source).masks):
        return None  # scans as files, and labels as DICOM
    if masks and not scans:
        return "masks, but no scan that they belong to"
    looked = [is_binary(path) for path in islice(unclear, _LOOKED_AT)]
    if any(looked) and not all(looked):
        return None
    if scans and gather(source).masks:  # called scans, but one is none: `T1` of a vertebra
        return None
    return "no mask file (one for each structure, such as femur.nii.gz or p1_femur.nii.gz)"


def read(source: Path, options: Options) -> Found:
    """List the cases of scans with masks.

    Raises:
        FileError: The source or its table of labels cannot be read.
        DatasetError: No mask belongs to a scan.
        UsageError: `--case-pattern`, `--labels` or `--priority` does not fit what was found.
    """
    heap = gather(source)
    groups = pair(heap, options.case_pattern, series=options.series, ignore_references=options.ignore_references)
    if not any(group.masks for group in groups):
        raise no_pairs(source, heap, options.case_pattern)
    return found_in(source, heap, groups, options)


def found_in(
    source: Path, heap: Heap, groups: list[Group], options: Options, *, holding: Sequence[Holds] = ("images",)
) -> Found:
    """The cases of scans and masks that were sorted; `holding` as for `tell_passed_over`.

    Raises as `read` does, but for what belongs to a scan.
    """
    table_in = cache(partial(find_label_table, others=_tables_beside(heap)))
    table = None if options.structures else table_in(source)
    told = options.named_structures() or (read_label_table(table) if table else None)
    known = None if told is None else [structure.name for structure in told]
    spelling = {same_name(name): name for name in known or ()}
    single = _one_map_each(groups)
    spine, last = is_spine(groups), ends_in_cases(groups)
    cases = [sort_masks(group, spelling, known, table_in, single=single, spine=spine, last=last) for group in groups]
    structures = told or structures_of(cases)
    check_names(cases, structures, told=told is not None, priority=options.priority)
    patients = [patient_of(s) if (s := group.scans[0].series) else Patient() for group in groups]
    pseudonyms = Pseudonyms(source, [] if options.keep_identity else patients)
    for case, name in zip(cases, case_ids(groups, source, patients, pseudonyms, heap.warnings), strict=True):
        case.id = name
    found = Found(source.absolute().name, channels_of(cases, options), [], structures, warnings=heap.warnings)
    found.lost = [*heap.lost, *map(str, heap.strays)]
    found.understood = understood(cases, structures, table)
    if pseudonyms.keys and not options.keep_identity:
        found.understood.append(
            f"patients are called {', '.join(sorted(set(pseudonyms.keys.values()))[:3])} …; "
            "who is behind a key is written beside the source, never into the dataset"
        )
    for case, patient in zip(cases, patients, strict=True):
        subject = pseudonyms.subject(patient, keep_identity=options.keep_identity) or case.group.subject
        row = _found_case(case, subject, partial(_convert, case, patient, found, pseudonyms, options))
        found.cases.append(replace(row, between_slices=options.between_slices))
        found.lost += [f"{mask.path}: lies beside the case's folder of masks; passed over" for mask in case.passed]
    used = {table, *(case.table.path for case in cases if case.table is not None)}
    found.warnings += _unused_tables(source, used) + _doubtful_tables(cases, used)
    tell_passed_over(found, source, holding)
    return found


def _tables_beside(heap: Heap) -> set[Path]:
    """Tables of names that belong to one mask each; one that cannot be read says so when its case is sorted."""
    found = set()
    for mask in heap.masks:
        with suppress(OsteonError):
            own = table_of(mask.path) if mask.kind == "file" else None
            found |= {own.path} if own is not None else set()
    return found


def _unused_tables(source: Path, used: Container[Path | None]) -> list[str]:
    """A note on the tables of names below the source that name no label map."""
    below = [path for path in files_below(source, hidden=False, skip_with=FILE_NAME) if path not in used]
    unused = [
        path for path in below if is_unambiguous_table(path) or (path.name in TABLE_NAMES and is_label_table(path))
    ]
    if not unused:
        return []
    count = f"{len(unused)} tables of labels, such as {unused[0]}, name" if len(unused) > 1 else f"{unused[0]} names"
    return [f"{count} no label map that was taken; not read"]


def _doubtful_tables(cases: Sequence[MaskCase], used: Container[Path | None]) -> list[str]:
    """A note on what is called after a label map that nothing names, and may be its table or something else."""
    unnamed = [mask.path for case in cases if case.unnamed for mask in case.maps]
    found = [other for path in unnamed for other in ambiguous_tables_beside(path, stem_of(path)) if other not in used]
    if not found:
        return []
    count = f"{len(found)} files, such as {found[0]}, may be tables" if len(found) > 1 else f"{found[0]} may be a table"
    called = f"{found[0].stem}_labels{found[0].suffix}"
    return [f"{count} of labels, and nothing says so; not read: call it {called} where its numbers are the label map's"]


def _one_map_each(groups: list[Group]) -> bool:
    """Whether every case has one label file, and the first of them holds several structures."""
    files = [[mask.path for mask in group.masks if mask.kind == "file"] for group in groups]
    labelled = [paths for paths in files if paths]
    return bool(labelled) and all(len(paths) == 1 for paths in labelled) and not is_binary(labelled[0][0])


def _found_case(case: MaskCase, subject: str | None, convert: partial[Converted]) -> FoundCase:
    scans, masks = case.group.scans, case.group.masks
    files = () if any(scan.series for scan in scans) else tuple(scan.path for scan in scans)
    plain = len(files) == 1 and case.problem is None and not case.named and not case.dicom
    if plain and len(case.maps) <= 1:
        return FoundCase(case.id, files, case.maps[0].path if case.maps else None, subject, table=case.table)
    labels = bool(masks)
    return FoundCase(
        case.id, files, None, subject, convert=convert, parts=_files(case), labels=labels, table=case.table
    )


def _files(case: MaskCase) -> tuple[Path, ...]:
    """The files of DICOM series, and the masks."""
    series = [path for scan in case.group.scans if scan.series for path in scan.series.files]
    return (*series, *(mask.path for mask in case.group.masks))


def _convert(case: MaskCase, patient: Patient, found: Found, pseudonyms: Pseudonyms, options: Options) -> Converted:
    """The case as the import takes it: nothing in it says who the patient is."""
    read = partial(read_case, case, found.structures, options)
    return read() if options.keep_identity else pseudonyms.without_names(read, patient, _files(case))


FORM = Form(
    "masks",
    "scans (DICOM, NIfTI, NRRD, MetaImage) with one mask file for each structure, or one label file",
    misses,
    read,
    "scans and masks that no list names",
    frozenset(
        {
            "case_pattern",
            "priority",
            "accept_gaps",
            "resample_tilt",
            "keep_identity",
            "series",
            "ignore_references",
            "between_slices",
        }
    ),
)
"""The form as the table of forms has it."""
