"""Radiographs and other pictures, with outlines, run-length codes or masks of structures that may overlap.

The pictures stay where they are. What marks them is drawn onto their pixels and written as labels: an index map where
no two structures share a pixel, one layer for each structure else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, FileError, UsageError
from osteon.core.file_names import name_key, natural_key
from osteon.core.labels import Structure, make_structures
from osteon.core.text import pluralise, shorten_list
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.dataset.manifest import Channel
from osteon.formats.raster import read_orientation
from osteon.formats.rle import is_rle_csv
from osteon.formats.unsupported import Holds
from osteon.importing.masks.dicom import patient_in
from osteon.importing.masks.files import find_dicom
from osteon.importing.patterns import path_finder
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.importing.radiographs.annotations import Marks, Told, marked_twice
from osteon.importing.radiographs.detection import misses
from osteon.importing.radiographs.files import File, Heap, Shelf, survey
from osteon.importing.radiographs.json_files import JsonFiles
from osteon.importing.radiographs.mask_files import is_mask_table, look_at_labels, of_table, read_mask_table, sort_out
from osteon.importing.radiographs.rasterisation import convert
from osteon.importing.radiographs.rle import of_rle
from osteon.importing.skipped_files import tell_passed_over
from osteon.importing.source_forms import Form, Found, FoundCase, Options

_LISTED = 6
_MARKS = (".json", ".csv", ".tsv")
_MOST_OF_A_SUBJECT = 10
"""Pictures in a folder; with more, folders are more likely groups than subjects."""
_NO_SUBJECTS = {"images", "image", "img", "imgs", "pictures", "train", "training", "val", "valid", "validation", "test"}


def read(source: Path, options: Options, *, unmarked: bool = False) -> Found:
    """List the pictures and what marks them.

    Args:
        source: The folder, or the one annotation file of many pictures.
        options: As the user gave them.
        unmarked: Take pictures that nothing marks; DICOM files that show no radiograph are left out then.

    Raises:
        FileError, LabelError: A file that speaks of many pictures is broken.
        DatasetError: A name in it may mean several pictures, or a name pattern makes one case of several.
        UsageError: `--labels` or `--priority` does not fit what was found.
    """
    folder = source if source.is_dir() else source.parent
    heap = survey(folder)
    if source.is_file():  # this file alone counts
        alone = [File(source, PurePosixPath(source.name))]
        heap = Heap(heap.pictures, heap.dicom, *((alone, []) if source.suffix.lower() == ".json" else ([], alone)))
    modality = options.modality or "xray"
    found = Found(
        name=folder.absolute().name,
        channels=[Channel(name=modality if modality != "other" else "image", modality=modality)],
        cases=[],
    )
    if unmarked:
        shown = {path for scan in find_dicom(folder)[0].pictures if scan.series for path in scan.series.files}
        heap.dicom = [file for file in heap.dicom if file.path in shown]
    told, pictures, order = _told(heap, options, found, dicom=unmarked)
    marks: dict[File, Marks] = {}
    kinds: dict[File, list[str]] = defaultdict(list)
    for picture, said in told:
        first = marks.setdefault(picture, said)
        if first is not said and first.kind == said.kind:
            marks[picture] = marked_twice(picture, first, said)
        kinds[picture].append(said.kind)
    ids, subjects = _ids(pictures, options, found.warnings), _subjects(pictures)
    if not marks and not unmarked:
        raise DatasetError(
            f"{folder}: no annotation finds its picture: {'; '.join(found.lost[:3]) or 'none names one'}",
            hint="call pictures as the annotations do, or say which part of a path is the case: --case-pattern",
        )
    found.structures = _structures(list(marks.values()), order, options, folder)
    names = [structure.name for structure in found.structures or ()]
    marks = {picture: _among(said, names) for picture, said in marks.items()}
    _check_priority(options.priority, found.structures)
    patients = [_patient(picture) for picture in pictures]
    pseudonyms = Pseudonyms(folder, [] if options.keep_identity else patients)
    if not options.keep_identity:
        ids = pseudonyms.hide_ids(ids, patients, found.warnings)
    for name, picture, patient in zip(ids, pictures, patients, strict=True):
        subject = pseudonyms.subject(patient, keep_identity=options.keep_identity) or subjects.get(picture)
        case = _case(name, picture, marks.get(picture), subject, found.structures, options)
        if case.convert is not None and patient and not options.keep_identity:
            files = (picture.path, *case.parts)
            case = replace(case, convert=partial(pseudonyms.without_names, case.convert, patient, files))
        found.cases.append(case)
    if turned := [picture for picture in marks if not picture.dicom and _is_turned(picture)]:
        found.warnings.append(
            f"{len(turned)} pictures, such as {turned[0].place}, are turned upright as their EXIF orientation says; "
            "what marks them is taken as drawn on the upright picture"
        )
    found.understood += _understood(pictures, marks, kinds, subjects, found.structures, options)
    holding: list[Holds] = ["images", "surfaces", "pictures"] if unmarked else ["images", "pictures"]
    tell_passed_over(found, folder, holding, _MARKS)
    return found


def _told(heap: Heap, options: Options, found: Found, *, dicom: bool) -> tuple[Told, list[File], tuple[str, ...]]:
    """All that is said of pictures, the surest first; the pictures; and names in the order that a source gives.

    DICOM files are among the pictures where `dicom` says so, or where a file may mark them.
    """
    case_of = path_finder(options.case_pattern, "--case-pattern")
    tables = [(file, *read_mask_table(file, heap.pictures)) for file in heap.csv if is_mask_table(file.path)]
    listed = {mask for _, _, masks in tables for mask in masks}
    rest = [file for file in heap.pictures if file not in listed]
    masks, by_name, lost = sort_out(rest, case_of, options.mask_marks)
    pictures = [file for file in rest if file not in masks]
    if heap.dicom and (dicom or heap.json or heap.csv):
        pictures = _with_dicom(pictures, heap.dicom, found)
    elif heap.dicom:
        _without_dicom(pictures, heap.dicom, found)
    if case_of is not None:
        unknown = [file for file in pictures if case_of(file.place.as_posix()) is None]
        pictures = [file for file in pictures if file not in set(unknown)]
        if unknown:
            found.lost.append(
                f"--case-pattern finds no case in {pluralise(len(unknown), 'picture')}, such as {unknown[0].place}"
            )
    if lost:
        found.lost.append(f"{len(lost)} mask files belong to no picture, such as {lost[0]}; passed over")
    shelf = Shelf(pictures, case_of)
    said = JsonFiles(heap.json, shelf, found)
    told = said.told
    rle = [file for file in heap.csv if is_rle_csv(file.path)]
    if len(rle) > 1:
        raise DatasetError(
            f"{rle[0].path} and {rle[1].path} are both tables of RLE", hint="give the one that is meant as SOURCE"
        )
    for file in rle:
        told += of_rle(file, shelf, options, found)
    for file, rows, _ in tables:
        told += of_table(file, rows, shelf, found, options.mask_marks)
    if shelf.renamed:
        name, picture = next(iter(shelf.renamed.items()))
        found.warnings.append(
            f"{len(shelf.renamed)} pictures are named as annotation programs name them, such as {name}: taken as "
            f"{picture.place}"
        )
    return told + by_name, pictures, tuple(said.order)


def _with_dicom(pictures: list[File], dicom: list[File], found: Found) -> list[File]:
    """Pictures and DICOM files; a picture beside a DICOM file of the same name is its preview, and left out."""
    whole = {file.place.with_suffix("") for file in dicom}
    previews = [file for file in pictures if file.place.with_suffix("") in whole]
    if previews:
        found.warnings.append(
            f"{len(previews)} pictures, such as {previews[0].place}, stand beside DICOM files; left out"
        )
    return sorted([*(f for f in pictures if f not in set(previews)), *dicom], key=lambda f: natural_key(str(f.place)))


def _without_dicom(pictures: Sequence[File], dicom: Sequence[File], found: Found) -> None:
    """Tell DICOM files that no file can mark; one beside a picture of the same name is taken as that picture."""
    whole = {file.place.with_suffix("") for file in pictures}
    lost = [file for file in dicom if file.place.with_suffix("") not in whole]
    for files, why, told in (
        (lost, "marked by no file; passed over", found.lost),
        ([f for f in dicom if f not in set(lost)], "beside a picture of the same name; left out", found.warnings),
    ):
        if files:
            many = f"{len(files)} DICOM files, such as {files[0].place}, are"
            told.append(f"{many if len(files) > 1 else f'{files[0].place} is'} {why}")


def _is_turned(picture: File) -> bool:
    with suppress(FileError):  # said again when the case is read
        return read_orientation(picture.path) != 1
    return False


def _patient(picture: File) -> Patient:
    """Whom a DICOM file shows; nobody where it is another picture, or cannot be read, which its case says later."""
    try:
        return patient_in(picture.path) if picture.dicom else Patient()
    except FileError:
        return Patient()


def _structures(
    marks: Sequence[Marks], order: Sequence[str], options: Options, folder: Path
) -> tuple[Structure, ...] | None:
    """By `--labels`; else in the order of COCO's categories, the others in natural order. None for label maps alone."""
    if (named := options.named_structures()) is not None:
        return named
    names = {name for said in marks for name in said.names}
    if not names and not order:
        return None
    if any(said.label is not None for said in marks):
        raise DatasetError(
            f"{folder}: some pictures have label maps, whose values have no names, others structures with names",
            hint="name the values: --labels NAME=VALUE,…",
        )
    ordered = [*order, *sorted(names - set(order), key=natural_key)]
    return make_structures(ordered)


