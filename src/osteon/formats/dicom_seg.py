"""DICOM SEG objects (PS3.3 A.51): binary, fractional and label maps, as segmentations.

A SEG stores a frame for each segment and slice, and leaves empty ones out. So its slices may be fewer than the image's,
and its frames say in any order where they lie. Fractions become masks at one half: of a probability, or of the part of
a voxel that is filled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, GeometryError, LabelError
from osteon.core.geometry import POSITION_TOLERANCE, Geometry, reorient_like
from osteon.core.labels import Segmentation, Structure, side_of
from osteon.formats.dicom_files import SEGMENTATIONS, element_number, element_text, file_errors, read_dataset
from osteon.formats.dicom_pixels import stored_frames
from osteon.formats.dicom_slices import Slice, slices_of
from osteon.formats.dicom_stack import (
    EVEN_TOLERANCE,
    LPS_TO_RAS,
    SAME_POSITION_MM,
    UNKNOWN_STEP,
    affine_ras,
    picture_geometry,
)
from osteon.formats.dicom_structures import PartialMask, compose_segmentation, name_structures
from osteon.formats.header_limits import check_memory

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

THRESHOLD = 0.5
"""From this fraction on, a voxel belongs to the segment."""
_SIDES: dict[str, Literal["left", "right"]] = {
    "7771000": "left",
    "24028007": "right",
    "G-A101": "left",
    "G-A100": "right",
}
"""Codes of laterality, SNOMED CT and SRT (PS3.16, CID 244)."""


def read_dicom_seg(path: Path, geometry: Geometry | None = None) -> Segmentation:
    """Read a DICOM SEG: an index map, or multi-hot where segments overlap.

    Args:
        path: The file.
        geometry: The image's grid, onto which the segmentation is laid: its slices must lie on slices of the image.
            None takes the segmentation's own grid, from its first to its last slice.

    Raises:
        FileError: The file is missing, truncated, damaged, or no DICOM SEG.
        GeometryError: Its slices do not lie on the image's grid.
        LabelError: It holds no segment, or values that are none.
    """
    path = Path(path)
    dataset = _open(path, pixels=True)
    slices = slices_of(dataset, path)
    structures, segments = _structures(dataset, path)
    frames = stored_frames(dataset, path)[..., 0]
    own, places = _grid(dataset, slices, geometry, path)
    check_memory(path, int(np.prod(own.shape, dtype=float)) * (len(structures) + 1))
    parts = []
    with file_errors(path, "its frames are damaged"):
        for n, place in enumerate(places):
            where = (slice(None), slice(None), slice(place, place + 1))
            for segment, mask in _masks(dataset, frames[n], n, segments, path):
                parts.append(PartialMask(segments.index(segment), where, mask.T[:, :, None]))
    found = compose_segmentation(parts, structures, own, path)
    return found if geometry is None else _place_on_grid(found, geometry, placed=slices[0].has_position, path=path)


def read_dicom_seg_geometry(path: Path) -> Geometry:
    """The segmentation's own grid, without its voxels. Raises FileError and GeometryError as `read_dicom_seg`."""
    path = Path(path)
    dataset = _open(path, pixels=False)
    return _grid(dataset, slices_of(dataset, path), None, path)[0]


def read_dicom_seg_structures(path: Path) -> tuple[Structure, ...]:
    """The segments that the header names. Raises FileError and LabelError as `read_dicom_seg`."""
    return _structures(_open(Path(path), pixels=False), Path(path))[0]


def is_dicom_seg(path: Path) -> bool:
    """Whether a DICOM file is a SEG. Raises FileError where it cannot be read."""
    return str(read_dataset(Path(path), pixels=False).SOPClassUID) in SEGMENTATIONS


def _open(path: Path, *, pixels: bool) -> Dataset:
    dataset = read_dataset(path, pixels=pixels)
    if str(dataset.SOPClassUID) not in SEGMENTATIONS:
        raise FileError(f"{path}: no DICOM SEG", hint="give the file with the segmentation")
    with file_errors(path, "its header is damaged"):
        tiled = (
            element_text(dataset, "DimensionOrganizationType").startswith("TILED")
            or "TotalPixelMatrixColumns" in dataset
        )
    if tiled:
        raise FileError(f"{path}: a segmentation of a tiled slide", hint="osteon reads scans and radiographs")
    return dataset


