"""Mask files of radiographs, found by the names of folders and files, and drawn.

Taken are, for a picture `a.png`: `masks/a.png` (label map: grey levels are the structures' values), `masks/Ulna/a.png`,
`masks/a/Ulna.png`, `masks/a_Ulna.png`, `a_mask.png` (label map), `a_mask_Ulna.png`, and folders `Ulna/a.png` beside a
folder `images/a.png`. A table (image, class, mask, and top and left where masks are cut out) goes before all that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, LabelError
from osteon.formats.annotation_fields import check_label
from osteon.formats.raster_masks import SOFT_EDGES, MaskMarks, background_of_labels, read_mask
from osteon.importing.radiographs.annotations import Annotation, Mask, PictureAnnotations, PictureSize, Warn
from osteon.importing.radiographs.files import FileIndex, SourceFile
from osteon.importing.source_forms import ConvertedCase

_MASKS = r"(mask|label|seg|segm|segmentation|annotation|groundtruth|ground_truth|gt|target)s?"
_MASK_FOLDER = re.compile(rf"((?P<what>.+?)[_\- ]?)?({_MASKS}|labels?(tr|ts))", re.IGNORECASE)
_GENERAL = {"", "train", "training", "val", "validation", "test", "manual", "binary", "true", "png", "image", "images"}
"""What stands before `masks` in a folder's name without being a structure."""
_IMAGE_FOLDER = re.compile(
    r"(image|img|picture|pic|xray|x-ray|radiograph|scan|png|jpe?g|dcm|dicom|cxr(_png)?|input|original)s?", re.IGNORECASE
)
_MASK_NAME = re.compile(rf"(?P<picture>.+?)[_\-. ]+{_MASKS}(?:[_\-. ]+(?P<structure>.+))?", re.IGNORECASE)


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
        [(picture, annotate_with_masks("mask files", parts, (), marks)) for picture, parts in found.items()],
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


def annotate_with_masks(
    kind: str, masks: Sequence[PictureMask], parts: tuple[Path, ...], marks: MaskMarks | None
) -> Annotation:
    """The annotation of a picture by its mask files.

    Args:
        kind: In words, for people.
        masks: The files.
        parts: Other files that say it.
        marks: As for `read_mask`.
    """
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
        name = check_label(mask.structure, mask.name)
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
