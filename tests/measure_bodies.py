"""Bodies whose figures are known, as masks on grids of any spacing and direction: for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.phantoms.shapes import ellipsoid

Field = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""From points `[3, n]` in the world, mm, to distances, negative inside."""


def grid_around(
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    spacing: npt.ArrayLike = 1.0,
    directions: npt.ArrayLike | None = None,
    margin: float = 6.0,
) -> Geometry:
    """A grid with these voxels and directions (columns) that holds a box of the world, and a margin around it."""
    edges = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    turn = np.eye(3) if directions is None else np.asarray(directions, dtype=np.float64)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)  # type: ignore[arg-type]
    along = turn.T @ corners
    first, last = along.min(axis=1) - margin, along.max(axis=1) + margin
    affine = np.eye(4)
    affine[:3, :3] = turn * edges
    affine[:3, 3] = turn @ first
    i, j, k = (int(n) for n in np.ceil((last - first) / edges))
    return Geometry((i, j, k), affine)


_BLOCK = 8
_CHUNK = 512


def draw(fields: Mapping[str, Field], grid: Geometry) -> Segmentation:
    """The bodies on a grid: a voxel belongs to the first that holds its centre.

    Blocks of voxels whose middle is far from a body's border are not looked at one by one.
    """
    counts = [-(-size // _BLOCK) for size in grid.shape]
    labels = np.zeros([count * _BLOCK for count in counts], np.uint8)
    blocks = labels.reshape([n for count in counts for n in (count, _BLOCK)]).transpose(0, 2, 4, 1, 3, 5)
    firsts = _BLOCK * np.indices(counts).reshape(3, -1).T
    within = np.indices((_BLOCK,) * 3).reshape(3, -1).T
    middles = grid.to_world(firsts + (_BLOCK - 1) / 2).T.astype(np.float32)
    reach = 3 + 1.3 * _BLOCK / 2 * float(np.linalg.norm(grid.spacing_mm))
    for value, field in enumerate(fields.values(), 1):
        middle = field(middles)
        for chosen, inside in ((np.flatnonzero(middle < -reach), True), (np.flatnonzero(abs(middle) <= reach), False)):
            for start in range(0, len(chosen), _CHUNK):
                some = chosen[start : start + _CHUNK]
                place = np.unravel_index(some, counts)
                own = blocks[place]
                index = (firsts[some][:, None] + within).reshape(-1, 3)
                held = inside or field(grid.to_world(index).T.astype(np.float32)).reshape(own.shape) < 0
                blocks[place] = np.where((own == 0) & held, value, own)
    i, j, k = grid.shape
    return Segmentation(labels[:i, :j, :k].copy(), grid, make_structures(list(fields)))


def turned(field: Field, rotation: npt.NDArray[np.float64], shift: npt.ArrayLike = (0, 0, 0)) -> Field:
    """The body turned about the world's origin, then shifted."""
    back, offset = rotation.T.astype(np.float32), np.asarray(shift, dtype=np.float32)[:, None]
    return lambda points: field(np.asarray(back @ (points - offset), dtype=np.float32))


def mirrored(field: Field) -> Field:
    """The body mirrored from left to right."""
    return lambda points: field(points * np.array([[-1], [1], [1]], dtype=np.float32))


def ball(centre: Sequence[float], radii: Sequence[float]) -> Field:
    """An ellipsoid, its axes along the world's."""
    return lambda points: ellipsoid(points, centre, radii)


def cylinder(length: float, radius: float) -> Field:
    """Along z, from −length/2 to length/2."""

    def field(p: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.maximum(np.hypot(p[0], p[1]) - radius, np.abs(p[2]) - length / 2)

    return field


def ellipsoid_area(radii: Sequence[float]) -> float:
    """Area of an ellipsoid's surface, with elliptic integrals."""
    from scipy.special import ellipeinc, ellipkinc

    a, b, c = sorted(radii, reverse=True)
    phi = np.arccos(c / a)
    modulus = a * a * (b * b - c * c) / (b * b * (a * a - c * c))
    parts = ellipeinc(phi, modulus) * np.sin(phi) ** 2 + ellipkinc(phi, modulus) * np.cos(phi) ** 2
    return float(2 * np.pi * c * c + 2 * np.pi * a * b / np.sin(phi) * parts)
