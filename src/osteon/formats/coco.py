"""COCO's JSON: `images`, `categories` and `annotations` of a whole dataset in one file.

References: https://cocodataset.org/#format-data, and for the run-length codes `common/maskApi.c` of
https://github.com/cocodataset/cocoapi. COCO's runs are not those of `rle`: they go down the columns, begin with the
background, and are lengths only; packed into text, each number is the difference from the one before last, in groups of
5 bits. LVIS' `neg_category_ids` and `not_exhaustive_category_ids` say what somebody looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, LabelError
from osteon.core.files import read_json
from osteon.formats.annotation_fields import Points, check_label, check_points

_HINT = "write it again with pycocotools, or as polygons"


@dataclass(frozen=True)
class CocoImage:
    """What the file says of one picture.

    Attributes:
        name: `file_name`.
        size: Width and height; None where the file does not say it.
        shapes: Structure → its annotations, each what marks one thing of its kind; not yet looked at.
        annotated: Structures that somebody looked for; None where the file does not tell.
        boxed: Structures of which an annotation is a box alone: none of `shapes`, since nobody knows where they end.
    """

    name: str
    size: tuple[int, int] | None
    shapes: Mapping[str, Sequence[Sequence[Any]]]
    annotated: tuple[str, ...] | None
    boxed: tuple[str, ...] = ()


@dataclass(frozen=True)
class CocoFile:
    """A whole file: the categories' names in the file's order, its pictures, and what is odd about it."""

    names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    notes: tuple[str, ...] = ()


def is_coco(data: Any) -> bool:
    """Whether parsed JSON is COCO's, with annotations of pictures."""
    return isinstance(data, dict) and all(
        isinstance(data.get(k), list) for k in ("images", "annotations", "categories")
    )


def read_coco(path: Path) -> CocoFile:
    """Read a file; its shapes are looked at when they are asked for, by `polygons_of` and `masks_of`.

    Raises:
        FileError: The file is missing or no COCO file.
        LabelError: Two pictures share a number, two categories a name or number, something refers to one that is not
            there, or no annotation has more than a box.
    """
    path = Path(path)
    data = read_json(path, "the COCO file")
    if not is_coco(data):
        raise FileError(f"{path}: no COCO file", hint="it holds `images`, `annotations` and `categories`")
    try:
        return _coco(data, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path}: an entry lacks a field ({error})", hint="write the file again") from error


def _coco(data: Mapping[str, Any], path: Path) -> CocoFile:
    entries = data["annotations"]
    names = _categories(data["categories"], Counter(entry["category_id"] for entry in entries), path)
    pictures = _pictures(data["images"], path)
    shapes: dict[Any, dict[str, list[Sequence[Any]]]] = {number: {} for number in pictures}
    boxed: dict[Any, dict[str, None]] = {number: {} for number in pictures}
    for number, entry in enumerate(entries, start=1):
        image, category = entry["image_id"], entry["category_id"]
        if image not in pictures or category not in names:
            raise LabelError(
                f"{path}: annotation {number} refers to "
                f"{f'image {str(image)[:40]}' if image not in pictures else f'category {str(category)[:40]}'}, "
                "which the file does not list",
                hint="take the annotation out of the file, or add what it refers to",
            )
        if found := _shapes(entry.get("segmentation")):
            shapes[image].setdefault(names[category], []).append(found)
        else:
            boxed[image][names[category]] = None
    if entries and not any(shapes.values()):
        raise LabelError(
            f"{path}: its {len(entries)} annotations are boxes alone",
            hint="a box does not show where a structure ends: export polygons or masks",
        )
    images = []
    for number, image in pictures.items():
        marked = {name: held for name, held in shapes[number].items() if name not in boxed[number]}
        width, height = image.get("width"), image.get("height")
        sized = isinstance(width, int) and isinstance(height, int)
        annotated: tuple[str, ...] | None = None
        if "neg_category_ids" in image:
            unfinished = {names[c] for c in image.get("not_exhaustive_category_ids") or []}
            sought = {*marked, *(names[c] for c in image["neg_category_ids"])} - unfinished - boxed[number].keys()
            annotated = tuple(name for name in dict.fromkeys(names.values()) if name in sought)
        size = (width, height) if sized else None
        images.append(CocoImage(str(image["file_name"]), size, marked, annotated, tuple(boxed[number])))
    return CocoFile(tuple(dict.fromkeys(names.values())), tuple(images), tuple(_notes(entries)))


