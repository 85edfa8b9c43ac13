"""What annotation files say of radiographs: outlines per picture, COCO, tables of RLE. One `Marks` for each picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError, FileError, LabelError, OsteonError
from osteon.core.files import read_json
from osteon.formats.coco import CocoImage, is_coco, masks_of, polygons_of, read_coco
from osteon.formats.labelme import is_labelme
from osteon.formats.polygons import (
    Points,
    fill,
    is_outlines,
    outside,
    parse_outlines,
    read_outlines,
)
from osteon.importing.forms import Found
from osteon.importing.radiograph_files import File, Shelf, shared, short

Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]
"""Rows and columns of a picture."""
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Marks:
    """What one source says of one picture.

    Attributes:
        kind: In words, for people.
        names: Structures that are marked, in the source's order.
        parts: The files that say it.
        draw: Gives structure and mask `[rows, columns]`, a structure more than once where it is in parts. None where
            `label` says it all.
        label: A file whose values are the structures.
        annotated: Structures that somebody looked for; None where the source does not tell.
    """

    kind: str
    names: tuple[str, ...]
    parts: tuple[Path, ...]
    draw: Callable[[Size, Warn], Iterator[tuple[str, Mask]]] | None = None
    label: Path | None = None
    annotated: tuple[str, ...] | None = None


Told = list[tuple[File, Marks]]
"""Pictures, and what is said of them."""


def of_json(files: Iterable[File], pictures: Shelf, found: Found) -> tuple[Told, tuple[str, ...]]:
    """What JSON files say, those of one picture before those of many; and the names that COCO files put in order."""
    single: dict[File, list[tuple[File, Marks]]] = defaultdict(list)
    many: Told = []
    order: list[str] = []
    for file in files:
        try:
            data = read_json(file.path, "the annotation")
        except FileError as error:
            data = error
        if is_coco(data):
            coco = read_coco(file.path)
            order += [name for name in coco.names if name not in order]
            many += _of_coco(file, coco.images, pictures, found)
        elif (picture := _picture_of(file, data, pictures, found)) is not None:
            single[picture].append((file, _outlines(file, data)))
    told = [(picture, _nearest(picture, said, found)) for picture, said in single.items()]
    return told + many, tuple(order)


def _picture_of(file: File, data: Any, pictures: Shelf, found: Found) -> File | None:
    """The picture that a JSON file is about; None where it is about none, with a warning where it should be."""
    if is_labelme(data) or is_outlines(data):
        picture = pictures.find(file.place.as_posix(), file.path)
        said = data.get("imagePath") or data.get("filename")
        if picture is None and isinstance(said, str):
            picture = pictures.find(said, file.path)
        if picture is None:
            found.lost.append(f"{file.path}: there is no picture {short(file.stem)}; passed over")
        return picture
    broken = isinstance(data, FileError) or (isinstance(data, dict) and ("annotations" in data or "shapes" in data))
    return pictures.find(file.place.as_posix(), file.path) if broken else None


def _outlines(file: File, data: Any) -> Marks:
    try:
        names = tuple(parse_outlines(data, file.path).polygons)
    except OsteonError:
        names = ()  # said again when the case is read
    return Marks("outlines in a JSON file of its own", names, (file.path,), partial(_draw_outlines, file.path))


def _nearest(picture: File, said: list[tuple[File, Marks]], found: Found) -> Marks:
    """The marks that lie nearest. Where two are as near, the case fails: nobody knows which are the right ones."""
    near = [shared(picture.place.parts[:-1], file.place.parts[:-1]) for file, _ in said]
    nearest = [pair for pair, n in zip(said, near, strict=True) if n == max(near)]
    if len(nearest) == 1:
        found.warnings += [
            f"{file.path}: lies further from {picture.place}; passed over" for file, _ in said if file != nearest[0][0]
        ]
        return nearest[0][1]
    (one, marks), (other, _), *_ = nearest
    fail = partial(_two_files, picture.path, one.path, other.path)
    return Marks(marks.kind, (), tuple(file.path for file, _ in nearest), fail)


def marked_twice(picture: File, first: Marks, second: Marks) -> Marks:
    """Marks of one kind from two files, or under two names: the case fails, since to take one would lose the other."""
    parts = tuple(dict.fromkeys((*first.parts, *second.parts)))
    names = tuple(dict.fromkeys((*first.names, *second.names)))
    return Marks(first.kind, names, parts, partial(_two_entries, picture.path, first.kind, parts))


def _two_entries(picture: Path, kind: str, parts: tuple[Path, ...], _: Size, __: Warn) -> Iterator[tuple[str, Mask]]:
    raise DatasetError(
        f"{picture}: is marked by {kind} twice: {', '.join(map(str, parts[:2]))}",
        hint="say all about a picture in one file and under one name, or give the file that is meant as SOURCE",
    )


def _two_files(picture: Path, one: Path, other: Path, _: Size, __: Warn) -> Iterator[tuple[str, Mask]]:
    raise DatasetError(
        f"{picture}: is annotated twice, in {one} and {other}",
        hint="remove one of them, or say which part of a path is the case: --case-pattern",
    )


def _draw_outlines(path: Path, size: Size, warn: Warn) -> Iterator[tuple[str, Mask]]:
    outlines = read_outlines(path)
    _check_size(outlines.size, size, path)
    for name, polygons in outlines.polygons.items():
        yield name, _filled(polygons, size, f"{path}: {name}", warn)


def _filled(polygons: Sequence[Points], size: Size, name: str, warn: Warn) -> Mask:
    mask = fill(polygons, size)
    if beyond := outside(polygons, size):
        warn(f"{name} reaches {beyond:.0f} pixels out of the picture; cut off at its edge")
    return mask


def _check_size(told: tuple[int, int] | None, size: Size, path: Path) -> None:
    if told is not None and told != size[::-1]:
        raise LabelError(
            f"{path}: was drawn on a picture of {told[0]}×{told[1]} pixels, this one has {size[1]}×{size[0]}",
            hint="give the picture that was drawn on, in its full size",
        )


# -- COCO ------------------------------------------------------------------------------------------------------------


def _of_coco(file: File, images: Iterable[CocoImage], pictures: Shelf, found: Found) -> Told:
    told: Told = []
    missing = []
    for image in images:
        picture = pictures.find(image.name, file.path)
        if picture is None:
            missing.append(image.name)
        else:
            draw = partial(_draw_coco, file.path, image)
            told.append((picture, Marks("COCO", tuple(image.shapes), (file.path,), draw, None, image.annotated)))
    tell_missing(file.path, missing, found)
    return told


def _draw_coco(path: Path, image: CocoImage, size: Size, warn: Warn) -> Iterator[tuple[str, Mask]]:
    _check_size(image.size, size, path)
    for structure, shapes in image.shapes.items():
        name = f"{path}: {structure} in {short(image.name)}"
        yield structure, _filled(polygons_of(shapes, name), size, name, warn)
        for mask in masks_of(shapes, size, name):
            yield structure, mask


def tell_missing(path: Path, names: Sequence[str], found: Found) -> None:
    """Tell the pictures that a file speaks of, and that are not there."""
    if names:
        listed = ", ".join(short(name) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        found.lost.append(f"{path}: there is no picture {listed}{more}; what it says of {len(names)} is passed over")
