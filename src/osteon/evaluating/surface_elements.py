"""The surface of a mask as small elements, each with a place and a size.

An element lies at every corner that 2×2×2 voxels share (2×2 pixels in a picture) and that are not all alike. Its size
is the area with which the marching cubes cut the neighbourhood (Lorensen & Cline, Computer Graphics 21, 1987), in a
picture the length of the marching squares. These are the elements of DeepMind's surface-distance (Nikolov et al., J Med
Internet Res 23, 2021, e26151); here they also take axes that are oblique or sheared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from osteon.core.dice import SLAB_VOXELS
from osteon.core.geometry import Affine

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurfaceElements:
    """The elements of one mask's surface, in the order of the corners they lie at.

    Attributes:
        grid: Corners along each axis: one more than the mask has voxels. Two masks of one shape share it.
        steps: `[d, d]`, as `voxel_steps` gives them.
        corners: `[n]` int64, ascending: the flat index of each element into the grid.
        points: `[n, d]` where they lie, in mm (px) from the grid's first corner, along axes of its own.
        sizes: `[n]` area in mm² (px²), in a picture length in mm (px); all above 0.
    """

    grid: tuple[int, ...]
    steps: Floats
    corners: npt.NDArray[np.int64]
    points: Floats
    sizes: Floats


def thin_axis(shape: tuple[int, ...]) -> int | None:
    """The axis along which a picture is one voxel thick; None where the grid has three dimensions."""
    return max((axis for axis, size in enumerate(shape) if size == 1), default=None)


def voxel_steps(affine_ras: Affine, thin: int | None = None) -> Floats:
    """`[d, d]`: the way in mm (px) that one index step goes along each axis but the thin one, a step in each column.

    The axes are turned into the plane or space that they span (by a QR decomposition), so that distances and angles
    between steps stay as they are: for right angles it is the diagonal of the spacings.
    """
    axes = [axis for axis in range(3) if axis != thin]
    return np.asarray(np.linalg.qr(affine_ras[:3, axes], mode="r"), dtype=np.float64)


def surface_elements(mask: npt.NDArray[np.bool_], steps: Floats) -> SurfaceElements:
    """The surface of a mask; beyond its edges there is nothing, so a mask that reaches an edge has a surface there.

    Args:
        mask: `[i, j, k]`, or `[i, j]` of a picture.
        steps: As `voxel_steps` gives them, for as many axes.
    """
    sizes = element_sizes(steps)
    shape = tuple(size + 1 for size in mask.shape)
    plane = int(np.prod(shape[1:]))
    thickness = max(1, SLAB_VOXELS // plane)
    corners, codes = [], []
    for start in range(0, shape[0], thickness):
        stop = min(start + thickness, shape[0])
        edges = [(int(start == 0), int(stop == shape[0])), *[(1, 1)] * (mask.ndim - 1)]
        code = _codes(np.pad(mask[max(0, start - 1) : stop], edges).view(np.uint8)).ravel()
        # Neither 0 nor all: one comparison, since 0 - 1 is the highest uint8.
        mixed = np.flatnonzero(code - np.uint8(1) < len(sizes) - 2)
        corners.append(mixed + start * plane)
        codes.append(code[mixed])
    found = np.concatenate(corners)
    index = np.stack(np.unravel_index(found, shape), axis=1).astype(np.float64)
    return SurfaceElements(shape, steps, found, index @ steps.T, sizes[np.concatenate(codes)])


def element_sizes(steps: Floats) -> Floats:
    """`[2^2^d]` area (length) of the element for each pattern of 2×2×2 (2×2) voxels; 0 where all are alike.

    Bit 4·di + 2·dj + dk of a pattern says whether the voxel beyond the corner by (di, dj, dk) belongs to the mask; in
    a picture it is bit 2·di + dj.

    Args:
        steps: `[d, d]`, as `voxel_steps` gives them.
    """
    dimensions = len(steps)
    normals, codes = _facets(dimensions)
    # Area vectors go with the cofactors: (Aa)×(Ab) = det(A)·A⁻ᵀ·(a×b); in the plane the same holds of a normal.
    cofactors = np.linalg.det(steps) * np.linalg.inv(steps).T
    areas = np.linalg.norm(normals @ cofactors.T, axis=1)
    return np.asarray(np.bincount(codes, areas, minlength=1 << (1 << dimensions)), dtype=np.float64)


def _codes(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pattern at each inner corner of a padded mask: one axis after the other, the last one first."""
    codes = mask
    for done, axis in enumerate(range(mask.ndim - 1, -1, -1)):
        before = (slice(None),) * axis
        codes = codes[(*before, slice(-1))] + codes[(*before, slice(1, None))] * np.uint8(1 << (1 << done))
    return codes


@lru_cache(maxsize=2)
def _facets(dimensions: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Normals `[n, d]` in index space, as long as the facet is large, and the pattern `[n]` that each belongs to.

    A pattern and its complement have one surface: of the two the one with fewer voxels is cut, so that voxels which
    meet at an edge or a corner alone are cut off one by one.
    """
    corners = 1 << dimensions
    normals, codes = [], []
    for code in range(1, (1 << corners) - 1):
        held = code if code.bit_count() <= corners // 2 else ~code & ((1 << corners) - 1)
        own = _triangles(held) if dimensions == 3 else _segments(held)
        normals.append(own)
        codes += [code] * len(own)
    return np.concatenate(normals), np.array(codes)


def _triangles(code: int) -> Floats:
    """Normals of the triangles of the marching cubes in one cube."""
    from skimage.measure import marching_cubes

    cube = np.array([code >> bit & 1 for bit in range(8)], dtype=np.float32).reshape(2, 2, 2)
    vertices, faces, _, _ = marching_cubes(cube, 0.5, method="lorensen", allow_degenerate=True)
    one, two, three = (vertices[faces[:, n]].astype(np.float64) for n in range(3))
    return np.asarray(np.cross(two - one, three - one) / 2)


def _segments(code: int) -> Floats:
    """Normals of the segments of the marching squares in one square with one or two pixels."""
    held = [(bit >> 1, bit & 1) for bit in range(4) if code >> bit & 1]
    if len(held) == 2 and (held[0][0] == held[1][0] or held[0][1] == held[1][1]):
        return np.array([[1.0, 0.0] if held[0][0] == held[1][0] else [0.0, 1.0]])
    return np.array([[0.5 - i, 0.5 - j] for i, j in held])
