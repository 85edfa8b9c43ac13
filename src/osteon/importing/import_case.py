"""One case of a source into the dataset: read, checked, and written where it had to be converted."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from osteon.core.errors import DatasetError, GeometryError, LabelError, OsteonError
from osteon.core.files import is_file
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.checks import (
    align_segmentation,
    check_image,
    check_labels,
    content_hash,
    present_structures,
    resample_labels,
    seem_background,
)
from osteon.dataset.dataset import read_channels
from osteon.dataset.label_placement import lay_segmentation
from osteon.dataset.manifest import Case, explain
from osteon.formats.registry import (
    describe_header_warnings,
    read_segmentation,
    table_of,
    write_segmentation,
    write_volume,
)
from osteon.importing.between_slices import settle_between
from osteon.importing.source_forms import Converted, Found, FoundCase

_LOSS = 0.05
"""A repair that loses more of the labelled volume than this is reported."""

_LISTED = 8


@dataclass(frozen=True)
class TakenCase:
    """A case that passed: its entry, and what was seen while its voxels were in memory."""

    entry: Case
    structures: tuple[Structure, ...] = ()
    present: tuple[str, ...] = ()
    overlaps: bool = False
    warnings: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def take_case(
    case: FoundCase,
    found: Found,
    folder: Path,
    *,
    repair_geometry: bool,
    allow_empty: bool,
    theirs: Collection[Path] = (),
) -> TakenCase:
    """Read image and label of one case, check them, and write what had to be converted.

    Args:
        case: As its form names it.
        found: What the source holds.
        folder: The dataset.
        repair_geometry: Resample a label that does not lie on its image's grid.
        allow_empty: Take an empty label.
        theirs: The user's files, from `files_of`; none of them is written over.
    """
    name = f"case {case.id}"
    converted = case.convert() if case.convert is not None else Converted()
    volume = converted.volume
    if volume is None:
        volume = read_channels(case.images, found.channels, name)
    else:
        check_image(volume, name)
    try:
        entry = Case(
            id=case.id,
            images=[f"images/{case.id}.nii.gz"]
            if converted.volume is not None
            else [_refer(path, folder) for path in case.images],
            subject=case.subject,
            site=case.site,
            annotated=None if converted.annotated is None else list(converted.annotated),
            content=content_hash(volume),
            provenance=list(converted.provenance),
        )
    except ValidationError as error:
        raise DatasetError(f"{name}: {explain(error)}", hint="rename the image's file") from None
    warnings = [f"warning: {name}: {line}" for line in converted.warnings]
    lost = tuple(f"{name}: {line}" for line in converted.lost)
    if converted.segmentation is not None:
        segmentation, written = converted.segmentation, True
        segmentation = align_segmentation(segmentation, volume.geometry, name=name, image_name="its image")
        label_name = f"{name}: its label"
    elif case.label is not None:
        segmentation, written, lines = _label(case, case.label, found, volume, repair_geometry=repair_geometry)
        warnings += [line for line in lines if line.startswith("warning: ")]
        done = [line for line in lines if line not in warnings]
        entry = entry.model_copy(update={"provenance": [*entry.provenance, *done]})
        label_name = f"{name}: {case.label}"
    else:
        if converted.volume is not None:
            write_volume(_free(folder / entry.images[0], theirs), volume)
        return TakenCase(entry, warnings=tuple(line.removeprefix("warning: ") for line in warnings), lost=lost)
    segmentation, filled, lines = settle_between(segmentation, case.between_slices)
    written |= filled
    warnings += [f"warning: {label_name}: {line}" for line in lines]
    entry = entry.model_copy(update={"provenance": [*entry.provenance, *lines]})
    present = present_structures(segmentation) if allow_empty else check_labels(segmentation, label_name)
    if not present:
        warnings.append(f"warning: {label_name}: the label is empty")
    for structure in seem_background(segmentation):
        covers = "covers more than half of the image and most of its sides"
        warnings.append(f"warning: {name}: {structure} {covers}: is it the background, or the mask inverted?")
    if converted.volume is not None:
        write_volume(_free(folder / entry.images[0], theirs), volume)
    if written or case.label is None:
        path = f"labels/{case.id}{'.seg.nrrd' if segmentation.overlapping else '.nii.gz'}"
        write_segmentation(_free(folder / path, theirs), segmentation)
    else:
        path = _refer(case.label, folder)
    return TakenCase(
        entry.model_copy(update={"segmentation": path}),
        segmentation.structures,
        present,
        segmentation.overlapping and bool((np.count_nonzero(segmentation.array, axis=0) > 1).any()),
        tuple(line.removeprefix("warning: ") for line in warnings),
        lost,
    )


def told_once(taken: Iterable[TakenCase]) -> list[str]:
    """What is told of the cases; what is the same of several, once."""
    cases: dict[str, list[str]] = defaultdict(list)
    lines: dict[str, str] = {}
    for case in taken:
        for line in case.warnings:
            what = line.removeprefix(f"case {case.entry.id}: ")
            cases[what].append(case.entry.id)
            lines[what] = line
    return [
        lines[what] if len(names) == 1 else f"{len(names)} cases, such as {names[0]}: {what}"
        for what, names in cases.items()
    ]


def with_oddities(error: OsteonError, case: FoundCase) -> OsteonError:
    """The error of a case that does not fit or holds odd values, with what its files' headers leave open."""
    if not isinstance(error, (GeometryError, LabelError)):
        return error
    with suppress(OsteonError):
        if lines := describe_header_warnings(case.files):
            return type(error)("\n  ".join([error.message, *lines]), hint=error.hint)
    return error


