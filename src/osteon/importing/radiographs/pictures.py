"""Pictures as cases: the DICOM files among them, their ids, subjects and patients, and what marks them as labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError, FileError, LabelError
from osteon.core.file_names import name_key, natural_key
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.text import shorten_list
from osteon.core.volume import Volume
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.formats.dicom_inventory import sort_dicom_files
from osteon.formats.dicom_series import read_series
from osteon.formats.io import read_geometry
from osteon.formats.labelmap import smallest_uint
from osteon.importing.masks.dicom import read_patient
from osteon.importing.masks.merging import merge_masks
from osteon.importing.pieces import owner_of
from osteon.importing.pseudonyms import Patient
from osteon.importing.radiographs.annotations import Annotation
from osteon.importing.radiographs.files import SourceFile
from osteon.importing.source_forms import ConvertedCase, Source, compile_path_pattern

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
    case_of_path = compile_path_pattern(pattern)
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


_LISTED = 6


def convert_picture(
    picture: SourceFile,
    annotation: Annotation | None,
    structures: tuple[Structure, ...],
    priority: Sequence[str] | None,
) -> ConvertedCase:
    """Read a picture where it is DICOM, and draw what marks it onto its grid. Raises OsteonError."""
    volume, provenance = _read_dicom(picture.path) if picture.dicom else (None, [])
    geometry = volume.geometry if volume is not None else read_geometry(picture.path)
    if annotation is None or annotation.draw is None:
        return ConvertedCase(volume, provenance=tuple(provenance))
    warnings: list[str] = []
    drawn = annotation.draw((geometry.shape[1], geometry.shape[0]), warnings.append)
    if any(structure.instances for structure in structures):
        masks = ((_owner(name, structures, picture), np.ascontiguousarray(mask.T)[..., None]) for name, mask in drawn)
        segmentation, lines = merge_masks(masks, structures, geometry, priority)
        overlap = "".join(f"; {line}" for line in lines)
    else:
        layers = _layers(drawn, structures, geometry, picture)
        segmentation, overlap = _unite_layers(layers, structures, geometry, priority)
    sources = shorten_list([str(path.absolute()) for path in annotation.parts], _LISTED)
    provenance.append(f"segmentation drawn from {annotation.kind}: {sources}{overlap}")
    return ConvertedCase(volume, segmentation, annotation.annotated, tuple(provenance), tuple(warnings))


def _read_dicom(path: Path) -> tuple[Volume, list[str]]:
    """A radiograph in DICOM, and from what it was made. Raises FileError."""
    found = sort_dicom_files([path])
    if len(found.series) != 1:
        reason = found.skipped[0][1] if found.skipped else f"{len(found.series)} series"
        raise FileError(f"{path}: no single DICOM image ({reason})", hint="give the radiograph itself")
    volume, notes = read_series(found.series[0])
    if volume.geometry.shape[2] != 1:
        raise FileError(
            f"{path}: holds {volume.geometry.shape[2]} slices where a radiograph has one",
            hint="give volumes with one mask file for each structure (--form masks)",
        )
    return volume, [f"image from {path.absolute()}", *notes]


def _layers(
    drawn: Iterator[tuple[str, npt.NDArray[np.bool_]]],
    structures: Sequence[Structure],
    geometry: Geometry,
    picture: SourceFile,
) -> npt.NDArray[np.uint8]:
    """Multi-hot `[structure, i, j, 1]` of masks `[rows, columns]`, those of one structure united."""
    layers = np.zeros((len(structures), *geometry.shape), dtype=np.uint8)
    place = {structure.name: n for n, structure in enumerate(structures)}
    for name, mask in drawn:
        layers[place[_owner(name, structures, picture)], :, :, 0] |= mask.T
    return layers


def _owner(name: str, structures: Sequence[Structure], picture: SourceFile) -> str:
    """The structure that a mark means. Raises LabelError where there is none."""
    if (owner := owner_of(name, structures)) is None:
        known = ", ".join(structure.name for structure in structures)
        raise LabelError(
            f"{picture.path}: {name} is marked, but no structure is called that (structures: {known})",
            hint="add it to --labels, or leave --labels out",
        )
    return owner


def _unite_layers(
    layers: npt.NDArray[np.uint8], structures: tuple[Structure, ...], geometry: Geometry, priority: Sequence[str] | None
) -> tuple[Segmentation, str]:
    """The layers as they are where structures share pixels; an index map where none do, or `priority` decides."""
    shared = int(np.count_nonzero(layers.sum(axis=0, dtype=np.uint16) > 1))
    if shared and priority is None:
        return Segmentation(layers, geometry, structures), f"; {shared} pixels belong to several structures"
    rank = {name: n for n, name in enumerate(priority or ())}
    labels = np.zeros(geometry.shape, dtype=smallest_uint(max((s.value for s in structures), default=0)))
    for layer, structure in sorted(
        zip(layers, structures, strict=True), key=lambda pair: rank.get(pair[1].name, len(rank)), reverse=True
    ):
        labels[layer > 0] = structure.value
    rule = (
        f"; in {shared} pixels that several claim, the first of {', '.join(priority or ())} has won" if shared else ""
    )
    return Segmentation(labels, geometry, structures), rule
