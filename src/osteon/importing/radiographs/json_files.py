"""JSON files that mark radiographs: outlines of one picture each, LabelMe's or plain ones, and COCO files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from osteon.core.errors import DatasetError, FileError, OsteonError
from osteon.core.files import read_json
from osteon.formats.coco import is_coco, read_coco
from osteon.formats.labelme import is_labelme
from osteon.formats.polygons import fill_polygons, is_outlines, parse_outlines, read_outlines
from osteon.importing.radiographs.annotations import Marks, Mask, Size, Told, Warn, check_size, warn_outside
from osteon.importing.radiographs.coco import of_coco
from osteon.importing.radiographs.files import File, Shelf, plain_stem, shared, short
from osteon.importing.source_forms import Found


class JsonFiles:
    """What JSON files say, those of one picture before those of many.

    Args:
        files: All of them.
        pictures: The pictures.
        found: Takes what is odd, and what is lost.

    Attributes:
        told: What they say.
        order: The names that COCO files put in order.

    Raises:
        FileError, LabelError: A COCO file is broken.
        DatasetError: A name may mean several pictures.
    """

    def __init__(self, files: Iterable[File], pictures: Shelf, found: Found) -> None:
        self._pictures, self._found = pictures, found
        self._renamed: list[tuple[File, str]] = []
        self._crossed: list[tuple[File, File]] = []
        single: dict[File, list[tuple[File, Marks]]] = defaultdict(list)
        many: Told = []
        self.order: list[str] = []
        for file in files:
            try:
                data = read_json(file.path, "the annotation")
            except FileError as error:
                data = error
            if is_coco(data):
                coco = read_coco(file.path)
                self.order += [name for name in coco.names if name not in self.order]
                many += of_coco(file, coco, pictures, found)
            elif (picture := self._picture_of(file, data)) is not None:
                single[picture].append((file, _outlines(file, data)))
        self.told: Told = [(picture, _nearest(picture, said, found)) for picture, said in single.items()]
        self.told += many
        self._tell()

    def _picture_of(self, file: File, data: Any) -> File | None:
        """The picture that a JSON file is about; None where it is about none, which is told where it should be."""
        if is_labelme(data) or is_outlines(data):
            picture = self._pictures.find(file.place.as_posix(), file.path)
            said = data.get("imagePath") or data.get("filename")
            picture = self._named(file, said, picture) if isinstance(said, str) else picture
            if picture is None:
                self._found.lost.append(f"{file.path}: there is no picture {short(file.stem)}; passed over")
            return picture
        if isinstance(data, FileError) or (isinstance(data, dict) and ("annotations" in data or "shapes" in data)):
            picture = self._pictures.find(file.place.as_posix(), file.path)
            if picture is None:
                what = (
                    data.message
                    if isinstance(data, FileError)
                    else f"{file.path}: holds no outlines, and is no COCO file"
                )
                self._found.lost.append(f"{what}; passed over")
            return picture
        return None

    def _named(self, file: File, said: str, by_name: File | None) -> File | None:
        """Of the picture that a file says it is about and the one of its own name, the former, where it is there."""
        path = said.replace("\\", "/")
        name = path.rsplit("/", 1)[-1]
        about = self._pictures.at(file.place.parent, path)
        if about is None and by_name is not None:
            if self._pictures.by_pattern or plain_stem(name).lower() == file.stem.lower():
                return by_name
            about = self._pictures.find((file.place.parent / name).as_posix(), file.path) if name else None
        about = about or self._pictures.find(said, file.path)
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
                f"say (imagePath, filename), such as {file.place} about {picture.place}"
            )
        if self._renamed:
            file, said = self._renamed[0]
            self._found.warnings.append(
                f"{len(self._renamed)} JSON files name a picture that is not there, such as {file.place} "
                f"{short(said)}; each is taken for the picture of its own name"
            )


def _outlines(file: File, data: Any) -> Marks:
    try:
        names = tuple(parse_outlines(data, file.path).polygons)
    except OsteonError:
        names = ()  # said again when the case is read
    return Marks("outlines in a JSON file of its own", names, (file.path,), partial(_draw, file.path))


def _nearest(picture: File, said: list[tuple[File, Marks]], found: Found) -> Marks:
    """The marks that lie nearest. Where two are as near, the case fails: nobody knows which are the right ones."""
    near = [shared(picture.place.parts[:-1], file.place.parts[:-1]) for file, _ in said]
    nearest = [pair for pair, n in zip(said, near, strict=True) if n == max(near)]
    if len(nearest) == 1:
        found.lost += [
            f"{file.path}: lies further from {picture.place}; passed over" for file, _ in said if file != nearest[0][0]
        ]
        return nearest[0][1]
    (one, marks), (other, _), *_ = nearest
    fail = partial(_two_files, picture.path, one.path, other.path)
    return Marks(marks.kind, (), tuple(file.path for file, _ in nearest), fail)


def _two_files(picture: Path, one: Path, other: Path, _: Size, __: Warn) -> Iterator[tuple[str, Mask]]:
    raise DatasetError(
        f"{picture}: is annotated twice, in {one} and {other}",
        hint="remove one of them, or say which part of a path is the case: --case-pattern",
    )


def _draw(path: Path, size: Size, warn: Warn) -> Iterator[tuple[str, Mask]]:
    outlines = read_outlines(path)
    check_size(outlines.size, size, path)
    for name, polygons in outlines.polygons.items():
        warn_outside(polygons, size, f"{path}: {name}", warn)
        yield name, fill_polygons(polygons, size)
