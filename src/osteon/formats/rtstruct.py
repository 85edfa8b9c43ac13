"""RTSTRUCT: contours of regions, filled onto an image's grid.

A voxel belongs to a region when its centre lies inside (PS3.3 C.8.8.6). In each slice contours are united; one that
lies wholly within another is a hole, and so is what a slit joins to the outer contour (keyhole). Contours of the type
CLOSEDPLANAR_XOR are combined as it says: inside is what an odd number of them encloses. Where contours cross the lines
of pixels is computed, not sampled: no resolution limits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, GeometryError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.text import pluralise
from osteon.formats.dicom_files import STRUCTURE_SET, element_text, file_errors, read_dataset
from osteon.formats.dicom_stack import LPS_TO_RAS
from osteon.formats.dicom_structures import PartialMask, compose_segmentation, name_structures

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
EPSILON = 1e-12
"""Of a pixel: nearer to its centre is at it."""


def fill_even_odd(contours: Sequence[Points], shape: tuple[int, int]) -> Mask:
    """Pixels whose centres lie inside an odd number of closed contours.

    Centres lie at whole numbers. One that lies exactly on a contour belongs to the side of larger indices, so that
    regions that touch share no pixel and leave none out.

    Args:
        contours: Each `[n, 2]`, in pixels.
        shape: Of the picture.
    """
    toggles = np.zeros((shape[0] + 1, shape[1]), np.bool_)
    for contour in contours:
        contour = np.where(np.abs(contour) < EPSILON, 0, contour)  # the slope between two of these may be no number
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
    inside: Mask = np.logical_xor.accumulate(toggles, axis=0)[:-1]
    return inside


def fill_nested(contours: Sequence[Points], shape: tuple[int, int]) -> tuple[Mask, int]:
    """Pixels of a region: contours are united, and one that lies wholly within another is a hole in it.

    A contour within a hole is an island, one within that a hole again. Within means that no pixel lies outside, so that
    a hole may touch the edge. Of contours with the same pixels one counts: some programs write them twice.

    Args:
        contours: Each `[n, 2]`, in pixels. Of one alone the crossings are counted, as in `fill_even_odd`: a hole that a
            slit joins to the outer contour (keyhole) stays one.
        shape: Of the picture.

    Returns:
        The pixels, and how many pairs of contours overlap partly.
    """
    if len(contours) == 1:
        return fill_even_odd(contours, shape), 0
    masks = [fill_even_odd([contour], shape) for contour in contours]
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    ends = [(contour.min(axis=0), contour.max(axis=0)) for contour in contours]
    kept: list[int] = []
    around: dict[int, list[int]] = {}
    partly = 0
    for n in sorted(range(len(masks)), key=lambda n: -sizes[n]):
        near = [m for m in kept if (ends[m][0] <= ends[n][1]).all() and (ends[n][0] <= ends[m][1]).all()]
        shared = {m: int(np.count_nonzero(masks[m] & masks[n])) for m in near}
        if sizes[n] == 0 or any(shared[m] == sizes[n] == sizes[m] for m in near):
            continue
        partly += sum(0 < shared[m] < sizes[n] for m in near)
        around[n] = [m for m in near if shared[m] == sizes[n]]
        kept.append(n)
    depth: dict[int, int] = {}
    for n in kept:  # the largest first, so that the last one around it is the next one outwards
        depth[n] = depth[around[n][-1]] + 1 if around[n] else 0
    region = np.zeros(shape, np.bool_)
    for n in (n for n in kept if depth[n] % 2 == 0):
        own = masks[n].copy()
        for hole in (m for m in kept if depth[m] % 2 and n in around[m]):
            own &= ~masks[hole]
        region |= own
    return region, partly


_OFF_PLANE = 0.2
"""How far a contour may lie from its slice, in parts of the distance between slices: contours are rounded to 0.1 mm."""
_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _XOR, "")


@dataclass
class _Region:
    """A region of the file that has closed contours.

    Attributes:
        number: ROINumber.
        name: ROIName; empty where it has none.
        colour: `#rrggbb`; None where it has none.
        contours: `[n, 3]` each, LPS mm.
        crossing: Whether its contours are of the type CLOSEDPLANAR_XOR.
    """

    number: int
    name: str
    colour: str | None
    contours: list[Points] = field(default_factory=list)
    crossing: bool = False


def read_rtstruct(path: Path, geometry: Geometry, *, notes: list[str] | None = None) -> Segmentation:
    """Read contours as a segmentation on the image's grid: an index map, or multi-hot where regions overlap.

    Regions without closed contours (points, such as the isocentre) are left out.

    Args:
        path: The file.
        geometry: The image's grid: contours must lie in its slices. What sticks out of them sideways is cut off.
        notes: Is given sentences on what in the contours is worth a look.

    Raises:
        FileError: The file is missing, truncated, damaged, or no RTSTRUCT.
        GeometryError: Contours do not lie in the image's slices.
        LabelError: It holds no closed contour.
    """
    path = Path(path)
    dataset = read_dataset(path, pixels=True)
    if str(dataset.SOPClassUID) != STRUCTURE_SET:
        raise FileError(f"{path}: no RTSTRUCT", hint="give the file with the contours")
    if geometry.unit != "mm":
        raise GeometryError(f"{path}: contours in mm on an image in {geometry.unit}", hint="give the image's spacing")
    with file_errors(path, "its contours are damaged"):
        regions = _regions(dataset)
    points = [contour for region in regions for contour in region.contours]
    to_index: Points = np.asarray(np.linalg.inv(geometry.affine_ras) @ LPS_TO_RAS, dtype=np.float64)
    axis = _slice_axis([_rotate(contour, to_index) for contour in points])
    parts = []
    for n, region in enumerate(regions):
        where = f"{path}: {region.name or 'a region without name'}"
        indexed = [_rotate(contour, to_index) for contour in region.contours]
        partly = []
        for place, flat in _by_slice(indexed, axis, geometry, where).items():
            sides = np.delete(geometry.shape, axis)
            low, high = (ends.astype(int) for ends in _ends(flat, sides))
            drawn, shape = [contour - low for contour in flat], (high[0] - low[0], high[1] - low[1])
            mask, pairs = (fill_even_odd(drawn, shape), 0) if region.crossing else fill_nested(drawn, shape)
            partly += [place] if pairs else []
            slots = [slice(a, b) for a, b in zip(low, high, strict=True)]
            slots.insert(axis, slice(place, place + 1))
            parts.append(PartialMask(n, (slots[0], slots[1], slots[2]), np.expand_dims(mask, axis)))
        if partly and notes is not None:
            notes.append(
                f"{region.name or 'a region without name'}: contours overlap partly in "
                f"{pluralise(len(partly), 'slice')}, the first of them slice {min(partly) + 1}; they were united"
            )
    numbers, names = [region.number for region in regions], [region.name for region in regions]
    structures = name_structures(names, numbers, [region.colour for region in regions]) if regions else ()
    return compose_segmentation(parts, structures, geometry, path)


def _regions(dataset: Dataset) -> list[_Region]:
    """The regions that have closed contours, by their number."""
    names = {int(roi.ROINumber): element_text(roi, "ROIName") for roi in dataset.get("StructureSetROISequence") or []}
    found = []
    for item in dataset.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        region = _Region(number, names.get(number, ""), _colour(item))
        for contour in item.get("ContourSequence") or []:
            points = _points(contour)
            # Some programs write a contour twice; odd and even would cancel it.
            if len(points) > 2 and not any(np.array_equal(points, other) for other in region.contours):
                region.contours.append(points)
                region.crossing |= element_text(contour, "ContourGeometricType") == _XOR
        found += [region] if region.contours else []
    return sorted(found, key=lambda region: region.number)


def _points(contour: Any) -> Points:
    if element_text(contour, "ContourGeometricType") not in _CLOSED:
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


def _rotate(points: Points, matrix: Points) -> Points:
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
