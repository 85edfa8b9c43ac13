"""In which forms a result can be had: what its scans allow."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from osteon.app.commands import source_of
from osteon.app.results import cases_of, dataset_of, record_of
from osteon.app.state import Studio
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.dicom_folders import contains_dicom
from osteon.formats.registry import read_geometry

OF_SERIES = frozenset({"dicom-seg", "rtstruct"})
"""Forms that refer to the scans' own DICOM series."""
OF_SOLIDS = frozenset({"stl", "obj", "rtstruct"})
OF_PICTURES = frozenset({"rle-csv"})
DOWNLOADS = {
    "seg-nrrd": "Masks for 3D Slicer (.seg.nrrd)",
    "stl": "Surfaces (STL)",
    "dicom-seg": "DICOM SEG, for a PACS",
    "table": "Volumes (CSV)",
    "rle-csv": "RLE of pictures (CSV)",
    "rtstruct": "DICOM RTSTRUCT",
    "obj": "Surfaces (OBJ)",
}


def forms_for(studio: Studio, item: Item) -> list[str]:
    """Those of `DOWNLOADS` that can be made of a result: of pictures no surface, for a PACS only what came as DICOM."""
    left_out = set(OF_SOLIDS if _is_flat(item) else OF_PICTURES)
    if not has_series(studio, item):
        left_out |= OF_SERIES
    return [form for form in DOWNLOADS if form not in left_out]


def has_series(studio: Studio, item: Item) -> bool:
    """Whether the scans of a result came as DICOM, and are still there."""
    inputs = (Path(entry[0]) for record in record_of(item).values() for entry in record.get("input", [])[:1])
    first = next(inputs, None)
    if first is not None and _is_dicom(first):
        return True
    found = dataset_of(studio, item)
    source = None if found is None else source_of(studio, found[0])
    return source is not None and source.is_dir() and _holds_dicom(source, source.stat().st_mtime_ns)


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_file() and looks_like_dicom(path)
    except OsteonError:
        return False


@lru_cache(maxsize=64)
def _holds_dicom(source: Path, _since: int) -> bool:
    """Whether a source has DICOM files; asked again where another one has come in its place."""
    return contains_dicom(source)


def _is_flat(item: Item) -> bool:
    for path in list(cases_of(item).values())[:1]:
        try:
            return 1 in read_geometry(path).shape[2:]
        except OsteonError:
            return False
    return False
