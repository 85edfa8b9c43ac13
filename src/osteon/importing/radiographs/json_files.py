"""JSON files that mark radiographs: outlines of one picture each, LabelMe's or plain ones, and COCO files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from osteon.core.errors import DatasetError, FileError, OsteonError
from osteon.core.text import shorten_list
from osteon.formats.coco import CocoFile, CocoImage, is_coco, masks_of, polygons_of, read_coco
from osteon.formats.coco_rasterisation import fill_coco
from osteon.formats.polygons import fill_polygons, is_labelme, is_outlines, parse_outlines, read_outlines
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
from osteon.importing.radiographs.files import (
    FileIndex,
    SourceFile,
    count_shared_folders,
    plain_stem,
    shorten,
    try_json,
)
from osteon.importing.source_forms import Source, fail


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
            draw = partial(_draw_coco, file.path, image)
            times = {name: len(entries) for name, entries in image.shapes.items()}
            marks = Annotation("COCO", tuple(image.shapes), (file.path,), draw, None, annotated, times)
            annotations.append((picture, marks))
    report_missing_pictures(file.path, missing, found)
    boxed = [f"{name} in {shorten(image.name)}" for image in coco.images for name in image.boxed]
    if boxed:
        found.lost.append(f"{file.path}: a box alone marks {shorten_list(boxed, 3)}: their outlines are unknown")
    found.warnings += [f"{file.path}: {note}" for note in coco.notes]
    return annotations


def _draw_coco(path: Path, image: CocoImage, size: PictureSize, warn: Warn) -> Iterator[tuple[str, Mask]]:
    check_size(image.size, size, path)
    for structure, entries in image.shapes.items():
        name = f"{path}: {structure} in {shorten(image.name)}"
        polygons = [polygons_of(shapes, name) for shapes in entries]
        warn_outside([points for each in polygons for points in each], size, name, warn)
        for shapes, each in zip(entries, polygons, strict=True):
            mask = fill_coco(each, size)
            for coded in masks_of(shapes, size, name):
                mask |= coded
            yield structure, mask


class JsonAnnotations:
    """What JSON files say, those of one picture before those of many.

    Args:
        files: All of them.
        pictures: The pictures.
        found: Takes what is odd, and what is lost.

    Attributes:
        annotations: What they say.
        structure_order: The names that COCO files put in order.

    Raises:
        FileError, LabelError: A COCO file is broken.
        DatasetError: A name may mean several pictures.
    """

    def __init__(self, files: Iterable[SourceFile], pictures: FileIndex, found: Source) -> None:
        self._pictures, self._found = pictures, found
        self._renamed: list[tuple[SourceFile, str]] = []
        self._crossed: list[tuple[SourceFile, SourceFile]] = []
        single: dict[SourceFile, list[tuple[SourceFile, Annotation]]] = defaultdict(list)
        many: PictureAnnotations = []
        self.structure_order: list[str] = []
        for file in files:
            data = try_json(file.path)
            if is_coco(data):
                coco = read_coco(file.path)
                self.structure_order += [name for name in coco.names if name not in self.structure_order]
                many += read_coco_annotations(file, coco, pictures, found)
            elif (picture := self._picture_of(file, data)) is not None:
                single[picture].append((file, _read_annotation(file, data)))
        self.annotations: PictureAnnotations = [
            (picture, _nearest_annotation(picture, annotations, found)) for picture, annotations in single.items()
        ]
        self.annotations += many
        self._tell()

    def _picture_of(self, file: SourceFile, data: Any) -> SourceFile | None:
        """The picture that a JSON file is about; None where it is about none, which is reported where it should be."""
        if is_labelme(data) or is_outlines(data):
            picture = self._pictures.find(file.relative_path.as_posix(), file.path)
            named = data.get("imagePath") or data.get("filename")
            picture = self._named(file, named, picture) if isinstance(named, str) else picture
            if picture is None:
                self._found.lost.append(f"{file.path}: there is no picture {shorten(file.stem)}; skipped")
            return picture
        if isinstance(data, FileError) or (isinstance(data, dict) and ("annotations" in data or "shapes" in data)):
            picture = self._pictures.find(file.relative_path.as_posix(), file.path)
            if picture is None:
                what = (
                    data.message
                    if isinstance(data, FileError)
                    else f"{file.path}: holds no outlines, and is no COCO file"
                )
                self._found.lost.append(f"{what}; skipped")
            return picture
        return None

    def _named(self, file: SourceFile, name_inside: str, by_name: SourceFile | None) -> SourceFile | None:
        """Of the picture that a file says it is about and the one of its own name, the former, where it is there."""
        path = name_inside.replace("\\", "/")
        name = path.rsplit("/", 1)[-1]
        about = self._pictures.at_path(file.relative_path.parent, path)
        if about is None and by_name is not None:
            if self._pictures.uses_pattern or plain_stem(name).lower() == file.stem.lower():
                return by_name
            about = self._pictures.find((file.relative_path.parent / name).as_posix(), file.path) if name else None
        about = about or self._pictures.find(name_inside, file.path)
        if by_name is not None and about is None:
            self._renamed.append((file, name))
        elif by_name is not None and about is not None and about != by_name:
            self._crossed.append((file, about))
        return about or by_name

    def _tell(self) -> None:
        if self._crossed:
            file, picture = self._crossed[0]
            self._found.warnings.append(
                f"{len(self._crossed)} JSON files are about another picture than the one of their name, by what they "
                f"say (imagePath, filename), such as {file.relative_path} about {picture.relative_path}"
            )
        if self._renamed:
            file, name = self._renamed[0]
            self._found.warnings.append(
                f"{len(self._renamed)} JSON files name a picture that is not there, such as {file.relative_path} "
                f"{shorten(name)}; each is taken for the picture of its own name"
            )


def _read_annotation(file: SourceFile, data: Any) -> Annotation:
    times: dict[str, int] = {}
    with suppress(OsteonError):  # reported when the case is read
        times = {name: len(pieces) for name, pieces in parse_outlines(data, file.path).pieces.items()}
    draw = partial(_draw_outlines, file.path)
    return Annotation("outlines in a JSON file of its own", tuple(times), (file.path,), draw, times=times)


def _nearest_annotation(
    picture: SourceFile, annotations: list[tuple[SourceFile, Annotation]], found: Source
) -> Annotation:
    """The marks that lie nearest. Where two are as near, the case fails: nobody knows which are the right ones."""
    near = [
        count_shared_folders(picture.relative_path.parts[:-1], file.relative_path.parts[:-1]) for file, _ in annotations
    ]
    nearest = [pair for pair, n in zip(annotations, near, strict=True) if n == max(near)]
    if len(nearest) == 1:
        found.lost += [
            f"{file.path}: lies further from {picture.relative_path}; skipped"
            for file, _ in annotations
            if file != nearest[0][0]
        ]
        return nearest[0][1]
    (one, annotation), (other, _), *_ = nearest
    error = DatasetError(
        f"{picture.path}: is annotated twice, in {one.path} and {other.path}",
        hint="remove one of them, or say which part of a path is the case: --case-pattern",
    )
    return Annotation(annotation.kind, (), tuple(file.path for file, _ in nearest), partial(fail, error))


def _draw_outlines(path: Path, size: PictureSize, warn: Warn) -> Iterator[tuple[str, Mask]]:
    outlines = read_outlines(path)
    check_size(outlines.size, size, path)
    for name, pieces in outlines.pieces.items():
        warn_outside(outlines.polygons[name], size, f"{path}: {name}", warn)
        for polygons in pieces:
            yield name, fill_polygons(polygons, size)
