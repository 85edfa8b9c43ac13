"""COCO files that mark radiographs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from osteon.core.text import shorten_list
from osteon.formats.coco import CocoFile, CocoImage, masks_of, polygons_of
from osteon.formats.coco_rasterisation import fill_coco
from osteon.importing.radiographs.annotations import (
    Marks,
    Mask,
    Size,
    Told,
    Warn,
    check_size,
    tell_missing,
    warn_outside,
)
from osteon.importing.radiographs.files import File, Shelf, short
from osteon.importing.source_forms import Found


def of_coco(file: File, coco: CocoFile, pictures: Shelf, found: Found) -> Told:
    """What a COCO file says of the pictures. What none of its categories names is unknown there."""
    told: Told = []
    missing = []
    for image in coco.images:
        picture = pictures.named_in(file, image.name)
        if picture is None:
            missing += [image.name] if image.shapes or image.boxed else []
        elif image.shapes or not image.boxed:
            sought = coco.names if image.annotated is None else image.annotated
            annotated = tuple(name for name in sought if name not in image.boxed)
            draw = partial(_draw, file.path, image)
            told.append((picture, Marks("COCO", tuple(image.shapes), (file.path,), draw, None, annotated)))
    tell_missing(file.path, missing, found)
    boxed = [f"{name} in {short(image.name)}" for image in coco.images for name in image.boxed]
    if boxed:
        found.lost.append(f"{file.path}: a box alone marks {shorten_list(boxed, 3)}: their outlines are unknown")
    found.warnings += [f"{file.path}: {note}" for note in coco.notes]
    return told


def _draw(path: Path, image: CocoImage, size: Size, warn: Warn) -> Iterator[tuple[str, Mask]]:
    check_size(image.size, size, path)
    for structure, shapes in image.shapes.items():
        name = f"{path}: {structure} in {short(image.name)}"
        polygons = polygons_of(shapes, name)
        warn_outside(polygons, size, name, warn)
        yield structure, fill_coco(polygons, size)
        for mask in masks_of(shapes, size, name):
            yield structure, mask
