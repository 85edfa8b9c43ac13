"""Which DICOM series a segmentation belongs to, and the segmentation on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from osteon.core.errors import CaseError, FileError, GeometryError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.checks import align_segmentation, grid_mismatch, reorient_array
from osteon.exporting.dicom_common import complete_headers
from osteon.exporting.dicom_links import choose_series
from osteon.exporting.export_form import ExportCase
from osteon.formats.dicom import describe_series
from osteon.formats.dicom_files import looks_like_dicom, read_dataset
from osteon.formats.dicom_inventory import sort_dicom_files
from osteon.formats.dicom_series import Series, find_series, series_geometry, slices_in_order
from osteon.formats.dicom_slices import Slice

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LISTED = 4


@dataclass(frozen=True, eq=False)
class PlacedSegmentation:
    """A segmentation on the grid of its series.

    Attributes:
        segmentation: With the axes of the series: i along rows, j along columns, k along the slices.
        series: The images.
        slices: One for each k.
        headers: SOPInstanceUID → header of each file, in the order of the slices, with all that a reference needs.
        notes: What had to be made up for that.
        wholes: The structure that each of the segmentation's is a numbered piece of, or is.
    """

    segmentation: Segmentation
    series: Series
    slices: tuple[Slice, ...]
    headers: dict[str, Dataset]
    notes: tuple[str, ...] = ()
    wholes: tuple[Structure, ...] = ()


class DicomSources:
    """The series below a folder; asked once, however many cases there are.

    Args:
        folder: None takes the files that were predicted.
        by_grid: Whether a grid will do where the scan that a case was made on is none of these.
    """

    def __init__(self, folder: Path | None, *, by_grid: bool = False) -> None:
        self.folder = folder
        self.by_grid = by_grid
        self._below: list[tuple[Series, Geometry | GeometryError]] | None = None

    def place(self, case: ExportCase) -> PlacedSegmentation:
        """A case's segmentation on the grid of its series, each numbered piece a structure.

        The series is the one below the folder that has the segmentation's grid and, as far as these are known, the
        images that it was made on, or the voxels of its scan; of several the one whose file, or a folder above it, is
        called like the case. Without a folder it is the one that was predicted.

        Raises:
            CaseError: It is not known which series the case belongs to.
            GeometryError: No series has its grid; the message shows both.
            LabelError: No structure has a voxel.
            FileError: A file cannot be read.
        """
        segmentation, wholes = case.load_split()
        if not segmentation.array.any():
            raise LabelError(f"{case.file}: is empty, no voxel belongs to any structure", hint="leave this case out")
        series = self._series_of(case, segmentation.geometry)
        slices = slices_in_order(series)
        aligned = align_segmentation(
            segmentation, series_geometry(series), name=str(case.file), image_name=str(series.folder)
        )
        paths = {slice_.instance: slice_.path for slice_ in slices}
        headers, notes = complete_headers(
            {instance: read_dataset(path, pixels=False) for instance, path in paths.items()},
            step_mm=None if series.picture else aligned.geometry.spacing_mm[2],
        )
        return PlacedSegmentation(aligned, series, slices, headers, tuple(notes), wholes)

    def _series_of(self, case: ExportCase, geometry: Geometry) -> Series:
        candidates = self._candidates(case)
        where = self.folder or case.scan[0].parent
        if not candidates:
            raise FileError(f"{where}: holds no DICOM series", hint="give the folder of the scan's series: --source")
        fitting = [series for series, grid in candidates if isinstance(grid, Geometry) and _fits(geometry, grid)]
        if not fitting:
            raise _misfit(case, geometry, candidates)
        return choose_series(case, fitting, [series for series, _ in candidates], where, by_grid=self.by_grid)

    def _candidates(self, case: ExportCase) -> list[tuple[Series, Geometry | GeometryError]]:
        if self.folder is None:
            files = [file for file in case.scan if file.is_file() and looks_like_dicom(file)]
            if not files:
                raise CaseError(
                    f"{case.file}: nothing says which DICOM series it belongs to",
                    hint="give the folder with the scan's series: --source FOLDER",
                )
            return _grids(sort_dicom_files(files).series)
        if self._below is None:
            found = sort_dicom_files([self.folder]) if self.folder.is_file() else find_series(self.folder)
            self._below = _grids(found.series)
        return self._below


def _grids(series: Sequence[Series]) -> list[tuple[Series, Geometry | GeometryError]]:
    found: list[tuple[Series, Geometry | GeometryError]] = []
    for one in series:
        try:
            found.append((one, series_geometry(one)))
        except GeometryError as error:
            found.append((one, error))
    return found


def _fits(geometry: Geometry, grid: Geometry) -> bool:
    return reorient_array(np.broadcast_to(np.uint8(0), geometry.shape), geometry, grid) is not None


def _misfit(
    case: ExportCase, geometry: Geometry, candidates: Sequence[tuple[Series, Geometry | GeometryError]]
) -> GeometryError:
    hint = "give the series that was segmented, as it was: --source"
    if len(candidates) == 1:
        series, grid = candidates[0]
        if isinstance(grid, GeometryError):
            return GeometryError(
                f"{case.file}: cannot refer to {series.folder}: {grid.message}",
                hint="only an even, right-angled series can be referred to",
            )
        return grid_mismatch(grid, geometry, name=str(case.file), image_name=str(series.folder), hint=hint)
    lines = [
        f"\n  {describe_series(series)}: {grid.describe() if isinstance(grid, Geometry) else grid.message}"
        for series, grid in candidates[:_LISTED]
    ]
    more = f"\n  and {len(candidates) - _LISTED} more" if len(candidates) > _LISTED else ""
    return GeometryError(
        f"{case.file}: none of {len(candidates)} series has its grid, {geometry.describe()}:{''.join(lines)}{more}",
        hint=hint,
    )