def _among(marks: Marks, names: Sequence[str]) -> Marks:
    """The marks with what was looked for among the structures; None for all of them."""
    if marks.annotated is None:
        return marks
    annotated = tuple(name for name in marks.annotated if name in names)
    return replace(marks, annotated=None if len(annotated) == len(names) else annotated)


def _check_priority(priority: Sequence[str] | None, structures: Sequence[Structure] | None) -> None:
    names = {structure.name for structure in structures or ()}
    if priority and structures is None:
        raise UsageError("--priority: label maps cannot overlap", hint="leave it out")
    if priority and structures and (unknown := [name for name in priority if name not in names]):
        raise UsageError(
            f"--priority {','.join(priority)}: no structure is called {unknown[0]}",
            hint=f"the structures are {', '.join(s.name for s in structures)}",
        )


def _ids(pictures: Sequence[File], options: Options, warnings: list[str]) -> list[str]:
    """The case that `--case-pattern` finds; else stems as long as they differ, else with folders in front."""
    case_of = path_finder(options.case_pattern, "--case-pattern")
    if case_of is not None:
        ids = [safe_id(case_of(file.place.as_posix()) or "") for file in pictures]
        twice = [name for name, times in Counter(map(name_key, ids)).items() if times > 1]
        if twice:
            same = [str(file.place) for file, name in zip(pictures, ids, strict=True) if name_key(name) == twice[0]]
            raise DatasetError(
                f"--case-pattern {options.case_pattern} makes one case, {twice[0]}, of {shorten_list(same, _LISTED)}",
                hint="take a longer part of the path: a radiograph is a case of its own",
            )
        return ids
    stems = [safe_id(file.stem) for file in pictures]
    parents = [safe_id("_".join([*file.place.parts[-2:-1], file.stem])) for file in pictures]
    places = [safe_id("_".join([*file.place.parts[:-1], file.stem])) for file in pictures]
    return unique_ids([stems, parents, places], warnings)