def _structures(dataset: Dataset, path: Path) -> tuple[tuple[Structure, ...], list[int]]:
    """The segments as structures, and their numbers in the file."""
    with file_errors(path, "its segments are damaged"):
        items = dataset.get("SegmentSequence") or []
        items = [item for item in items if int(item.SegmentNumber) > 0]  # a label map may name its background
        numbers = [int(item.SegmentNumber) for item in items]
        if len(set(numbers)) < len(numbers):
            raise ValueError("two segments have one number")
        return name_structures([_name(item) for item in items], numbers, [_colour(item) for item in items]), numbers


def _name(item: Any) -> str:
    """The segment's name, with its side where only codes say it."""
    name = element_text(item, "SegmentLabel")
    codes = list(item.get("SegmentedPropertyTypeModifierCodeSequence") or [])
    for region in item.get("AnatomicRegionSequence") or []:
        codes += list(region.get("AnatomicRegionModifierSequence") or [])
    sides = {_SIDES[element_text(code, "CodeValue")] for code in codes if element_text(code, "CodeValue") in _SIDES}
    side_in_name = re.search(r"\b(left|right)\b", name, re.IGNORECASE) or side_of(name)[0]
    if len(sides) == 1 and not side_in_name:
        name = f"{name} {sides.pop()}".strip()
    return name


def _colour(item: Any) -> str | None:
    """`#rrggbb` of DICOM's CIELab in 16 bits (PS3.3 C.10.7.1.1); what no screen shows is clipped."""
    lab = [int(part) for part in item.get("RecommendedDisplayCIELabValue") or []]
    if len(lab) != 3:
        return None
    from highdicom.color import CIELabColor  # a third of a second, and only of segments that have colours

    return f"#{bytes(CIELabColor.from_dicom_value(lab).to_rgb(clip=True)).hex()}"


def _masks(
    dataset: Dataset, frame: npt.NDArray[Any], n: int, segments: Sequence[int], path: Path
) -> list[tuple[int, npt.NDArray[np.bool_]]]:
    """The segments of a frame, `[row, column]` each."""
    kind = element_text(dataset, "SegmentationType")
    if kind == "LABELMAP":
        values = {int(value) for value in np.unique(frame)} - {0}
        if "PixelPaddingValue" in dataset:
            values.discard(int(dataset.PixelPaddingValue))
        if strange := sorted(values - set(segments)):
            raise LabelError(
                f"{path}: holds labels that no segment has: {strange[:10]}", hint="save the segmentation again"
            )
        return [(value, frame == value) for value in sorted(values)]
    groups = [dataset.PerFrameFunctionalGroupsSequence[n], (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]]
    identified = [
        group["SegmentIdentificationSequence"][0] for group in groups if "SegmentIdentificationSequence" in group
    ]
    segment = int(identified[0].ReferencedSegmentNumber)
    if segment not in segments:
        raise ValueError(f"a frame of segment {segment}, which does not exist")
    if kind == "BINARY":
        return [(segment, frame > 0)]
    if kind == "FRACTIONAL":
        return [(segment, frame >= THRESHOLD * float(dataset.MaximumFractionalValue))]
    raise ValueError(f"a segmentation of type {kind or 'unknown'}")


def _grid(
    dataset: Dataset, slices: Sequence[Slice], geometry: Geometry | None, path: Path
) -> tuple[Geometry, list[int]]:
    """The segmentation's own grid, and the slice in it of each frame."""
    first = slices[0]
    if not any(slice_.has_position for slice_ in slices):
        return picture_geometry(first), [0] * len(slices)
    if not all(slice_.has_position and slice_.spacing == first.spacing for slice_ in slices) or first.spacing is None:
        raise GeometryError(f"{path}: its frames do not give their position", hint="save the segmentation again")
    frames = np.array([slice_.orientation for slice_ in slices], dtype=np.float64)
    row, column = frames[0, :3], frames[0, 3:]
    places = np.array([slice_.position for slice_ in slices], dtype=np.float64)
    lowest = int(np.argmin(places @ np.cross(row, column)))
    away = places - places[lowest]
    depth = away @ np.cross(row, column)
    beside = np.abs(np.stack([away @ row, away @ column])).max()
    if np.abs(frames - frames[0]).max() > 1e-3 or beside > POSITION_TOLERANCE * min(first.spacing):
        raise GeometryError(
            f"{path}: its frames do not lie over each other: they are shifted by up to {beside:.3g} mm or turned",
            hint="save the segmentation again on the grid of its image",
        )
    step = _step(dataset, depth, first, geometry, path)
    number_of = np.rint(depth / step).astype(int)
    between_rows, between_columns = first.spacing
    affine = affine_ras(places[lowest].tolist(), row, column, (between_columns, between_rows, step))
    return Geometry((first.columns, first.rows, int(number_of.max()) + 1), affine), number_of.tolist()


