"""Radiographs and other pictures, with outlines, run-length codes or masks of structures that may overlap.

The pictures stay where they are. What marks them is drawn onto their pixels and written as labels: an index map where
no two structures share a pixel, one layer for each structure else.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError
from osteon.core.labels import Structure
from osteon.dataset.manifest import Channel
from osteon.formats.unsupported import Holds
from osteon.importing.masks.files import find_dicom_scans
from osteon.importing.options import ImportOptions
from osteon.importing.pseudonyms import Pseudonyms
from osteon.importing.radiographs.annotation_search import AnnotatedPictures, find_annotations
from osteon.importing.radiographs.annotations import Annotation
from osteon.importing.radiographs.detection import explain_mismatch
from osteon.importing.radiographs.files import PictureInventory, SourceFile, find_picture_files
from osteon.importing.radiographs.mask_files import check_label_map
from osteon.importing.radiographs.pictures import convert_picture, picture_ids, picture_patient, picture_subjects
from osteon.importing.source_forms import Source, SourceCase, SourceForm, report_skipped_files
from osteon.importing.structure_names import check_priority

_ANNOTATION_SUFFIXES = (".json", ".csv", ".tsv")


def read(source: Path, options: ImportOptions, *, unmarked: bool = False) -> Source:
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
    found = Source(folder.absolute().name, [Channel.of(options.modality or "xray")], [])
    annotated = find_annotations(_list_files(source, unmarked=unmarked), options, found, dicom=unmarked)
    ids = picture_ids(annotated.pictures, options.case_pattern, found.warnings)
    if not annotated.annotations and not unmarked:
        raise DatasetError(
            f"{folder}: no annotation finds its picture: {'; '.join(found.lost[:3]) or 'none names one'}",
            hint="call pictures as the annotations do, or say which part of a path is the case: --case-pattern",
        )
    found.structures = annotated.find_structures(options, folder)
    check_priority(options.priority, found.structures)
    subjects = picture_subjects(annotated.pictures)
    found.cases = _make_cases(annotated, ids, subjects, found, folder, options)
    if turned := annotated.turned():
        found.warnings.append(
            f"{len(turned)} pictures, such as {turned[0].relative_path}, are turned upright as their EXIF orientation "
            "says; what marks them is taken as drawn on the upright picture"
        )
    found.summary += annotated.describe(found.structures)
    if subjects:
        listed = ", ".join(islice(dict.fromkeys(subjects.values()), 3))
        found.summary.append(f"the folder of a picture is its subject: {listed} …")
    found.summary.append("to the right of a picture is taken as the patient's left, one pixel as one unit (px)")
    found.summary += ["taken as X-rays; --modality says otherwise"] if options.modality is None else []
    holding: list[Holds] = ["images", "surfaces", "pictures"] if unmarked else ["images", "pictures"]
    report_skipped_files(found, folder, holding, _ANNOTATION_SUFFIXES)
    return found


def _list_files(source: Path, *, unmarked: bool) -> PictureInventory:
    """The files of the source; of annotations this file alone where the source is one."""
    folder = source if source.is_dir() else source.parent
    inventory = find_picture_files(folder)
    if source.is_file():
        alone, is_json = [SourceFile(source, PurePosixPath(source.name))], source.suffix.lower() == ".json"
        inventory.json, inventory.csv = (alone, []) if is_json else ([], alone)
    if unmarked:
        shown = {path for scan in find_dicom_scans(folder)[0].pictures if scan.series for path in scan.series.files}
        inventory.dicom = [file for file in inventory.dicom if file.path in shown]
    return inventory


def _make_cases(
    annotated: AnnotatedPictures,
    ids: list[str],
    subjects: dict[SourceFile, str],
    found: Source,
    folder: Path,
    options: ImportOptions,
) -> list[SourceCase]:
    """A case for each picture, in which nothing says whom it shows."""
    patients = [picture_patient(picture) for picture in annotated.pictures]
    pseudonyms = Pseudonyms(folder, patients, keep_identity=options.keep_identity)
    ids = pseudonyms.hide_ids(ids, patients, found.warnings)
    cases = []
    for name, picture, patient in zip(ids, annotated.pictures, patients, strict=True):
        subject = pseudonyms.subject(patient) or subjects.get(picture)
        case = _make_case(name, picture, annotated.annotations.get(picture), subject, found.structures, options)
        if case.convert is not None and patient:
            files = (picture.path, *case.parts)
            case = replace(case, convert=partial(pseudonyms.without_names, case.convert, patient, files))
        cases.append(case)
    return cases


def _make_case(
    name: str,
    picture: SourceFile,
    annotation: Annotation | None,
    subject: str | None,
    structures: tuple[Structure, ...] | None,
    options: ImportOptions,
) -> SourceCase:
    label = annotation.label if annotation is not None else None
    drawn = annotation is not None and label is None
    if not drawn and not picture.dicom:
        check = None if label is None else partial(check_label_map, label)
        return SourceCase(name, (picture.path,), label, subject=subject, convert=check)
    convert = partial(convert_picture, picture, annotation, structures or (), options.priority)
    parts = annotation.parts if annotation is not None else ()
    if picture.dicom:  # written anew: not every reader of datasets knows DICOM, nor should a patient's name go along
        return SourceCase(name, (), label, subject, None, convert, (picture.path, *parts), drawn)
    return SourceCase(name, (picture.path,), label, subject, None, convert, parts, drawn)


FORM = SourceForm(
    "radiographs",
    "pictures with outlines (JSON), RLE (CSV) or mask files",
    explain_mismatch,
    read,
    "pictures with marks beside them",
    options=frozenset(
        {"fragments", "case_pattern", "priority", "keep_identity", "rle_order", "rle_base", "mask_marks"}
    ),
)