def _subjects(pictures: Sequence[File]) -> dict[File, str]:
    """The folder of each picture, where every subject seems to have one."""
    folders = Counter(file.place.parent for file in pictures)
    names = {folder.name.lower() for folder in folders}
    if len(folders) < 2 or max(folders.values()) > _MOST_OF_A_SUBJECT or names & {"", *_NO_SUBJECTS}:
        return {}
    return {file: safe_id(file.place.parent.name) for file in pictures}


def _case(
    name: str,
    picture: File,
    marks: Marks | None,
    subject: str | None,
    structures: tuple[Structure, ...] | None,
    options: Options,
) -> FoundCase:
    label = marks.label if marks is not None else None
    drawn = marks is not None and label is None
    if not drawn and not picture.dicom:
        look = None if label is None else partial(look_at_labels, label)
        return FoundCase(name, (picture.path,), label, subject=subject, convert=look)
    converted = partial(convert, picture, marks, structures or (), options.priority)
    parts = marks.parts if marks is not None else ()
    if picture.dicom:  # written anew: not every reader of datasets knows DICOM, nor should a patient's name go along
        return FoundCase(name, (), label, subject, None, converted, (picture.path, *parts), drawn)
    return FoundCase(name, (picture.path,), label, subject, None, converted, parts, drawn)


def _understood(
    pictures: Sequence[File],
    marks: dict[File, Marks],
    kinds: dict[File, list[str]],
    subjects: dict[File, str],
    structures: Sequence[Structure] | None,
    options: Options,
) -> list[str]:
    """How the heap was understood, in sentences."""
    taken = Counter(said.kind for said in marks.values())
    lines = [f"{pluralise(len(pictures), 'picture')}; marked by {kind}: {count}" for kind, count in taken.items()]
    if unmarked := sum(picture not in marks for picture in pictures):
        lines.append(f"{pluralise(unmarked, 'picture')} without annotation, taken without labels")
    if twice := [picture for picture, said in kinds.items() if len(set(said)) > 1]:
        first, second = dict.fromkeys(kinds[twice[0]])
        lines.append(
            f"{len(twice)} pictures are marked by {first} and by {second}: the first is taken "
            "(give the other's file as SOURCE to take that)"
        )
    if structures is not None:
        lines.append(
            f"{pluralise(len(structures), 'structure')}: {shorten_list([s.name for s in structures], _LISTED)}"
        )
        lines.append("a structure that is not marked in a picture is taken as not being there")
    if any(said.label is not None for said in marks.values()):
        lines.append("label maps: grey levels are the values of structures; --labels gives them names")
    if subjects:
        lines.append(
            f"the folder of a picture is its subject: {', '.join(islice(dict.fromkeys(subjects.values()), 3))} …"
        )
    lines.append("to the right of a picture is taken as the patient's left, one pixel as one unit (px)")
    if options.modality is None:
        lines.append("taken as X-rays; --modality says otherwise")
    return lines


FORM = Form(
    "radiographs",
    "pictures with outlines (JSON), RLE (CSV) or mask files",
    misses,
    read,
    "pictures with marks beside them",
    heeds=frozenset({"case_pattern", "priority", "keep_identity", "rle_order", "rle_base", "mask_marks"}),
)