def files_of(found: Found) -> frozenset[Path]:
    """The user's files of all cases that are there, links resolved."""
    files = (path for c in found.cases for path in (*c.images, *((c.label,) if c.label else ()), *c.parts))
    return frozenset(Path(os.path.realpath(path)) for path in files if is_file(path))


def _free(path: Path, theirs: Collection[Path]) -> Path:
    """A place to write to, which is none of the user's files: they stay as they are, also where DATASET is SOURCE."""
    if Path(os.path.realpath(path)) in theirs:
        raise DatasetError(
            f"{path}: is one of the files to import, and would be written over",
            hint="choose another folder for the dataset",
        )
    return path


def _label(
    case: FoundCase, label: Path, found: Found, volume: Volume, *, repair_geometry: bool
) -> tuple[Segmentation, bool, list[str]]:
    """The labels on the image's grid, whether they must be written anew, and what was done to them."""
    table = case.table or table_of(label)
    segmentation = read_segmentation(label, found.structures, table=table)
    name, image_name = f"case {case.id}: {label}", str(case.images[0])
    known = None if found.structures is None else {s.name: s.value for s in found.structures}
    done = []
    if table is not None and (known is None or any(known.get(s.name, s.value) != s.value for s in table.structures)):
        meant = ", ".join(f"{s.value} {s.name}" for s in table.structures[:_LISTED])
        done = [f"segmentation from {label.absolute()}, whose values {table.path.name} names: {meant}"]
    try:
        aligned, how = lay_segmentation(segmentation, volume.geometry, name=name, image_name=image_name)
        told = [f"segmentation from {label.absolute()}: {how}", f"warning: case {case.id}: {label} is {how}"]
        return aligned, bool(how or done), done + (told if how else [])
    except GeometryError:
        if not repair_geometry or segmentation.geometry.unit != volume.geometry.unit:
            raise
    repaired = resample_labels(segmentation, volume.geometry)
    kept = _labelled_mm3(repaired) / (_labelled_mm3(segmentation) or 1.0)
    lines = [
        *done,
        f"segmentation resampled (nearest neighbour, in the world) from {label.absolute()}, "
        f"{segmentation.geometry.describe()}, to the image's grid, {volume.geometry.describe()}; "
        f"{kept:.1%} of the labelled volume is kept",
    ]
    if abs(kept - 1) > _LOSS:
        lines.append(f"warning: case {case.id}: the repair of its geometry keeps {kept:.1%} of the labelled volume")
    return repaired, True, lines


def _labelled_mm3(segmentation: Segmentation) -> float:
    return int(np.count_nonzero(segmentation.array)) * segmentation.geometry.voxel_volume_mm3


def _refer(path: Path, folder: Path) -> str:
    """A file as the manifest names it: relative where it lies below or beside the dataset's folder, absolute else."""
    file, home = Path(os.path.abspath(path)), Path(os.path.abspath(folder))  # noqa: PTH100 (links stay as they are)
    beside = home.parent
    if beside != beside.parent and file.is_relative_to(beside):
        return Path(os.path.relpath(file, home)).as_posix()
    return file.as_posix()
