"""Pictures as cases: the DICOM files among them, and their ids, subjects and patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from osteon.core.errors import DatasetError, FileError
from osteon.core.file_names import name_key, natural_key
from osteon.core.text import shorten_list
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.importing.masks.dicom import read_patient
from osteon.importing.patterns import compile_path_pattern
from osteon.importing.pseudonyms import Patient
from osteon.importing.radiographs.files import SourceFile
from osteon.importing.source_forms import Source

_LISTED = 6
_MOST_OF_A_SUBJECT = 10
"""Pictures in a folder; with more, folders are more likely groups than subjects."""
_NO_SUBJECTS = {"images", "image", "img", "imgs", "pictures", "train", "training", "val", "valid", "validation", "test"}


def add_dicom(pictures: list[SourceFile], dicom: list[SourceFile], found: Source) -> list[SourceFile]:
    """Pictures and DICOM files; a picture beside a DICOM file of the same name is its preview, and left out."""
    whole = {file.relative_path.with_suffix("") for file in dicom}
    previews = [file for file in pictures if file.relative_path.with_suffix("") in whole]
    if previews:
        found.warnings.append(
            f"{len(previews)} pictures, such as {previews[0].relative_path}, stand beside DICOM files; left out"
        )
    return sorted(
        [*(f for f in pictures if f not in set(previews)), *dicom], key=lambda f: natural_key(str(f.relative_path))
    )


def report_dicom(pictures: Sequence[SourceFile], dicom: Sequence[SourceFile], found: Source) -> None:
    """Report DICOM files that no file can mark; one beside a picture of the same name is taken as that picture."""
    whole = {file.relative_path.with_suffix("") for file in pictures}
    lost = [file for file in dicom if file.relative_path.with_suffix("") not in whole]
    for files, why, target in (
        (lost, "marked by no file; skipped", found.lost),
        ([f for f in dicom if f not in set(lost)], "beside a picture of the same name; left out", found.warnings),
    ):
        if files:
            many = f"{len(files)} DICOM files, such as {files[0].relative_path}, are"
            target.append(f"{many if len(files) > 1 else f'{files[0].relative_path} is'} {why}")


def picture_ids(pictures: Sequence[SourceFile], pattern: str | None, warnings: list[str]) -> list[str]:
    """The case that `--case-pattern` finds; else stems as long as they differ, else with folders in front."""
    case_of_path = compile_path_pattern(pattern, "--case-pattern")
    if case_of_path is not None:
        ids = [safe_id(case_of_path(file.relative_path.as_posix()) or "") for file in pictures]
        twice = [name for name, times in Counter(map(name_key, ids)).items() if times > 1]
        if twice:
            same = [
                str(file.relative_path) for file, name in zip(pictures, ids, strict=True) if name_key(name) == twice[0]
            ]
            raise DatasetError(
                f"--case-pattern {pattern} makes one case, {twice[0]}, of {shorten_list(same, _LISTED)}",
                hint="take a longer part of the path: a radiograph is a case of its own",
            )
        return ids
    stems = [safe_id(file.stem) for file in pictures]
    parents = [safe_id("_".join([*file.relative_path.parts[-2:-1], file.stem])) for file in pictures]
    places = [safe_id("_".join([*file.relative_path.parts[:-1], file.stem])) for file in pictures]
    return unique_ids([stems, parents, places], warnings)


def picture_subjects(pictures: Sequence[SourceFile]) -> dict[SourceFile, str]:
    """The folder of each picture, where every subject seems to have one."""
    folders = Counter(file.relative_path.parent for file in pictures)
    names = {folder.name.lower() for folder in folders}
    if len(folders) < 2 or max(folders.values()) > _MOST_OF_A_SUBJECT or names & {"", *_NO_SUBJECTS}:
        return {}
    return {file: safe_id(file.relative_path.parent.name) for file in pictures}


def picture_patient(picture: SourceFile) -> Patient:
    """Whom a DICOM file shows; nobody where it is another picture, or cannot be read, which its case says later."""
    try:
        return read_patient(picture.path) if picture.dicom else Patient()
    except FileError:
        return Patient()
