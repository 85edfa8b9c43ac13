"""One case of a source into the dataset: read, checked, and written where it had to be converted."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from osteon.core.errors import DatasetError, GeometryError, LabelError, OsteonError
from osteon.core.files import is_file
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.pieces import split_pieces
from osteon.core.volume import Volume
from osteon.dataset.checks import (
    align_segmentation,
    check_image,
    check_labels,
    content_hash,
    find_background_like,
    present_structures,
    resample_labels,
)
from osteon.dataset.dataset import read_channels
from osteon.dataset.label_placement import place_segmentation
from osteon.dataset.manifest import Case, describe_errors
from osteon.formats.io import describe_header_warnings, read_segmentation, table_of, write_segmentation, write_volume
from osteon.formats.labelmap import is_placeholder
from osteon.importing.between_slices import resolve_gaps
from osteon.importing.piece_places import Place, measure_places
from osteon.importing.pieces import close_range, unite_layers
from osteon.importing.source_forms import ConvertedCase, Source, SourceCase

_LOSS = 0.05
"""A repair that loses more of the labelled volume than this is reported."""

_LISTED = 8


@dataclass(frozen=True)
class ReadSettings:
    """How the cases of a source are read.

    Attributes:
        found: What the source holds.
        folder: The dataset.
        made_from: From `ImportOrigin.digest`: what was read before counts where it is the same.
        repair_geometry: Resample a label that does not lie on its image's grid.
        allow_empty: Take an empty label.
        pieces: Values are to be pieces, so that structures may not overlap.
    """

    found: Source
    folder: Path
    made_from: str
    repair_geometry: bool
    allow_empty: bool
    pieces: bool = False


@dataclass(frozen=True)
class ImportedCase:
    """A case that passed: its entry, and what was seen while its voxels were in memory.

    Attributes:
        entry: As the manifest has it.
        structures: Those of its label.
        present: Names of the structures that have a voxel.
        overlaps: Whether a voxel belongs to several structures.
        warnings: What a person should look at; each names the case.
        highest: The highest value of its label.
        places: Where its values lie that nothing names, from `measure_places`.
    """

    entry: Case
    structures: tuple[Structure, ...] = ()
    present: tuple[str, ...] = ()
    overlaps: bool = False
    warnings: tuple[str, ...] = ()
    highest: int = 0
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass
class _Labels:
    """The labels of a case on its image's grid.

    Attributes:
        segmentation: They.
        name: What they are called in messages.
        changed: Whether they must be written anew, since the file that they come from says something else.
        provenance: What was done to them.
        warnings: What a person should look at; each names the case.
    """

    segmentation: Segmentation
    name: str
    changed: bool = True
    provenance: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def import_case(case: SourceCase, settings: ReadSettings, protected: Collection[Path]) -> ImportedCase:
    """Read image and label of one case, check them, and write what had to be converted.

    Args:
        case: As its form names it.
        settings: Of all cases.
        protected: The user's files, from `user_files`; none of them is written over.
    """
    folder = settings.folder
    name = f"case {case.id}"
    converted = case.convert() if case.convert is not None else ConvertedCase()
    if converted.volume is None:
        volume = read_channels(case.images, settings.found.channels, name)
    else:
        volume = converted.volume
        check_image(volume, name)
    entry = _make_entry(case, converted, content_hash(volume), folder)
    warnings = [f"{name}: {line}" for line in converted.warnings]
    labels = _read_labels(case, converted, volume, settings)
    present = () if labels is None else _check(labels, case, allow_empty=settings.allow_empty)
    if converted.volume is not None:
        write_volume(_writable(folder / entry.images[0], protected), volume)
    if labels is None:
        return ImportedCase(entry, warnings=tuple(warnings))
    highest = int(labels.segmentation.array.max(initial=0))
    structures = close_range(labels.segmentation.structures, highest)
    segmentation = replace(labels.segmentation, structures=structures)
    if labels.changed or case.label is None:
        path = f"labels/{case.id}{'.seg.nrrd' if segmentation.overlapping else '.nii.gz'}"
        write_segmentation(_writable(folder / path, protected), segmentation)
    else:
        path = _path_in_manifest(case.label, folder)
    overlaps = segmentation.overlapping and bool((np.count_nonzero(segmentation.array, axis=0) > 1).any())
    update = {"segmentation": path, "provenance": [*entry.provenance, *labels.provenance]}
    entry = entry.model_copy(update=update)
    warnings += labels.warnings
    unnamed = settings.found.structures is None and all(is_placeholder(name) for name in present)
    places = measure_places(segmentation) if unnamed and not segmentation.overlapping else {}
    return ImportedCase(entry, structures, present, overlaps, tuple(warnings), highest, places)


def _make_entry(case: SourceCase, converted: ConvertedCase, content: str, folder: Path) -> Case:
    """The case as the manifest has it, without its labels."""
    written = [f"images/{case.id}.nii.gz"] if converted.volume is not None else None
    try:
        return Case(
            id=case.id,
            images=written or [_path_in_manifest(path, folder) for path in case.images],
            subject=case.subject,
            site=case.site,
            annotated=None if converted.annotated is None else list(converted.annotated),
            content=content,
            provenance=list(converted.provenance),
        )
    except ValidationError as error:
        raise DatasetError(f"case {case.id}: {describe_errors(error)}", hint="rename the image's file") from None


def _check(labels: _Labels, case: SourceCase, *, allow_empty: bool) -> tuple[str, ...]:
    """Resolve the gaps of sparse labels, and give the structures that have a voxel.

    Raises:
        LabelError: None has, and the label may not be empty.
    """
    whole = labels.segmentation.structures
    labels.segmentation, filled, lines = resolve_gaps(split_pieces(labels.segmentation)[0], case.between_slices)
    labels.segmentation = Segmentation(labels.segmentation.array, labels.segmentation.geometry, whole)
    labels.changed |= filled
    labels.provenance += lines
    labels.warnings += [f"{labels.name}: {line}" for line in lines]
    merged = labels.segmentation.merged()
    present = present_structures(merged) if allow_empty else check_labels(merged, labels.name)
    if not present:
        labels.warnings.append(f"{labels.name}: the label is empty")
    for structure in find_background_like(merged):
        covers = "covers more than half of the image and most of its sides"
        labels.warnings.append(f"case {case.id}: {structure} {covers}: is it the background, or the mask inverted?")
    return present


def merge_warnings(imported: Iterable[ImportedCase]) -> list[str]:
    """The warnings of all cases; those that several share stand once."""
    cases: dict[str, list[str]] = defaultdict(list)
    lines: dict[str, str] = {}
    for case in imported:
        for line in case.warnings:
            what = line.removeprefix(f"case {case.entry.id}: ")
            cases[what].append(case.entry.id)
            lines[what] = line
    return [
        lines[what] if len(names) == 1 else f"{len(names)} cases, such as {names[0]}: {what}"
        for what, names in cases.items()
    ]


def add_header_notes(error: OsteonError, case: SourceCase) -> OsteonError:
    """The error of a case that does not fit or holds odd values, with what its files' headers leave open."""
    if not isinstance(error, (GeometryError, LabelError)):
        return error
    with suppress(OsteonError):
        if lines := describe_header_warnings(case.files):
            return type(error)("\n  ".join([error.message, *lines]), hint=error.hint)
    return error


