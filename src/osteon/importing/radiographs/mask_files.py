"""Mask files of radiographs: listed in a table, or found by the names of folders and files.

Taken are, for a picture `a.png`: `masks/a.png` (label map: grey levels are the structures' values), `masks/Ulna/a.png`,
`masks/a/Ulna.png`, `masks/a_Ulna.png`, `a_mask.png` (label map), `a_mask_Ulna.png`, and folders `Ulna/a.png` beside a
folder `images/a.png`. A table (image, class, mask, and top and left where masks are cut out) goes before all that.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, LabelError
from osteon.core.files import read_text
from osteon.formats.annotation_fields import checked_label
from osteon.formats.raster_masks import SOFT_EDGES, MaskMarks, background_of_labels, read_mask
from osteon.importing.radiographs.annotations import (
    Annotation,
    Mask,
    PictureAnnotations,
    PictureSize,
    Warn,
    report_missing_pictures,
)
from osteon.importing.radiographs.files import FileIndex, SourceFile
from osteon.importing.source_forms import ConvertedCase, Source

_MASKS = r"(mask|label|seg|segm|segmentation|annotation|groundtruth|ground_truth|gt|target)s?"
_MASK_FOLDER = re.compile(rf"((?P<what>.+?)[_\- ]?)?({_MASKS}|labels?(tr|ts))", re.IGNORECASE)
_GENERAL = {"", "train", "training", "val", "validation", "test", "manual", "binary", "true", "png", "image", "images"}
"""What stands before `masks` in a folder's name without being a structure."""
_IMAGE_FOLDER = re.compile(
    r"(image|img|picture|pic|xray|x-ray|radiograph|scan|png|jpe?g|dcm|dicom|cxr(_png)?|input|original)s?", re.IGNORECASE
)
_MASK_NAME = re.compile(rf"(?P<picture>.+?)[_\-. ]+{_MASKS}(?:[_\-. ]+(?P<structure>.+))?", re.IGNORECASE)
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "image_name", "filename", "file_name"),
    "class": ("class", "class_name", "label", "structure"),
    "mask": ("mask", "mask_file", "mask_name", "mask_path"),
    "top": ("top", "y", "offset_y"),
    "left": ("left", "x", "offset_x"),
}
_NEEDED = ("image", "class", "mask")


@dataclass(frozen=True)
class PictureMask:
    """The mask of one structure, or (`structure` None) a label map.

    Attributes:
        file: Where it is; None where the table names a file that is not there.
        structure: What it marks.
        name: For messages.
        corner: Row and column of the mask's first pixel in the picture; None where it is as large as the picture.
    """

    file: SourceFile | None
    structure: str | None
    name: str
    corner: tuple[int, int] | None = None


# -- tables ----------------------------------------------------------------------------------------------------------


def is_mask_table(path: Path) -> bool:
    """Whether a CSV's heading has columns for picture, structure and mask file."""
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
            return _columns(stream.readline(10_000).strip())[0] is not None
    except OSError:
        return False


def _columns(heading: str) -> tuple[dict[str, int] | None, str]:
    """Where the columns stand, None where one lacks, and what separates them."""
    for separator in (",", ";", "\t"):
        names = [name.strip().strip('"').strip().lower() for name in heading.split(separator)]
        places = {key: next((names.index(n) for n in known if n in names), -1) for key, known in _COLUMNS.items()}
        if all(places[key] >= 0 for key in _NEEDED):
            return places, separator
    return None, ","


def read_mask_table(
    file: SourceFile, pictures: Sequence[SourceFile]
) -> tuple[dict[str, list[PictureMask]], set[SourceFile]]:
    """Picture's name → its masks, and the mask files themselves, which are no pictures.

    Raises:
        FileError: The table cannot be read, or a row is broken; the message names the line.
        LabelError: A class is no name.
    """
    lines = read_text(file.path, "the table of masks").splitlines()
    columns, separator = _columns(lines[0])
    if columns is None:
        raise FileError(f"{file.path}: has changed while it was read", hint="run the command again")
    index = FileIndex(pictures)
    rows: dict[str, list[PictureMask]] = defaultdict(list)
    masks: set[SourceFile] = set()
    for number, fields in enumerate(_fields(file.path, lines[1:], separator), start=2):
        if not any(field.strip() for field in fields):
            continue
        name = f"{file.path}: line {number}"
        if len(fields) <= max(columns[key] for key in _NEEDED):
            raise FileError(f"{name} has {len(fields)} fields", hint="complete the line, or remove it")
        mask = index.find_referenced(file, fields[columns["mask"]].strip())
        structure = checked_label(fields[columns["class"]], name)
        corner = _corner(fields, columns, name)
        rows[fields[columns["image"]].strip()].append(PictureMask(mask, structure, f"{name} ({structure})", corner))
        if mask is not None:
            masks.add(mask)
    return rows, masks