def _categories(entries: Iterable[Any], used: Mapping[Any, int], path: Path) -> dict[Any, str]:
    """Number → name. Of two that share a name one may be nobody's: Roboflow lists a group as a category of its own."""
    names: dict[Any, str] = {}
    for entry in entries:
        number, name = entry["id"], check_label(entry["name"], f"{path}: category {str(entry['id'])[:40]}")
        if names.setdefault(number, name) != name:
            raise LabelError(
                f"{path}: two categories, {names[number]} and {name}, share an id", hint="correct `categories`"
            )
    for name, times in Counter(name for number, name in names.items() if used[number]).items():
        if times > 1:
            raise LabelError(f"{path}: two categories share a name, {name}", hint="correct `categories`")
    return names


def _pictures(entries: Iterable[Any], path: Path) -> dict[Any, Any]:
    """Number → entry. One that is listed twice, as after a merge, is one."""
    pictures: dict[Any, Any] = {}
    for entry in entries:
        first = pictures.setdefault(entry["id"], entry)
        if first["file_name"] != entry["file_name"]:
            names = " and ".join(str(one["file_name"])[:60] for one in (first, entry))
            raise LabelError(
                f"{path}: two pictures, {names}, share the id {str(entry['id'])[:40]}: it is unknown whose the "
                "annotations are",
                hint="give the files that were merged, or renumber pictures and their annotations",
            )
    return pictures


def _shapes(segmentation: Any) -> list[Any]:
    """The polygons and codes of one annotation; none where it is a box alone."""
    if not isinstance(segmentation, list):
        return [segmentation] if segmentation else []
    if segmentation and all(isinstance(value, int | float) for value in segmentation):
        return [segmentation]  # one polygon, without the list around it
    return segmentation


def _notes(entries: Sequence[Any]) -> Iterable[str]:
    times = Counter(str(entry["id"])[:40] for entry in entries if "id" in entry)
    if twice := [number for number, count in times.items() if count > 1]:
        yield f"{len(twice)} ids of annotations, such as {twice[0]}, stand there more than once; all are taken"


def polygons_of(shapes: Sequence[Any], name: str) -> list[Points]:
    """The polygons among an annotation's shapes, as corners. Raises LabelError, with `name` for the place."""
    flat = [shape for shape in shapes if not isinstance(shape, dict)]
    if any(not isinstance(shape, list) or len(shape) % 2 for shape in flat):
        raise LabelError(f"{name}: a polygon is not a list x1, y1, x2, y2 …", hint=_HINT)
    return [check_points([shape[n : n + 2] for n in range(0, len(shape), 2)], name) for shape in flat]


def masks_of(shapes: Sequence[Any], shape: tuple[int, int], name: str) -> list[npt.NDArray[np.bool_]]:
    """The run-length codes among an annotation's shapes, as masks `[rows, columns]`. Raises LabelError."""
    return [_decode(code, shape, name) for code in shapes if isinstance(code, dict)]


def _decode(code: Mapping[str, Any], shape: tuple[int, int], name: str) -> npt.NDArray[np.bool_]:
    counts, size = code.get("counts"), code.get("size")
    if size is not None and list(size if isinstance(size, list) else []) != list(shape):
        raise LabelError(f"{name}: is coded for {str(size)[:40]} rows and columns, not {list(shape)}", hint=_HINT)
    if isinstance(counts, str):
        lengths = unpack_rle(counts, name)
    elif isinstance(counts, list) and all(isinstance(n, int) and 0 <= n < 2**40 for n in counts):
        lengths = np.array(counts, dtype=np.int64)
    else:
        raise LabelError(f"{name}: its run-length code has no `counts`", hint=_HINT)
    if (lengths < 0).any() or (lengths > shape[0] * shape[1]).any() or int(lengths.sum()) != shape[0] * shape[1]:
        raise LabelError(
            f"{name}: its runs cover {int(lengths.sum())} pixels, the picture has {shape[0] * shape[1]}", hint=_HINT
        )
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(shape[::-1]).T


def unpack_rle(text: str, name: str = "the code") -> npt.NDArray[np.int64]:
    """The run lengths `[n]` of a packed code, background first. Raises LabelError."""
    broken = LabelError(f"{name}: its run-length code is damaged", hint=_HINT)
    if not text:
        return np.zeros(0, np.int64)
    if not text.isascii():
        raise broken
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = (codes & 0x20) == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise broken
    firsts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    place = np.arange(len(codes)) - np.repeat(firsts, np.diff(np.append(firsts, len(codes))))
    if place.max() > 10:
        raise broken
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), firsts)
    ends = np.flatnonzero(last)
    negative = (codes[ends] & 0x10) != 0
    numbers[negative] -= np.int64(1) << (5 * (place[ends][negative] + 1))
    numbers[1::2] = np.cumsum(numbers[1::2])  # each is the difference from the one before last,
    numbers[2::2] = np.cumsum(numbers[2::2])  # from the fourth on
    return np.asarray(numbers, dtype=np.int64)
