"""In which forms a result can be had: what its scans allow."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from osteon.app.commands import source_of
from osteon.app.results import cases_of, dataset_of, record_of
from osteon.app.studio import Studio
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.registry import read_geometry
from osteon.importing.mask_files import holds_dicom

OF_SERIES = frozenset({"dicom-seg", "rtstruct"})
"""Forms that refer to the scans' own DICOM series."""
OF_SOLIDS = frozenset({"stl", "obj", "rtstruct"})
OF_PICTURES = frozenset({"rle-csv"})
FORMS = ("seg-nrrd", "stl", "dicom-seg", "table", "rle-csv", "rtstruct", "obj")


def forms_for(studio: Studio, item: Item) -> list[str]:
    """Those of `FORMS` that can be made of a result: of pictures no surface, for a PACS only what came as DICOM."""
    left_out = set(OF_SOLIDS if _is_flat(item) else OF_PICTURES)
    if not has_series(studio, item):
        left_out |= OF_SERIES
    return [form for form in FORMS if form not in left_out]


def has_series(studio: Studio, item: Item) -> bool:
    """Whether the scans of a result came as DICOM, and are still there."""
    inputs = [Path(entry[0]) for record in record_of(item).values() for entry in _inputs(record)[:1]]
    if any(_is_dicom(path) for path in inputs[:1]):
        return True
    found = dataset_of(studio, item)
    source = None if found is None else source_of(studio, found[0])
    return source is not None and _holds_dicom(source)


def _inputs(record: object) -> list[list[str]]:
    listed = record.get("input") if isinstance(record, dict) else None
    return [entry for entry in listed if isinstance(entry, list) and entry] if isinstance(listed, list) else []


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_file() and looks_like_dicom(path)
    except OsteonError:
        return False


@lru_cache(maxsize=64)
def _holds_dicom(source: Path) -> bool:
    return source.is_dir() and holds_dicom(source)


def _is_flat(item: Item) -> bool:
    for path in list(cases_of(item).values())[:1]:
        try:
            return 1 in read_geometry(path).shape[2:]
        except OsteonError:
            return False
    return False
