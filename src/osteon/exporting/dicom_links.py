"""Which of several DICOM series a segmentation was made on: told by files, references and voxels, last by names.

A grid is no proof: scanners give one to many patients. What is filed under the wrong person's name does harm, so where
something links a scan to its series this decides, and where nothing does, only a source of one patient is trusted, and
that for one segmentation alone: of several each may be another patient's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import CaseError, OsteonError
from osteon.core.text import shorten_list
from osteon.core.volume import Volume
from osteon.dataset.checks import reorient_array
from osteon.exporting.export_form import ExportCase
from osteon.formats.dicom import describe_series, series_titles
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.dicom_inventory import sort_dicom_files
from osteon.formats.dicom_references import read_references
from osteon.formats.dicom_seg import is_dicom_seg
from osteon.formats.dicom_series import Series, read_series
from osteon.formats.io import read_scan
from osteon.formats.registry import stem_of

_SAME = 0.999
"""Correlation of voxels from which on a scan is the series with other units (stored values for HU, rescaled greys)."""
_LISTED = 4
_ALONE = "give the folder of the right one alone: --source"
_IGNORE = "--ignore-references takes a series by its grid alone"


def referenced_series(case: ExportCase, series: Sequence[Series]) -> list[Series]:
    """Those series that the case's files say are its own: by the images it was predicted from, or that it refers to.

    Raises:
        CaseError: It refers to images, and none of the series has them.
    """
    images = {slice_.instance for one in sort_dicom_files(_dicom(case)).series for slice_ in one.slices}
    if found := [one for one in series if not images.isdisjoint(slice_.instance for slice_ in one.slices)]:
        paths = {file.resolve() for file in case.scan}
        return [one for one in found if not paths.isdisjoint(file.resolve() for file in one.files)] or found
    if case.file is None or not _is_seg(case.file):
        return []
    references = read_references(case.file)
    found = references.named(series)
    if references.any and not found:
        raise CaseError(f"{case.file}: refers to a series that is not there", hint=f"{_ALONE}; or {_IGNORE}")
    return found


def series_with_scan_voxels(case: ExportCase, series: Sequence[Series]) -> list[Series] | None:
    """Those series that hold the voxels of the case's scan; None where nobody knows the scan, or it is not there."""
    scan = _scan(case)
    if scan is None:
        return None
    same, similar = [], []
    for one in series:
        try:
            volume, _ = read_series(one)
        except OsteonError:
            continue
        turned = reorient_array(scan.array, scan.geometry, volume.geometry)
        channels = [] if turned is None else list(turned)
        if any(np.array_equal(channel, volume.array[0]) for channel in channels):
            same.append(one)
        elif any(_correlation(channel, volume.array[0]) >= _SAME for channel in channels):
            similar.append(one)
    return same or similar


def choose_series(
    case: ExportCase, fitting: Sequence[Series], everything: Sequence[Series], where: Path, *, by_grid: bool = False
) -> Series:
    """The series that a case was made on.

    Args:
        case: The segmentation.
        fitting: Series that have its grid; at least one.
        everything: All series of the source.
        where: The source.
        by_grid: Whether a grid will do where the scan is known and is none of these.

    Raises:
        CaseError: Another series than these is the case's, or nothing says which of them is.
    """
    try:
        own = referenced_series(case, everything)
    except CaseError:
        if not by_grid:
            raise
        own = []
    left = [one for one in own if one in fitting]
    if own and not left:
        raise CaseError(
            f"{case.file}: belongs to {describe_series(own[0])}, which has another grid",
            hint="give the segmentation as it was made on this series",
        )
    left = left or list(fitting)
    known = bool(own)
    if len(left) > 1 or not own:
        like = series_with_scan_voxels(case, left)
        if like == [] and not own and not by_grid:
            scan = ", ".join(str(path) for path in case.scan[:1])
            raise CaseError(
                f"{case.file}: was made on {scan}, whose voxels no series in {where} with its grid has: "
                f"{_describe(fitting)}",
                hint=f"give the series of this scan: --source; or {_IGNORE}",
            )
        known |= bool(like)
        left = like or left
    named = [one for one in left if case.id in _names(one, where)]
    if len(left) > 1 and len(named) != 1:
        raise CaseError(f"{case.file}: {len(left)} series in {where} have its grid: {_describe(left)}", hint=_ALONE)
    patients = {one.patient_key for one in everything}
    elsewhere = any(case.id in _names(one, where) for one in everything)
    if not known and not named and not by_grid and (len(patients) > 1 or elsewhere or not case.alone):
        why = "another is called like it" if elsewhere else "nothing else says that it is its patient's"
        number = f"of {len(everything)} series in {where} one" if len(everything) > 1 else "a series"
        raise CaseError(
            f"{case.file}: {number} has its grid, and {why}: {_describe(left)}",
            hint=f"give the patient's folder alone: --source; or name the file after the series' folder; or {_IGNORE}",
        )
    return named[0] if len(left) > 1 else left[0]


def _describe(series: Sequence[Series]) -> str:
    lines = [f"{title} in {one.folder}" for title, one in zip(series_titles(series), series, strict=True)]
    return shorten_list(lines, _LISTED, separator="; ")


def _names(series: Series, where: Path) -> set[str]:
    """What may be called like a case: the series' file, and its folders in the source, this among them."""
    folder, top = series.folder.absolute(), (where if where.is_dir() else where.parent).absolute()
    below = folder.relative_to(top).parts if folder.is_relative_to(top) else folder.parts
    return {*below, top.name, stem_of(series.files[0])}


def _dicom(case: ExportCase) -> list[Path]:
    return [file for file in case.scan if file.is_file() and looks_like_dicom(file)]


def _is_seg(path: Path) -> bool:
    return path.is_file() and looks_like_dicom(path) and is_dicom_seg(path)


def _scan(case: ExportCase) -> Volume | None:
    """The image that a case was made on. None where it is not known, cannot be found, or cannot be read."""
    try:
        if case.dataset is not None and case.entry is not None:
            return case.dataset.load_image(case.entry)
        if not case.scan or not all(file.is_file() for file in case.scan):
            return None
        return read_scan(case.scan)
    except OsteonError:
        return None


def _correlation(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    """Pearson's, 0 where one of them is constant."""
    first, second = (np.asarray(array, np.float64).ravel() for array in (one, other))
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / size if size > 0 else 0.0
