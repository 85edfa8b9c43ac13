"""Tables of mask files: columns for picture, structure and mask file, and top and left where masks are cut out."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from osteon.core.errors import FileError
from osteon.core.files import read_text
from osteon.formats.annotation_fields import check_label
from osteon.formats.raster_masks import MaskMarks
from osteon.importing.radiographs.annotations import PictureAnnotations, report_missing_pictures
from osteon.importing.radiographs.files import FileIndex, SourceFile
from osteon.importing.radiographs.mask_files import PictureMask, annotate_with_masks
from osteon.importing.source_forms import Source

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "image_name", "filename", "file_name"),
    "class": ("class", "class_name", "label", "structure"),
    "mask": ("mask", "mask_file", "mask_name", "mask_path"),
    "top": ("top", "y", "offset_y"),
    "left": ("left", "x", "offset_x"),
}
_NEEDED = ("image", "class", "mask")


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
        structure = check_label(fields[columns["class"]], name)
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
            annotations.append((picture, annotate_with_masks("mask files in a table", masks, (file.path,), marks)))
    report_missing_pictures(file.path, missing, found)
    return annotations
