"""Labels that lie on a part of an image's lattice: cropped to a box, or larger than the image.

Programs crop what they save: 3D Slicer writes the box that its segments fill, others a region that was drawn in. Such a
box has the image's voxels, and a whole number of them between its corner and the image's. Then nothing is resampled:
the labels are laid where they lie, and outside the box nothing is labelled. A label that has the image's size and lies
beside it has a wrong header, and so has, as far as anybody can tell, a box that sticks out of the image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, Index3
from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry, offset_on, reorient_like
from osteon.core.labels import Segmentation
from osteon.dataset.checks import align_segmentation, grid_mismatch


def place_segmentation(
    segmentation: Segmentation, geometry: Geometry, *, name: str, image_name: str, hint: str = ""
) -> tuple[Segmentation, str]:
    """The segmentation on the image's grid, and what was done where it is that of a part of it; nothing is resampled.

    Args:
        segmentation: Labels on the image's lattice, the axes in any order and direction.
        geometry: The image's grid.
        name: The label file, for messages.
        image_name: The image file, for messages.
        hint: The way out; as `grid_mismatch` says it where empty.

    Raises:
        GeometryError: The labels lie on other voxels, or some of them outside the image; the message shows both grids.
    """
    turn = reorient_like(segmentation.geometry, geometry)
    label_grid = turn.geometry(segmentation.geometry)
    offset = None if label_grid.shape == geometry.shape else offset_on(geometry, label_grid)
    place = None if offset is None else _overlap(offset, label_grid, geometry)
    if offset is None or place is None:
        aligned = align_segmentation(segmentation, geometry, name=name, image_name=image_name, hint=hint)
        return aligned, ""
    labels: npt.NDArray[np.integer] = turn.apply(segmentation.array)
    there, here = place
    inside = labels[(..., *here.slices)]
    marked = int(np.count_nonzero(labels))
    if outside := marked - int(np.count_nonzero(inside)):
        error = grid_mismatch(geometry, label_grid, name=name, image_name=image_name, hint=hint)
        what = f"its voxels are the image's, but {outside} of its {marked} labelled voxels lie outside the image"
        raise GeometryError(f"{error.message}\n  {what}", hint=error.hint)
    placed = np.zeros((*labels.shape[:-3], *geometry.shape), dtype=labels.dtype)
    placed[(..., *there.slices)] = inside
    return Segmentation(placed, geometry, segmentation.structures), _describe_box(label_grid, geometry, offset)


def lies_within(geometry: Geometry, other: Geometry) -> bool:
    """Whether `other`, its axes turned, is a box of the voxels of `geometry`."""
    turned = reorient_like(other, geometry).geometry(other)
    offset = offset_on(geometry, turned)
    place = None if offset is None else _overlap(offset, turned, geometry)
    return place is not None and place[0].shape == turned.shape


def common_grid(one: Geometry, other: Geometry) -> Geometry | None:
    """The smallest grid on which both lie as boxes, with the axes of `one`.

    None where they share no voxel, or have one size and lie beside each other.
    """
    turned = reorient_like(other, one).geometry(other)
    if one.is_close(turned):
        return one
    offset = None if turned.shape == one.shape else offset_on(one, turned)
    if offset is None:
        return None
    i, j, k = (at + n for at, n in zip(offset, turned.shape, strict=True))
    here, there = Box((0, 0, 0), one.shape), Box(offset, (i, j, k))
    return one.crop(here.union(there)) if here.intersects(there) else None


def _overlap(offset: Index3, label_grid: Geometry, geometry: Geometry) -> tuple[Box, Box] | None:
    """The voxels that both have, in `geometry` and in `label_grid`; None where neither lies within the other."""
    shapes = list(zip(offset, label_grid.shape, geometry.shape, strict=True))
    within = all(at >= 0 and at + n <= m for at, n, m in shapes)
    around = all(at <= 0 and at + n >= m for at, n, m in shapes)
    i, j, k = (at + n for at, n, _ in shapes)
    if within:
        return Box(offset, (i, j, k)), Box((0, 0, 0), label_grid.shape)
    a, b, c = (-at for at in offset)
    x, y, z = geometry.shape
    return (Box((0, 0, 0), geometry.shape), Box((a, b, c), (a + x, b + y, c + z))) if around else None


def _describe_box(label_grid: Geometry, geometry: Geometry, offset: Index3) -> str:
    boxes = f"{'×'.join(map(str, label_grid.shape))} voxels laid onto the image's {'×'.join(map(str, geometry.shape))}"
    return f"a box of {boxes} from voxel {', '.join(map(str, offset))} on; outside it nothing is labelled"