def user_files(found: Source) -> frozenset[Path]:
    """The user's files of all cases that are there, links resolved."""
    files = (path for case in found.cases for path, _ in case.files if is_file(path))
    return frozenset(Path(os.path.realpath(path)) for path in files)


def _writable(path: Path, protected: Collection[Path]) -> Path:
    """A path that is none of the user's files: these stay as they are, also where DATASET is SOURCE."""
    if Path(os.path.realpath(path)) in protected:
        raise DatasetError(
            f"{path}: is one of the files to import, and would be written over",
            hint="choose another folder for the dataset",
        )
    return path


def _read_labels(case: SourceCase, converted: ConvertedCase, volume: Volume, settings: ReadSettings) -> _Labels | None:
    """The labels on the image's grid; None where the case has none."""
    if converted.segmentation is not None:
        aligned = align_segmentation(
            converted.segmentation, volume.geometry, name=f"case {case.id}", image_name="its image"
        )
        return _Labels(aligned, f"case {case.id}: its label")
    if case.label is None:
        return None
    table, structures = case.table or table_of(case.label), settings.found.structures
    segmentation = read_segmentation(case.label, structures, table=table, pieces=True)
    labels = _Labels(segmentation, f"case {case.id}: {case.label}", changed=False)
    if settings.pieces and segmentation.overlapping:
        labels.segmentation, labels.changed = unite_layers(case.label, structures), True
        labels.provenance.append(f"segmentation from the layers of {case.label.absolute()}")
    known = None if structures is None else {s.name: s.value for s in structures}
    if table is not None and (known is None or any(known.get(s.name, s.value) != s.value for s in table.structures)):
        meant = ", ".join(f"{s.value} {s.name}" for s in table.structures[:_LISTED])
        source = case.label.absolute()
        labels.provenance.append(f"segmentation from {source}, whose values {table.path.name} names: {meant}")
        labels.changed = True
    image_name, repair = str(case.images[0]), settings.repair_geometry
    _lay_on_image(labels, case.label, volume.geometry, image_name, repair_geometry=repair)
    return labels


def _lay_on_image(labels: _Labels, file: Path, grid: Geometry, image_name: str, *, repair_geometry: bool) -> None:
    """Bring the labels of a file onto the image's grid. Raises GeometryError where they do not fit."""
    segmentation = labels.segmentation
    try:
        labels.segmentation, placement = place_segmentation(segmentation, grid, name=labels.name, image_name=image_name)
    except GeometryError:
        if not repair_geometry or segmentation.geometry.unit != grid.unit:
            raise
    else:
        if placement:
            labels.changed = True
            labels.provenance.append(f"segmentation from {file.absolute()}: {placement}")
            labels.warnings.append(f"{labels.name} is {placement}")
        return
    labels.segmentation, labels.changed = resample_labels(segmentation, grid), True
    kept = _labelled_mm3(labels.segmentation) / (_labelled_mm3(segmentation) or 1.0)
    labels.provenance.append(
        f"segmentation resampled (nearest neighbour, in the world) from {file.absolute()}, "
        f"{segmentation.geometry.describe()}, to the image's grid, {grid.describe()}; "
        f"{kept:.1%} of the labelled volume is kept"
    )
    if abs(kept - 1) > _LOSS:
        case = labels.name.partition(":")[0]
        labels.warnings.append(f"{case}: the repair of its geometry keeps {kept:.1%} of the labelled volume")


def _labelled_mm3(segmentation: Segmentation) -> float:
    return int(np.count_nonzero(segmentation.array)) * segmentation.geometry.voxel_volume_mm3


def _path_in_manifest(path: Path, folder: Path) -> str:
    """A file as the manifest names it: relative where it lies below or beside the dataset's folder, absolute else."""
    file, home = Path(os.path.abspath(path)), Path(os.path.abspath(folder))  # noqa: PTH100 (links stay as they are)
    beside = home.parent
    if beside != beside.parent and file.is_relative_to(beside):
        return Path(os.path.relpath(file, home)).as_posix()
    return file.as_posix()
