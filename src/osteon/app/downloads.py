"""Forms in which a result can be downloaded, as its scans allow."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from osteon.app.commands import source_of
from osteon.app.results import find_dataset, prediction_records, result_files
from osteon.app.state import AppState
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.io import read_geometry
from osteon.formats.registry import contains_dicom

SERIES_FORMS = frozenset({"dicom-seg", "rtstruct"})
"""Forms that refer to the scans' own DICOM series."""
VOLUME_FORMS = frozenset({"stl", "obj", "rtstruct"})
PICTURE_FORMS = frozenset({"rle-csv"})
DOWNLOADS = {
    "seg-nrrd": "Masks for 3D Slicer (.seg.nrrd)",
    "stl": "Surfaces (STL)",
    "dicom-seg": "DICOM SEG, for a PACS",
    "table": "Volumes (CSV)",
    "rle-csv": "RLE of pictures (CSV)",
    "rtstruct": "DICOM RTSTRUCT",
    "obj": "Surfaces (OBJ)",
}


def available_forms(app: AppState, item: Item) -> list[str]:
    """Those of `DOWNLOADS` that can be made of a result: of pictures no surface, for a PACS only what came as DICOM."""
    left_out = set(VOLUME_FORMS if _is_flat(item) else PICTURE_FORMS)
    if not has_dicom_series(app, item):
        left_out |= SERIES_FORMS
    return [form for form in DOWNLOADS if form not in left_out]


def has_dicom_series(app: AppState, item: Item) -> bool:
    """Whether the scans of a result came as DICOM, and are still there."""
    inputs = (Path(entry[0]) for record in prediction_records(item).values() for entry in record.get("input", [])[:1])
    first = next(inputs, None)
    if first is not None and _is_dicom(first):
        return True
    found = find_dataset(app, item)
    source = None if found is None else source_of(app, found[0])
    return source is not None and source.is_dir() and _holds_dicom(source, source.stat().st_mtime_ns)


def series_options(app: AppState, item: Item) -> list[str]:
    """Options of an export that refers to the scans' series: where they lie, of a dataset that was converted."""
    found = find_dataset(app, item)
    source = None if found is None else source_of(app, found[0])
    return [] if source is None else ["--source", str(source)]


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
    for path in list(result_files(item).values())[:1]:
        try:
            return 1 in read_geometry(path).shape[2:]
        except OsteonError:
            return False
    return False
