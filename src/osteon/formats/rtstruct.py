"""RTSTRUCT: contours of regions, filled onto an image's grid.

A voxel belongs to a region when its centre lies inside (PS3.3 C.8.8.6): in each slice, a centre is inside when a ray
from it crosses the region's contours an odd number of times. So a contour within another is a hole, and a hole that is
joined to the outer contour by a slit (keyhole) is one too. Crossings are computed, not sampled: no resolution limits
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, GeometryError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.formats.dicom_files import read_dataset, reading, text
from osteon.formats.dicom_references import references
from osteon.formats.dicom_stack import LPS_TO_RAS
from osteon.formats.dicom_structures import Part, compose, name_structures

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Points = npt.NDArray[np.float64]

_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_OFF_PLANE = 0.2
"""How far a contour may lie from its slice, in parts of the distance between slices: contours are rounded to 0.1 mm."""
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "")


def read_rtstruct(path: Path, geometry: Geometry, *, frame_of_reference: str | None = None) -> Segmentation:
    """Read contours as a segmentation on the image's grid: an index map, or multi-hot where regions overlap.

    Regions without closed contours (points, such as the isocentre) are left out.

    Args:
        path: The file.
        geometry: The image's grid: contours must lie in its slices. What sticks out of them sideways is cut off.
        frame_of_reference: FrameOfReferenceUID of the image; one that differs from the contours' is refused. None
            trusts the caller.

    Raises:
        FileError: The file is missing, truncated, damaged, or no RTSTRUCT.
        GeometryError: Contours do not lie in the image's slices, or belong to another frame of reference.
        LabelError: It holds no closed contour.
    """
    path = Path(path)
    dataset = read_dataset(path, pixels=True)
    if str(dataset.SOPClassUID) != _STORAGE:
        raise FileError(f"{path}: no RTSTRUCT", hint="give the file with the contours")
    if geometry.unit != "mm":
        raise GeometryError(f"{path}: contours in mm on an image in {geometry.unit}", hint="give the image's spacing")
    frames = references(path).frames if frame_of_reference else frozenset()
    if frames and frame_of_reference not in frames:
        raise GeometryError(
            f"{path}: its contours belong to another frame of reference than the image",
            hint="give the series on which they were drawn",
        )
    with reading(path, "its contours are damaged"):
        regions = _regions(dataset)
    points = [contour for _, _, _, contours in regions for contour in contours]
    to_index: Points = np.asarray(np.linalg.inv(geometry.affine_ras) @ LPS_TO_RAS, dtype=np.float64)
    axis = _slice_axis([_turned(contour, to_index) for contour in points])
    parts = []
    for n, (_, name, _, contours) in enumerate(regions):
        where = f"{path}: {name or 'a region without name'}"
        indexed = [_turned(contour, to_index) for contour in contours]
        for place, flat in _by_slice(indexed, axis, geometry, where).items():
            sides = np.delete(geometry.shape, axis)
            low, high = (ends.astype(int) for ends in _ends(flat, sides))
            mask = fill([contour - low for contour in flat], (high[0] - low[0], high[1] - low[1]))
            slots = [slice(a, b) for a, b in zip(low, high, strict=True)]
            slots.insert(axis, slice(place, place + 1))
            parts.append(Part(n, (slots[0], slots[1], slots[2]), np.expand_dims(mask, axis)))
    numbers = [number for number, _, _, _ in regions]
    structures = name_structures([r[1] for r in regions], numbers, [r[2] for r in regions]) if regions else ()
    return compose(parts, structures, geometry, path)


def fill(contours: Sequence[Points], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels whose centres lie inside an odd number of closed contours.

    Centres lie at whole numbers. One that lies exactly on a contour belongs to the side of larger indices, so that
    regions that touch share no pixel and leave none out.

    Args:
        contours: Each `[n, 2]`, in pixels.
        shape: Of the picture.
    """
    toggles = np.zeros((shape[0] + 1, shape[1]), np.bool_)
    for contour in contours:
        ends = np.stack([contour, np.roll(contour, -1, axis=0)], axis=1)
        # From below to above: an edge that two regions share is computed in the same way for both.
        ends = np.take_along_axis(ends, np.argsort(ends[:, :, 1], axis=1, kind="stable")[:, :, None], axis=1)
        (x0, y0), (x1, y1) = ends[:, 0].T, ends[:, 1].T
        first = np.ceil(np.clip(y0, 0, shape[1])).astype(int)
        count = np.maximum(np.ceil(np.clip(y1, 0, shape[1])).astype(int) - first, 0)
        edge = np.repeat(np.arange(len(contour)), count)
        line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        x = x0[edge] + (line - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
        np.logical_xor.at(toggles, (np.ceil(np.clip(x, 0, shape[0])).astype(int), line), True)
    inside: npt.NDArray[np.bool_] = np.logical_xor.accumulate(toggles, axis=0)[:-1]
    return inside


def _regions(dataset: Dataset) -> list[tuple[int, str, str | None, list[Points]]]:
    """Number, name, colour and closed contours (LPS mm) of each region that has some."""
    names = {int(roi.ROINumber): text(roi, "ROIName") for roi in dataset.get("StructureSetROISequence") or []}
    found = []
    for item in dataset.get("ROIContourSequence") or []:
        contours: list[Points] = []
        for contour in item.get("ContourSequence") or []:
            points = _points(contour)
            # Some programs write a contour twice; odd and even would cancel it.
            if len(points) > 2 and not any(np.array_equal(points, other) for other in contours):
                contours.append(points)
        number = int(item.ReferencedROINumber)
        if contours:
            found.append((number, names.get(number, ""), _colour(item), contours))
    return sorted(found, key=lambda region: region[0])


def _points(contour: Any) -> Points:
    if text(contour, "ContourGeometricType") not in _CLOSED:
        return np.zeros((0, 3))
    values = np.array([float(value) for value in contour.get("ContourData") or []])
    if len(values) % 3 or not np.isfinite(values).all():
        raise ValueError(f"a contour of {len(values)} numbers, not all of them coordinates")
    return values.reshape(-1, 3)


def _colour(item: Any) -> str | None:
    parts = [int(part) for part in item.get("ROIDisplayColor") or []]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        return None
    return "#" + "".join(f"{part:02x}" for part in parts)


def _ends(contours: Sequence[Points], sides: npt.NDArray[np.integer]) -> Points:
    """The part of a slice that contours reach, `[2, 2]`: first pixel, last pixel + 1."""
    every = np.concatenate(contours)
    ends: Points = np.clip([np.floor(every.min(axis=0)), np.ceil(every.max(axis=0)) + 1], 0, sides)
    return ends


def _turned(points: Points, matrix: Points) -> Points:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _slice_axis(contours: Sequence[Points]) -> int:
    """The index axis along which contours are flat; k where several would do."""
    spans = np.array([np.ptp(contour, axis=0) for contour in contours]).reshape(-1, 3)
    flat = [axis for axis in (2, 1, 0) if (spans[:, axis] <= 2 * _OFF_PLANE).all()]
    return flat[0] if flat else 2


def _by_slice(contours: Sequence[Points], axis: int, geometry: Geometry, where: str) -> dict[int, list[Points]]:
    """Contours as `[n, 2]` in the plane of their slice, by the slice's number."""
    hint = "give the series on which the contours were drawn, whole and not resampled"
    step = geometry.spacing_mm[axis]
    others = [a for a in range(3) if a != axis]
    sides = np.array(geometry.shape)[others]
    found: dict[int, list[Points]] = {}
    for contour in contours:
        along = contour[:, axis]
        place = round(float(np.clip(along.mean(), -1e9, 1e9)))
        off = float(np.abs(along - place).max())
        if off > _OFF_PLANE:
            raise GeometryError(
                f"{where}: a contour lies up to {off * step:.3g} mm from the nearest slice, {step:.3g} mm lie between "
                "slices",
                hint=hint,
            )
        flat = contour[:, others]
        beside = (flat.max(axis=0) < -0.5) | (flat.min(axis=0) > sides - 0.5)
        if not 0 <= place < geometry.shape[axis] or beside.any():
            raise GeometryError(
                f"{where}: a contour lies outside the image, in slice {place + 1} of {geometry.shape[axis]}"
                f"{' and beside it' if beside.any() else ''}",
                hint=hint,
            )
        found.setdefault(place, []).append(flat)
    return found
