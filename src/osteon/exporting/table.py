"""Volumes and dimensions of every structure of every case, as a CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.files import atomic_write
from osteon.core.spreadsheets import tabulate, write_rows
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, OutputFile
from osteon.exporting.masks import CONNECTIVITY, CroppedMask, crop_masks

FILE_NAME = "volumes.csv"
COLUMNS = (
    "case",
    "structure",
    "voxels",
    "fragments",
    "volume_cm3",
    "area_mm2",
    "extent_r_mm",
    "extent_a_mm",
    "extent_s_mm",
    "length_mm",
    "width_mm",
    "depth_mm",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
)
_DIGITS = 4
_NOTHING = 1e-9
"""Millimetres: a length along an axis that has none."""

Row = dict[str, Any]


def measure_mask(cut: CroppedMask) -> Row:
    """What a structure measures; millimetres stay empty where it is not there, and for pictures measured in pixels.

    A picture, one voxel thin, has an area and no volume, and no length along its thin axis: nobody measured that.

    - `extent_*`: along the world's axes, from the outer face of the first voxel to that of the last.
    - `length`, `width`, `depth`: likewise along the principal axes of its voxels (eigenvectors of the covariance), the
      longest first. Where axes are of one length, as in a sphere, their direction is arbitrary.
    - `centroid_*`: the mean of the voxels' centres, RAS.
    - `fragments`: pieces whose voxels share a face or an edge.
    """
    row: Row = {"voxels": int(np.count_nonzero(cut.mask)), "fragments": int(ndimage.label(cut.mask, CONNECTIVITY)[1])}
    if not row["voxels"] or cut.geometry.unit != "mm":
        return row
    matrix = cut.geometry.affine_ras[:3, :3].copy()
    if cut.thin:
        matrix[:, cut.thin] = 0
        if len(cut.thin) == 1:
            one, other = np.delete(matrix, cut.thin, axis=1).T
            row["area_mm2"] = row["voxels"] * float(np.linalg.norm(np.cross(one, other)))
    else:
        row["volume_cm3"] = row["voxels"] * cut.geometry.voxel_volume_mm3 / 1000
    places = np.argwhere(cut.mask)
    covariance = matrix @ (np.cov(places.T, bias=True) + np.eye(3) / 12) @ matrix.T  # 1/12: of a voxel itself
    principal = np.linalg.eigh(covariance)[1]
    lengths = sorted(_extents(places, matrix, principal), reverse=True)
    centroid = cut.geometry.to_world(places.mean(axis=0, keepdims=True))[0]
    for name, value in zip("ras", _extents(places, matrix, np.eye(3)), strict=True):
        row[f"extent_{name}_mm"] = value
    row.update(zip(("length_mm", "width_mm", "depth_mm"), lengths, strict=True))
    row = {name: value for name, value in row.items() if value > _NOTHING}
    row.update(zip(("centroid_r_mm", "centroid_a_mm", "centroid_s_mm"), centroid.tolist(), strict=True))
    return row


def _extents(
    places: npt.NDArray[np.integer], matrix: npt.NDArray[np.float64], axes: npt.NDArray[np.float64]
) -> list[float]:
    """Millimetres from face to face along each column of `axes`."""
    along = axes.T @ matrix
    return [float(np.ptp(places @ way) + np.abs(way).sum()) for way in along]


class TableExport(Exporter):
    """The export in progress."""

    def case(self, case: ExportCase) -> ExportedCase:
        """Measure a case's structures, and each numbered piece by itself.

        One that nobody looked for has no row; one that is not there has 0 voxels.
        """
        segmentation, wholes = case.load_split()
        known = case.annotated
        rows = [
            {"case": case.id, "structure": cut.structure.name, **measure_mask(cut)}
            for cut, whole in zip(crop_masks(segmentation), wholes, strict=True)
            if known is None or whole.name in known
        ]
        return ExportedCase((), rows)

    def finish(self, rows: Sequence[Any]) -> ExportedCase:
        """The one file."""
        every = [row for of_case in rows for row in of_case]
        return ExportedCase([OutputFile(Path(FILE_NAME), partial(_write, rows=every))])


def _write(path: Path, rows: Iterable[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        rounded = ({k: round(v, _DIGITS) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
        write_rows(stream, tabulate(rounded, COLUMNS))


FORM = ExportForm(
    "table", "volumes and dimensions of every structure and case (CSV)", lambda *_: TableExport(), once=(FILE_NAME,)
)
