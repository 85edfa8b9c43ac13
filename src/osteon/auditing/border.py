"""How the image looks across the border of each structure, where the label lies and where it might lie instead.

Intensities are read along the outward normals of a structure's surface, as active shape models do (Cootes et al.,
Computer Vision and Image Understanding 61, 1995), and averaged over the six directions of the axes. The same is done
with the label moved along each axis and mirrored: where one of these resembles the other cases' borders more than the
label's own place does, the label has been moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.auditing.coarse_grid import CoarseCase

Floats = npt.NDArray[np.float64]

STEPS = 6
"""A label is moved by at most this many steps along each axis."""
DEPTHS = np.arange(-3, 4)
"""Where on the normal intensities are read, in steps; negative is inside."""
MIN_POINTS = 10
"""Border points that a mean needs."""
MAX_POINTS = 20_000
"""Border points of all structures together that are used, spread evenly over each."""


@dataclass(frozen=True)
class LabelMove:
    """A label moved by `steps` along an axis (0 R, 1 A, 2 S), or mirrored in the middle of the image."""

    axis: int
    steps: int = 0
    mirrored: bool = False


MOVES = (
    *(LabelMove(axis, steps) for axis in range(3) for steps in range(-STEPS, STEPS + 1)),
    *(LabelMove(axis, mirrored=True) for axis in range(3)),
)


@dataclass(frozen=True, eq=False)
class BorderPoints:
    """Border points of a structure.

    Attributes:
        points: `[n, 3]` positions on the image's own grid, in voxels.
        normals: `[n, 3]` unit vectors outwards, in the world's unit.
    """

    points: Floats
    normals: Floats


def find_border(coarse: CoarseCase, mask: npt.NDArray[np.bool_]) -> BorderPoints:
    """The border of a mask on the coarse grid; none where the image's edge cuts the structure."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return BorderPoints(np.zeros((0, 3)), np.zeros((0, 3)))
    first = [max(0, part.start - 3) for part in box[0]]
    crop = mask[tuple(slice(f, part.stop + 3) for f, part in zip(first, box[0], strict=True))]
    thin = [axis for axis, size in enumerate(mask.shape) if size == 1]
    around = ndimage.generate_binary_structure(3, 1)
    for axis in thin:  # a picture has borders in its plane alone
        np.moveaxis(around, axis, 0)[[0, 2]] = False
    rim = crop & ~ndimage.binary_erosion(crop, around, border_value=1)
    soft = ndimage.gaussian_filter(crop.astype(np.float32), [0.0 if axis in thin else 1.0 for axis in range(3)])
    where = np.argwhere(rim)
    normals = np.zeros((len(where), 3))
    for axis in range(3):
        if axis not in thin and crop.shape[axis] > 1:
            normals[:, axis] = -np.gradient(soft, axis=axis)[rim] / (coarse.edges[axis] * coarse.strides[axis])
    length = np.linalg.norm(normals, axis=1)
    good = length > 1e-6
    return BorderPoints(coarse.to_fine((where[good] + first).astype(np.float64)), normals[good] / length[good, None])


def border_profiles(coarse: CoarseCase) -> npt.NDArray[np.float16]:
    """Mean intensities across the borders, for each move of the label.

    Returns:
        `[move, structure × direction, depth]`, the image's 2nd percentile being 0 and its 98th 1; NaN where too few
        border points lie in the image. Directions are the nearest of −R, +R, −A, +A, −S, +S.
    """
    low, high = np.percentile(coarse.image, (2, 98))
    image = np.clip((coarse.image - low) / max(float(high - low), 1e-6), -0.2, 1.2).astype(np.float32)
    most = max(200, MAX_POINTS // max(1, len(coarse.structures)))
    result = np.full((len(MOVES), 6 * len(coarse.structures), len(DEPTHS)), np.nan, dtype=np.float16)
    for number, structure in enumerate(coarse.structures):
        whole = find_border(coarse, coarse.mask(structure))
        chosen = np.linspace(0, len(whole.points) - 1, min(most, len(whole.points))).astype(np.int64)
        own = BorderPoints(whole.points[chosen], whole.normals[chosen])
        for row, move in enumerate(MOVES):
            if len(chosen) and image.shape[move.axis] > 1:
                profile = _profile(image, _move(own, move, coarse), coarse)
                result[row, 6 * number : 6 * number + 6] = profile
    return result


def outside_mean(coarse: CoarseCase, mask: npt.NDArray[np.bool_]) -> float | None:
    """Mean intensity one and two steps outside a mask, where no structure is; None where that is nowhere."""
    own = find_border(coarse, mask)
    found = []
    for depth in (1, 2):
        index = np.rint(coarse.to_blocks(own.points + own.normals * depth * coarse.step / coarse.edges)).astype(int)
        index = index[_inside(index, coarse.image.shape)]
        index = index[coarse.free[tuple(index.T)]]
        found.append(coarse.image[tuple(index.T)])
    values = np.concatenate(found)
    return float(values.mean(dtype=np.float64)) if len(values) >= MIN_POINTS else None


def _move(own: BorderPoints, move: LabelMove, coarse: CoarseCase) -> BorderPoints:
    points, normals = own.points.copy(), own.normals.copy()
    if move.mirrored:
        points[:, move.axis] = coarse.fine_shape[move.axis] - 1 - points[:, move.axis]
        normals[:, move.axis] *= -1
    else:
        points[:, move.axis] += move.steps * coarse.step / coarse.edges[move.axis]
    return BorderPoints(points, normals)


def _inside(index: npt.NDArray[np.integer] | Floats, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(((index > -0.5) & (index < np.array(shape) - 0.5)).all(axis=1))


def _profile(image: npt.NDArray[np.float32], own: BorderPoints, coarse: CoarseCase) -> Floats:
    axis = np.abs(own.normals).argmax(axis=1)
    direction = 2 * axis + (own.normals[np.arange(len(axis)), axis] > 0)
    steps = DEPTHS[None, :, None] * coarse.step / coarse.edges
    sites = coarse.to_blocks(own.points[:, None] + own.normals[:, None] * steps).reshape(-1, 3)
    inside = _inside(sites, image.shape)
    cells = (direction[:, None] * len(DEPTHS) + np.arange(len(DEPTHS))).ravel()[inside]
    values = ndimage.map_coordinates(image, sites[inside].T, order=1, mode="nearest")
    count = np.bincount(cells, minlength=6 * len(DEPTHS))
    total = np.bincount(cells, values, minlength=6 * len(DEPTHS))
    mean = np.where(count >= MIN_POINTS, total / np.maximum(count, 1), np.nan)
    return np.asarray(mean.reshape(6, len(DEPTHS)))