def _step(
    dataset: Dataset, depth: npt.NDArray[np.float64], first: Slice, geometry: Geometry | None, path: Path
) -> float:
    """Distance between slices: that of the image, the one that the file gives, or the smallest there is.

    Here SpacingBetweenSlices may be believed: it belongs to a grid, and it is taken only where all frames lie on it.
    """
    spacing = first.spacing or (1.0, 1.0)
    distinct = np.diff(np.sort(depth))
    distinct = distinct[distinct > SAME_POSITION_MM * min(spacing)]
    candidates = []
    if geometry is not None:
        frame = np.array(first.orientation)
        normal = LPS_TO_RAS[:3, :3] @ np.cross(frame[:3], frame[3:])
        candidates.append(geometry.spacing_mm[int(np.argmax(np.abs(geometry.directions.T @ normal)))])
    with file_errors(path, "its header is damaged"):
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        for measures in shared.get("PixelMeasuresSequence") or []:
            candidates.append(element_number(measures, "SpacingBetweenSlices") or 0.0)
    candidates += [float(distinct.min())] if len(distinct) else [UNKNOWN_STEP]
    for step in candidates:
        if step > 0 and (np.abs(depth / step - np.rint(depth / step)) <= EVEN_TOLERANCE).all():
            return float(step)
    raise GeometryError(
        f"{path}: its slices lie at uneven distances, {distinct.min():.4g} to {distinct.max():.4g} mm",
        hint="save the segmentation again on an even grid",
    )


def _place_on_grid(found: Segmentation, geometry: Geometry, *, placed: bool, path: Path) -> Segmentation:
    """The segmentation on the image's grid, of which its own must be a part."""
    own = found.geometry
    if not placed:
        if own.shape != geometry.shape:
            raise _misfit(path, own, geometry)
        return Segmentation(found.array, geometry, found.structures)
    turn = reorient_like(own, geometry)
    array, turned = turn.apply(found.array), turn.geometry(own)
    matrix = np.linalg.solve(geometry.affine_ras, turned.affine_ras)
    offset = np.rint(matrix[:3, 3]).astype(int)
    corners = np.array(list(product(*((0, n - 1) for n in turned.shape))))
    off = np.abs(corners @ (matrix[:3, :3] - np.eye(3)).T + matrix[:3, 3] - offset).max(axis=0) > POSITION_TOLERANCE
    if geometry.unit != own.unit or off.any():
        between = ""
        if np.count_nonzero(off) == 1 and np.argmax(off) == turn.order.index(2):  # in the plane it fits
            step, depth = geometry.spacing_mm[int(np.argmax(off))], matrix[int(np.argmax(off)), 3]
            between = (
                f" its slices lie {own.spacing_mm[2]:.4g} mm apart and the image's {step:.4g} mm, the first of them "
                f"{abs(depth - np.rint(depth)) * step:.3g} mm from the nearest slice of the image;"
            )
        raise _misfit(path, own, geometry, between)
    low = np.maximum(offset, 0)
    high = np.maximum(np.minimum(offset + turned.shape, geometry.shape), low)
    lead = (slice(None),) * (array.ndim - 3)
    inside = array[(*lead, *(slice(a, b) for a, b in zip(low - offset, high - offset, strict=True)))]
    lost = int(np.count_nonzero(array)) - int(np.count_nonzero(inside))
    if lost:
        raise GeometryError(
            f"{path}: {lost} of its voxels lie outside the image ({own.describe()}, in {geometry.describe()})",
            hint="give the series on which it was drawn",
        )
    laid = np.zeros((*array.shape[: array.ndim - 3], *geometry.shape), array.dtype)
    laid[(*lead, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = inside
    return Segmentation(laid, geometry, found.structures)


def _misfit(path: Path, own: Geometry, geometry: Geometry, between: str = "") -> GeometryError:
    return GeometryError(
        f"{path}: does not lie on the image's grid:{between} {own.describe()}, in {geometry.describe()}",
        hint="give the series on which it was drawn",
    )
