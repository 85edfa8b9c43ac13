"""DICOM for the table of formats: one file, or a folder that holds one series.

A series that has to be repaired (gaps, tilt) is refused here; `osteon import` has the options that repair it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from osteon.core.errors import FileError, LabelError, OsteonError, UsageError, missing_file_error
from osteon.core.folders import files_below
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.text import pluralise, shorten_list
from osteon.core.volume import Volume
from osteon.formats.dicom_inventory import DicomInventory, Series, sort_dicom_files
from osteon.formats.dicom_seg import (
    is_dicom_seg,
    read_dicom_seg,
    read_dicom_seg_geometry,
    read_dicom_seg_structures,
)
from osteon.formats.dicom_series import read_series, series_geometry
from osteon.formats.labelmap import make_index_map, match_layers

SUFFIXES: tuple[str, ...] = (".dcm", ".dicom")
_LISTED = 8


def read_dicom(path: Path, *, single: bool = False) -> Volume:
    """Read the one image series in a file or folder as `[1, i, j, k]`, RAS+ millimetres.

    Raises:
        FileError: There is none, or there are several; or as `read_series`.
        GeometryError: As `read_series`.
    """
    return read_series(_only_series(Path(path)), single=single)[0]


def read_dicom_files(files: Iterable[Path], *, single: bool = False) -> Volume:
    """Read the one image series that these files make, as `read_dicom` does."""
    files = list(files)
    series = _only(sort_dicom_files(files), files[0].parent if len(files) > 1 else files[0])
    return read_series(series, single=single)[0]


def read_dicom_geometry(path: Path) -> Geometry:
    """The grid of the one image series, or of the one segmentation; reads no pixels. Raises as `read_dicom`."""
    path = Path(path)
    if path.is_file() and is_dicom_seg(path):
        return read_dicom_seg_geometry(path)
    return series_geometry(_only_series(path))


def read_dicom_segmentation(path: Path, structures: Sequence[Structure] | None = None) -> Segmentation:
    """Read a DICOM SEG, or the one that lies in a folder, on its own grid.

    Args:
        path: The file or folder.
        structures: The structures to be read, found by name; None takes the file's own.

    Raises:
        FileError: There is none, or it is damaged.
        LabelError: A segment is not among `structures`.
    """
    path = _only_segmentation(Path(path))
    found = read_dicom_seg(path)
    if structures is None:
        return found
    if not found.overlapping:
        labels, named = make_index_map(found.array, found.structures, structures, path, by_value=False)
        return Segmentation(labels, found.geometry, named)
    layers, unknown = match_layers(found, structures, path)
    if unknown:
        raise LabelError(
            f"{path}: holds segments that no structure is named after: {', '.join(s.name for s in unknown)} "
            f"(structures: {', '.join(s.name for s in structures)})",
            hint="name the structures as the file does (--labels NAME=VALUE,…)",
        )
    return Segmentation(layers, found.geometry, tuple(structures))


def read_dicom_structures(path: Path) -> tuple[Structure, ...]:
    """The segments that a DICOM SEG names; none for an image. Raises FileError."""
    path = Path(path)
    return read_dicom_seg_structures(path) if path.is_file() and is_dicom_seg(path) else ()


def _only_segmentation(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise missing_file_error(path, "the DICOM file or folder")
    found = sort_dicom_files(files_below(path))
    if len(found.segmentations) != 1:
        raise FileError(
            f"{path}: holds {len(found.segmentations)} DICOM segmentations where one is wanted",
            hint="give the file of the segmentation",
        )
    return found.segmentations[0]


def _only_series(path: Path) -> Series:
    if not path.exists():
        raise missing_file_error(path, "the DICOM file or folder")
    return _only(sort_dicom_files([path] if path.is_file() else files_below(path)), path)


def _only(found: DicomInventory, path: Path) -> Series:
    if len(found.series) == 1:
        return found.series[0]
    if found.series:
        some = shorten_list([describe_series(series) for series in found.series], _LISTED, separator="; ")
        raise FileError(
            f"{path}: holds {len(found.series)} image series where one is wanted: {some}",
            hint="give the folder of one series alone, or import them all with `osteon import`",
        )
    raise _nothing(found, path)


def _nothing(found: DicomInventory, path: Path) -> OsteonError:
    if found.segmentations or found.structure_sets:
        kind = "a segmentation" if found.segmentations else "contours (RTSTRUCT)"
        return FileError(f"{path}: holds {kind} and no image", hint="give the series on which it was drawn")
    if path.is_file() and found.skipped:
        return FileError(f"{path}: {found.skipped[0][1]}", hint="check that it is the image, and whole")
    reasons = sorted({reason for _, reason in found.skipped})
    listed = f" ({pluralise(len(found.skipped), 'file')}: {'; '.join(reasons[:3])})" if reasons else ""
    return FileError(f"{path}: holds no DICOM image{listed}", hint="give a folder with a DICOM series")


def describe_series(series: Series) -> str:
    """A series in words, without anything about the patient: `12 CT images, series 3, BONE in DICOM`."""
    return f"{series_title(series)} in {series.folder.name}"


def series_title(series: Series) -> str:
    """The same without its folder."""
    number = "" if series.number is None else f"series {series.number}"
    named = ", ".join(part for part in (number, series.description) if part)
    images = f"{len(series.slices)} {series.modality or 'unknown'} images"
    return f"{images}, {named}" if named else images


def series_titles(several: Sequence[Series]) -> list[str]:
    """Words for each of several series; with the SeriesInstanceUID where number and description are the same."""
    plain = [series_title(series) for series in several]
    often = Counter(plain)
    return [
        f"{words}, SeriesInstanceUID {series.uid or 'missing'}" if often[words] > 1 else words
        for words, series in zip(plain, several, strict=True)
    ]


def matches_series(series: Series, which: str) -> bool:
    """Whether a series has this number, SeriesInstanceUID or description (capitals or not)."""
    words = which.strip().casefold()
    plain = series.description.removesuffix(series.part).rstrip(", ")
    return words in {str(series.number), series.uid, series.description.casefold(), plain.casefold()} - {"", "None"}


def check_series_choice(series: Sequence[Series], which: str) -> None:
    """Raise UsageError, listing what there is, where no series is called so."""
    if any(matches_series(one, which) for one in series):
        return
    found = dict.fromkeys(
        f"{'no number' if one.number is None else one.number} ({one.description or 'no description'})" for one in series
    )
    there = f"there are {', '.join(list(found)[:_LISTED]) or 'none'}{' …' * (len(found) > _LISTED)}"
    raise UsageError(f"--series {which}: no series has this number, UID or description", hint=there)


def select_series(series: Sequence[Series], which: str) -> tuple[list[Series], list[list[Series]]]:
    """Of several series of one patient and study those that are called so; the only one of a study stays.

    Returns:
        Those that stay, in their order; and the studies of several in which none is called so.
    """
    studies: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for one in series:
        studies[one.patient_key, one.study].append(one)
    kept = [one for one in series if matches_series(one, which) or len(studies[one.patient_key, one.study]) == 1]
    return kept, [
        own for own in studies.values() if len(own) > 1 and not any(matches_series(one, which) for one in own)
    ]
