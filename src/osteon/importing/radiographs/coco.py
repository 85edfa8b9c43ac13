"""COCO files that mark radiographs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from osteon.core.text import shorten_list
from osteon.formats.coco import CocoFile, CocoImage, masks_of, polygons_of
from osteon.formats.coco_rasterisation import fill_coco
from osteon.importing.radiographs.annotations import (
    Annotation,
    Mask,
    PictureAnnotations,
    PictureSize,
    Warn,
    check_size,
    report_missing_pictures,
    warn_outside,
)
from osteon.importing.radiographs.files import FileIndex, SourceFile, shorten
from osteon.importing.source_forms import Source


def read_coco_annotations(file: SourceFile, coco: CocoFile, pictures: FileIndex, found: Source) -> PictureAnnotations:
    """What a COCO file says of the pictures. What none of its categories names is unknown there."""
    annotations: PictureAnnotations = []
    missing = []
    for image in coco.images:
        picture = pictures.find_referenced(file, image.name)
        if picture is None:
            missing += [image.name] if image.shapes or image.boxed else []
        elif image.shapes or not image.boxed:
            sought = coco.names if image.annotated is None else image.annotated
            annotated = tuple(name for name in sought if name not in image.boxed)
            draw = partial(_draw, file.path, image)
            annotations.append((picture, Annotation("COCO", tuple(image.shapes), (file.path,), draw, None, annotated)))
    report_missing_pictures(file.path, missing, found)
    boxed = [f"{name} in {shorten(image.name)}" for image in coco.images for name in image.boxed]
    if boxed:
        found.lost.append(f"{file.path}: a box alone marks {shorten_list(boxed, 3)}: their outlines are unknown")
    found.warnings += [f"{file.path}: {note}" for note in coco.notes]
    return annotations


def _draw(path: Path, image: CocoImage, size: PictureSize, warn: Warn) -> Iterator[tuple[str, Mask]]:
    check_size(image.size, size, path)
    for structure, shapes in image.shapes.items():
        name = f"{path}: {structure} in {shorten(image.name)}"
        polygons = polygons_of(shapes, name)
        warn_outside(polygons, size, name, warn)
        yield structure, fill_coco(polygons, size)
        for mask in masks_of(shapes, size, name):
            yield structure, mask
