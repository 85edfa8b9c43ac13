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
from osteon.formats.annotation_fields import check_label
from osteon.formats.raster_masks import SOFT_EDGES, MaskMarks, background_of_labels, read_mask
from osteon.importing.radiographs.annotations import Marks, Mask, Size, Told, Warn, tell_missing
from osteon.importing.radiographs.files import File, Shelf
from osteon.importing.source_forms import Converted, Found

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
class MaskFile:
    """The mask of one structure, or (`structure` None) a label map.

    Attributes:
        file: Where it is; None where the table names a file that is not there.
        structure: What it marks.
        name: For messages.
        corner: Row and column of the mask's first pixel in the picture; None where it is as large as the picture.
    """

    file: File | None
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


def read_mask_table(file: File, pictures: Sequence[File]) -> tuple[dict[str, list[MaskFile]], set[File]]:
    """Picture's name → its masks, and the mask files themselves, which are no pictures.

    Raises:
        FileError: The table cannot be read, or a row is broken; the message names the line.
        LabelError: A class is no name.
    """
    lines = read_text(file.path, "the table of masks").splitlines()
    columns, separator = _columns(lines[0])
    if columns is None:
        raise FileError(f"{file.path}: has changed while it was read", hint="run the command again")
    shelf = Shelf(pictures)
    rows: dict[str, list[MaskFile]] = defaultdict(list)
    masks: set[File] = set()
    for number, fields in enumerate(_fields(file.path, lines[1:], separator), start=2):
        if not any(field.strip() for field in fields):
            continue
        name = f"{file.path}: line {number}"
        if len(fields) <= max(columns[key] for key in _NEEDED):
            raise FileError(f"{name} has {len(fields)} fields", hint="complete the line, or remove it")
        mask = shelf.named_in(file, fields[columns["mask"]].strip())
        structure = check_label(fields[columns["class"]], name)
        corner = _corner(fields, columns, name)
        rows[fields[columns["image"]].strip()].append(MaskFile(mask, structure, f"{name} ({structure})", corner))
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


def of_table(
    file: File,
    rows: Mapping[str, Sequence[MaskFile]],
    pictures: Shelf,
    found: Found,
    marks: MaskMarks | None,
) -> Told:
    """What a table says of the pictures; `marks` as for `read_mask`."""
    told: Told = []
    missing = []
    for image, masks in rows.items():
        picture = pictures.named_in(file, image)
        if picture is None:
            missing.append(image)
        else:
            told.append((picture, _marks("mask files in a table", masks, (file.path,), marks)))
    tell_missing(file.path, missing, found)
    return told


# -- folders and names -----------------------------------------------------------------------------------------------


def sort_out(
    files: Sequence[File], case_of: Callable[[str], str | None] | None = None, marks: MaskMarks | None = None
) -> tuple[set[File], Told, list[str]]:
    """Tell masks from pictures by their folders and names; `marks` as for `read_mask`.

    Returns:
        The files that are masks; what they say of pictures; names of masks that belong to no picture.
    """
    masks = _mask_side(files)
    pictures = Shelf([file for file in files if file not in masks], case_of)
    found: dict[File, list[MaskFile]] = defaultdict(list)
    lost = []
    for file in files:
        if file not in masks:
            continue
        picture, structure = _belongs(file, pictures)
        if picture is None:
            lost.append(file.place.as_posix())
        else:
            found[picture].append(MaskFile(file, structure, str(file.path)))
    return masks, [(picture, _marks("mask files", parts, (), marks)) for picture, parts in found.items()], lost


def _mask_side(files: Sequence[File]) -> set[File]:
    masks = {file for file in files if any(_MASK_FOLDER.fullmatch(part) for part in file.place.parts[:-1])}
    if masks:
        return masks
    stems = Shelf(files)
    masks = {file for file in files if (m := _MASK_NAME.fullmatch(file.stem)) and m["picture"] in stems}
    if masks:
        return masks
    inside = {file for file in files if any(_IMAGE_FOLDER.fullmatch(part) for part in file.place.parts[:-1])}
    pictures = Shelf(inside)
    others = {file for file in files if file not in inside}
    return others if inside and others and all(file.stem in pictures for file in others) else set()


def _belongs(file: File, pictures: Shelf) -> tuple[File | None, str | None]:
    """The picture that a mask belongs to, and its structure (None: a label map)."""
    folders = [what for part in file.place.parts[:-1] if (what := _structure_of(part)) is not None]
    stem, named = file.stem, None
    if (m := _MASK_NAME.fullmatch(stem)) and stem not in pictures and m["picture"] in pictures:
        stem, named = m["picture"], m["structure"]
    if (picture := pictures.of_case(file)) is not None:
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
    own = {part.lower() for part in picture.place.parts}
    words = [part for part in folders if part.lower() not in own]
    return picture, " ".join([*words, named] if named else words) or None


def _structure_of(folder: str) -> str | None:
    """The structure that a folder's name may tell: `Ulna` for `Ulna` and `Ulna_masks`, None for `masks`."""
    m = _MASK_FOLDER.fullmatch(folder)
    if m is None:
        return folder
    return m["what"] if (m["what"] or "").lower() not in _GENERAL else None


def _marks(kind: str, masks: Sequence[MaskFile], parts: tuple[Path, ...], marks: MaskMarks | None) -> Marks:
    paths = tuple(mask.file.path for mask in masks if mask.file is not None)
    if len(masks) == 1 and masks[0].structure is None:
        return Marks("a label map", (), (), label=paths[0])
    names = tuple(dict.fromkeys(mask.structure or "" for mask in masks))
    return Marks(kind, tuple(name for name in names if name), (*parts, *paths), partial(_draw, tuple(masks), marks))


def _draw(masks: Sequence[MaskFile], marks: MaskMarks | None, size: Size, warn: Warn) -> Iterator[tuple[str, Mask]]:
    soft = False
    for mask in masks:
        if mask.file is None:
            raise FileError(f"{mask.name}: its mask file is not there", hint="restore the file, or remove the line")
        if mask.structure is None:
            raise LabelError(
                f"{mask.name}: is a label map, and the picture has masks of single structures too",
                hint="remove the one or the others",
            )
        name = check_label(mask.structure, mask.name)
        read, notes = read_mask(mask.file.path, marks, whole=mask.corner is None)
        for note in notes:
            soft |= note == SOFT_EDGES
            if note != SOFT_EDGES:
                warn(f"{mask.file.path}: {note}")
        yield name, _placed(read, mask, size)
    if soft:
        warn(SOFT_EDGES)


def look_at_labels(path: Path) -> Converted:
    """What is odd about a label map that the dataset refers to."""
    found = background_of_labels(path)
    if found is None:
        return Converted()
    what = f"{path}: the value {found[0]} covers {found[1]:.0%} of the picture and most of its edges: its background?"
    return Converted(warnings=(what,))


def _placed(mask: Mask, part: MaskFile, size: Size) -> Mask:
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