def _fields(path: Path, lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    """The fields of each row after the heading. Raises FileError."""
    reader = csv.reader(lines, delimiter=separator)
    try:
        yield from reader
    except csv.Error as error:
        raise FileError(
            f"{path}: line {reader.line_num + 1} cannot be read ({error})", hint="correct the line, or remove it"
        ) from error


def _corner(fields: Sequence[str], columns: Mapping[str, int], name: str) -> tuple[int, int] | None:
    if columns["top"] < 0 or columns["left"] < 0:
        return None
    try:
        top, left = (float(fields[columns[key]].strip().replace(",", ".")) for key in ("top", "left"))
        if not (top.is_integer() and left.is_integer()):
            raise ValueError("a part of a pixel")
        return int(top), int(left)
    except (IndexError, ValueError) as error:
        raise FileError(f"{name}: top and left are not whole numbers", hint="correct the line") from error


def read_table_annotations(
    file: SourceFile,
    rows: Mapping[str, Sequence[PictureMask]],
    pictures: FileIndex,
    found: Source,
    marks: MaskMarks | None,
) -> PictureAnnotations:
    """What a table says of the pictures; `marks` as for `read_mask`."""
    annotations: PictureAnnotations = []
    missing = []
    for image, masks in rows.items():
        picture = pictures.find_referenced(file, image)
        if picture is None:
            missing.append(image)
        else:
            annotations.append((picture, _make_annotation("mask files in a table", masks, (file.path,), marks)))
    report_missing_pictures(file.path, missing, found)
    return annotations


# -- folders and names -----------------------------------------------------------------------------------------------


def separate_masks(
    files: Sequence[SourceFile], case_of_path: Callable[[str], str | None] | None = None, marks: MaskMarks | None = None
) -> tuple[set[SourceFile], PictureAnnotations, list[str]]:
    """Tell masks from pictures by their folders and names; `marks` as for `read_mask`.

    Returns:
        The files that are masks; what they say of pictures; names of masks that belong to no picture.
    """
    masks = _find_masks(files)
    pictures = FileIndex([file for file in files if file not in masks], case_of_path)
    found: dict[SourceFile, list[PictureMask]] = defaultdict(list)
    lost = []
    for file in files:
        if file not in masks:
            continue
        picture, structure = _find_picture(file, pictures)
        if picture is None:
            lost.append(file.relative_path.as_posix())
        else:
            found[picture].append(PictureMask(file, structure, str(file.path)))
    return (
        masks,
        [(picture, _make_annotation("mask files", parts, (), marks)) for picture, parts in found.items()],
        lost,
    )


def _find_masks(files: Sequence[SourceFile]) -> set[SourceFile]:
    masks = {file for file in files if any(_MASK_FOLDER.fullmatch(part) for part in file.relative_path.parts[:-1])}
    if masks:
        return masks
    stems = FileIndex(files)
    masks = {file for file in files if (m := _MASK_NAME.fullmatch(file.stem)) and m["picture"] in stems}
    if masks:
        return masks
    inside = {file for file in files if any(_IMAGE_FOLDER.fullmatch(part) for part in file.relative_path.parts[:-1])}
    pictures = FileIndex(inside)
    others = {file for file in files if file not in inside}
    return others if inside and others and all(file.stem in pictures for file in others) else set()


def _find_picture(file: SourceFile, pictures: FileIndex) -> tuple[SourceFile | None, str | None]:
    """The picture that a mask belongs to, and its structure (None: a label map)."""
    folders = [what for part in file.relative_path.parts[:-1] if (what := _structure_of(part)) is not None]
    stem, named = file.stem, None
    if (m := _MASK_NAME.fullmatch(stem)) and stem not in pictures and m["picture"] in pictures:
        stem, named = m["picture"], m["structure"]
    if (picture := pictures.find_by_case(file)) is not None:
        named = named if named or stem == picture.stem else stem.removeprefix(picture.stem).strip("_-. ")
    elif stem in pictures:
        picture = pictures.find("/".join([*folders, stem]), file.path)
    elif inner := [part for part in folders if part in pictures]:
        picture, named = pictures.find(inner[-1], file.path), stem
        folders.remove(inner[-1])
    elif cuts := [m.start() for m in re.finditer(r"[_\-. ]", stem) if stem[: m.start()] in pictures]:
        picture, named = pictures.find("/".join([*folders, stem[: cuts[-1]]]), file.path), stem[cuts[-1] + 1 :]
    if picture is None:
        return None, None
    picture_parts = {part.lower() for part in picture.relative_path.parts}
    words = [part for part in folders if part.lower() not in picture_parts]
    return picture, " ".join([*words, named] if named else words) or None


def _structure_of(folder: str) -> str | None:
    """The structure that a folder's name may tell: `Ulna` for `Ulna` and `Ulna_masks`, None for `masks`."""
    m = _MASK_FOLDER.fullmatch(folder)
    if m is None:
        return folder
    return m["what"] if (m["what"] or "").lower() not in _GENERAL else None


def _make_annotation(
    kind: str, masks: Sequence[PictureMask], parts: tuple[Path, ...], marks: MaskMarks | None
) -> Annotation:
    paths = tuple(mask.file.path for mask in masks if mask.file is not None)
    if len(masks) == 1 and masks[0].structure is None:
        return Annotation("a label map", (), (), label=paths[0])
    names = tuple(dict.fromkeys(mask.structure or "" for mask in masks))
    return Annotation(
        kind, tuple(name for name in names if name), (*parts, *paths), partial(_draw, tuple(masks), marks)
    )


def _draw(
    masks: Sequence[PictureMask], marks: MaskMarks | None, size: PictureSize, warn: Warn
) -> Iterator[tuple[str, Mask]]:
    soft = False
    for mask in masks:
        if mask.file is None:
            raise FileError(f"{mask.name}: its mask file is not there", hint="restore the file, or remove the line")
        if mask.structure is None:
            raise LabelError(
                f"{mask.name}: is a label map, and the picture has masks of single structures too",
                hint="remove the one or the others",
            )
        name = checked_label(mask.structure, mask.name)
        read, notes = read_mask(mask.file.path, marks, whole=mask.corner is None)
        for note in notes:
            soft |= note == SOFT_EDGES
            if note != SOFT_EDGES:
                warn(f"{mask.file.path}: {note}")
        yield name, _place_in_picture(read, mask, size)
    if soft:
        warn(SOFT_EDGES)


def check_label_map(path: Path) -> ConvertedCase:
    """What is odd about a label map that the dataset refers to."""
    found = background_of_labels(path)
    if found is None:
        return ConvertedCase()
    what = f"{path}: the value {found[0]} covers {found[1]:.0%} of the picture and most of its edges: its background?"
    return ConvertedCase(warnings=(what,))


def _place_in_picture(mask: Mask, part: PictureMask, size: PictureSize) -> Mask:
    """A mask in the picture's size."""
    if part.corner is None:
        if mask.shape != size:
            raise LabelError(
                f"{part.name}: has {mask.shape[1]}×{mask.shape[0]} pixels, its picture {size[1]}×{size[0]}",
                hint="give masks of the picture's size, or a table with image, class, mask, top and left",
            )
        return mask
    (top, left), (rows, columns) = part.corner, mask.shape
    if top < 0 or left < 0 or top + rows > size[0] or left + columns > size[1]:
        raise LabelError(
            f"{part.name}: {columns}×{rows} pixels at column {left}, row {top} reach out of its picture, "
            f"{size[1]}×{size[0]}",
            hint="correct top and left",
        )
    whole = np.zeros(size, dtype=bool)
    whole[top : top + rows, left : left + columns] = mask
    return whole
