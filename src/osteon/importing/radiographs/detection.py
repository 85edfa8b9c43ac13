"""Whether a source holds radiographs with what marks them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from osteon.core.errors import FileError
from osteon.core.text import pluralise
from osteon.formats.coco import is_coco
from osteon.formats.polygons import is_labelme, is_outlines
from osteon.formats.rle import describe_missing_columns, is_rle_csv
from osteon.importing.radiographs.files import find_picture_files, try_json
from osteon.importing.radiographs.mask_files import separate_masks
from osteon.importing.radiographs.mask_tables import is_mask_table

_MAX_READ = 20


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be pictures with annotations, or the one annotation file of many pictures."""
    if source.is_file():
        if why := describe_missing_columns(source) if source.suffix.lower() in (".csv", ".tsv") else "":
            return why
        wanted = _is_table(source) or (source.suffix.lower() == ".json" and _is_annotation(source, alone=True))
        return None if wanted else "neither a folder, nor a COCO file, nor a table with image_name, class and rle"
    if _is_other_form(source):
        return "its dataset.json says that it is a folder of the Decathlon or of nnU-Net"
    inventory = find_picture_files(source)
    if not inventory.pictures and not (inventory.dicom and (inventory.json or inventory.csv)):
        return "no picture (.png, .jpg, .tif, .bmp; DICOM beside outlines or a table)"
    if any(_is_annotation(file.path) for file in islice(inventory.json, _MAX_READ)):
        return None
    if any(_is_table(file.path) for file in inventory.csv) or separate_masks(inventory.pictures)[1]:
        return None
    unreadable = [error for file in inventory.json[:_MAX_READ] if (error := explain_unreadable(file.path)) is not None]
    unreadable += [why for file in inventory.csv[:_MAX_READ] if (why := describe_missing_columns(file.path))]
    broken = f" ({unreadable[0]})" if unreadable else ""
    count = (
        f"{pluralise(len(inventory.pictures), 'picture')}"
        if inventory.pictures
        else f"{len(inventory.dicom)} DICOM files"
    )
    return (
        f"{count} without annotation{broken}: no JSON of outlines (per picture, LabelMe, COCO), no table with "
        "image_name, class and rle, no masks (`masks/<structure>/<picture>`, `masks/<picture>`)"
    )


def explain_unreadable(path: Path) -> str | None:
    """Why a JSON file cannot be read; None where it can."""
    return data.message if isinstance(data := try_json(path), FileError) else None


def _is_other_form(source: Path) -> bool:
    data = try_json(source / "dataset.json")
    return isinstance(data, dict) and bool(data.keys() & {"training", "channel_names", "file_ending"})


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") and (is_rle_csv(path) or is_mask_table(path))


def _is_annotation(path: Path, *, alone: bool = False) -> bool:
    data = try_json(path)
    return is_coco(data) or (not alone and (is_labelme(data) or is_outlines(data)))
