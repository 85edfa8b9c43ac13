"""Scans that nobody labelled: to be looked at and segmented, and to be labelled later.

It is the form of what has no other. What may hold labels is no such source: a scan is never taken without the label
that lies beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from osteon.core.errors import DatasetError
from osteon.core.folders import files_below
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.mask_names import classify_name
from osteon.formats.raster import SUFFIXES as PICTURES
from osteon.formats.registry import contains_dicom
from osteon.formats.rle import describe_missing_columns
from osteon.importing.masks import form as masks
from osteon.importing.masks.files import find_source_files, is_label_map, path_below, volume_files
from osteon.importing.masks.pairing import pair_files
from osteon.importing.meshes.form import mesh_files
from osteon.importing.options import DICOM_OPTIONS, ImportOptions
from osteon.importing.radiographs import form as radiographs
from osteon.importing.radiographs.detection import explain_unreadable
from osteon.importing.radiographs.files import plain_stem
from osteon.importing.source_forms import Source, SourceForm

_ANNOTATIONS = (".json", ".xml", ".txt", ".csv", ".tsv")
_MAX_READ = 20
"""Files of each kind whose voxels are looked at: a label map is no scan."""


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be scans without labels; what may be a label is named."""
    if not source.is_dir():
        return "is one file, not a folder of scans"
    if listed := [name for name in masks.CASE_LISTS if (source / name).is_file()]:
        return f"{listed[0]} lists cases with labels"
    if (mesh := next(mesh_files(source), None)) is not None:
        return f"{mesh.name} is a surface"
    volumes, pictures = list(volume_files(source)), _files(source, PICTURES)
    if not volumes and not pictures and not (contains_dicom(source) and _any_series(source)):
        return "no scan and no picture"
    for path in [*volumes, *pictures]:
        if classify_name(path_below(source, path)) == "mask":
            return f"{path.relative_to(source)} is called like a mask"
    for path in [*islice(volumes, _MAX_READ), *islice(pictures, _MAX_READ)]:
        if is_label_map(path):
            return f"{path.relative_to(source)} holds a few whole numbers alone, as labels do"
    stems = {plain_stem(path.name) for path in pictures}
    for path in _files(source, _ANNOTATIONS) if stems else ():
        if plain_stem(path.stem) in stems:
            return f"{path.relative_to(source)} is called like a picture, and may mark it in a way that is not known"
        if path.suffix.lower() == ".json" and (why := explain_unreadable(path)):
            return f"a file that may mark pictures cannot be read: {why}"
        if why := describe_missing_columns(path) if path.suffix.lower() in (".csv", ".tsv") else "":
            return why
    return None


def read(source: Path, options: ImportOptions) -> Source:
    """List the scans; of volumes and pictures in one folder the volumes; the pictures are then lost.

    Raises:
        DatasetError: Labels lie among them after all, or nothing can be read.
        UsageError: `--case-pattern` or `--series` does not fit what was found.
    """
    inventory = find_source_files(source)
    if inventory.masks:
        some = inventory.masks[0].relative_path
        raise DatasetError(
            f"{source}: {len(inventory.masks)} files among the scans hold labels, such as {some}",
            hint="say which scan each belongs to: write a text file with a line `image,label` for each case, as SOURCE",
        )
    if not inventory.scans:
        found = radiographs.read(source, options, unmarked=True)
        tables = [path for path in _files(source, _ANNOTATIONS) if path.suffix.lower() != ".txt"]
        if tables:
            found.warnings.append(
                f"{len(tables)} tables, such as {tables[0]}, mark no picture in a known way; not read"
            )
        return found
    groups = pair_files(inventory, options.case_pattern, series=options.series)
    found = masks.build_source(source, inventory, groups, options, holding=("images", "surfaces", "pictures"))
    left = [*(str(scan.path) for scan in inventory.pictures), *map(str, _files(source, PICTURES))]
    if left:
        found.lost.append(
            f"{len(left)} pictures beside volumes, such as {left[0]}: skipped; import them from their own folder"
        )
    return found


def _any_series(source: Path) -> bool:
    """Whether DICOM files below `source` make a series."""
    inventory = find_source_files(source)
    return bool(inventory.scans or inventory.pictures)


def _files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files below the source, osteon's datasets and what macOS leaves in archives skipped, in order."""
    below = files_below(source, hidden=False, skip_with=FILE_NAME)
    return sorted(path for path in below if path.suffix.lower() in suffixes and "__MACOSX" not in path.parts)


FORM = SourceForm(
    "scans",
    "scans or pictures without labels, to be looked at and segmented",
    explain_mismatch,
    read,
    "scans with no label beside them",
    DICOM_OPTIONS | {"case_pattern"},
)
