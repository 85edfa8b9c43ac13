"""How far a surface may lie from where it was drawn: replicas of it, displaced along its normals.

A displacement has a part that is the same all over a body (a threshold chosen a little too high, a reader who draws
generously) and one that changes along it, over a correlation length. Both have a standard deviation in voxels, along
the normal: that of a plane across which voxels are long is larger. It was chosen on phantoms (benchmarks/measures.py)
whose boundary is displaced by as much as two careful readers, or two networks, differ, and whose figures are known.

- Where the network's probabilities p are at hand: around an edge whose place is normally distributed with standard
  deviation σ, p falls like Φ(−d/σ), by 1/(σ√2π) a millimetre at the edge itself. So σ = 1/(√2π |∇p|) there, where
  that is more.
- Where masks of several members (folds, readers) are at hand, a replica is a random mixture of how far each of them
  lies from their mean, over the whole body: so their differences keep their own correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from osteon.core.geometry import Geometry
from osteon.measuring.surface import Mask, Surface

Floats = npt.NDArray[np.float64]

REPLICAS = 20
"""Of each body. The standard deviation of so many is known to a sixth; Student's t makes up for it."""
COMMON_SD_VOXELS = 0.3
"""Of the displacement that is the same all over a body."""
LOCAL_SD_VOXELS = 0.3
"""Of the one that changes along it, half of its variance over a short and half over a long way."""
SHORT_VOXELS = 5.0
"""The short correlation length."""
LONG_PART = 1 / 6
"""The long one, as a part of the body's extent."""
MOST_VOXELS = 3.0
"""By what probabilities can say; beyond it they say that nothing is known."""
FURTHEST_VOXELS = 10.0
"""Where a member's surface is further away it is another thing."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of where a body's border lies, beside its mask; on the mask's grid.

    Attributes:
        probability: `[i, j, k]` from 0 to 1, or None.
        members: Masks `[i, j, k]` of the same body by other folds or readers.
    """

    probability: npt.NDArray[np.floating] | None = None
    members: Sequence[Mask] = ()


NO_EVIDENCE = Evidence()


def displacements(surface: Surface, geometry: Geometry, evidence: Evidence, rng: np.random.Generator) -> Floats:
    """`[replica, n]`: how far each point of a surface is moved along its normal.

    Args:
        surface: Of a mask.
        geometry: The mask's grid.
        evidence: What is known beside it, on that grid.
        rng: Its numbers decide.
    """
    edges = geometry.affine_ras[:3, :3].copy()
    edges[:, list(geometry.singleton_axes)] = 0
    across = np.linalg.norm(surface.normals @ edges, axis=1)  # a voxel's edge along the normal
    common = np.full(len(surface.points), COMMON_SD_VOXELS) * across
    local = np.full(len(surface.points), LOCAL_SD_VOXELS) * across
    if evidence.probability is not None:
        known = _sd_of_probability(surface, geometry, evidence.probability) * np.sqrt(0.5)
        limit = MOST_VOXELS * across
        common, local = (np.maximum(sd, np.minimum(known, limit)) for sd in (common, local))
    edge = np.exp(np.mean([np.log(s) for a, s in enumerate(geometry.spacing_mm) if a not in geometry.singleton_axes]))
    extent = float((surface.points.max(axis=0) - surface.points.min(axis=0)).max())
    lengths = SHORT_VOXELS * float(edge), max(SHORT_VOXELS * float(edge), LONG_PART * extent)
    field = sum(_correlated(surface.points, length, rng) for length in lengths) / np.sqrt(2)
    moved = common * rng.standard_normal((REPLICAS, 1)) + local * field
    if len(evidence.members) > 1:
        moved = moved + _between_members(surface, geometry, evidence.members, across, rng)
    return np.asarray(moved)


def _correlated(points: Floats, length: float, rng: np.random.Generator) -> Floats:
    """`[replica, n]` of unit variance: white noise on the corners of a lattice, interpolated between them."""
    places = (points - points.min(axis=0)) / length + rng.uniform(0, 1, 3)
    low = np.floor(places).astype(np.int64)
    shape = low.max(axis=0) + 2
    rows, columns, values = [], [], []
    for corner in np.ndindex(2, 2, 2):
        part = np.where(np.array(corner), places - low, 1 - (places - low)).prod(axis=1)
        rows.append(np.arange(len(points)))
        columns.append(np.ravel_multi_index(tuple((low + corner).T), tuple(shape)))
        values.append(part)
    mixing = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (len(points), int(np.prod(shape)))
    )
    power = np.sqrt(np.asarray(mixing.multiply(mixing).sum(axis=1)))
    noise = rng.standard_normal((int(np.prod(shape)), REPLICAS))
    return np.asarray((mixing @ noise / power).T)


def _sd_of_probability(surface: Surface, geometry: Geometry, probability: npt.NDArray[np.floating]) -> Floats:
    """`[n]` standard deviation of the edge's place, in the world's unit, by how steeply the probability falls."""
    index = to_index(surface.points, geometry)
    inverse = np.linalg.inv(geometry.affine_ras[:3, :3])
    slopes = np.zeros((len(index), 3))
    for axis in range(3):
        if axis not in geometry.singleton_axes:
            step = np.zeros(3)
            step[axis] = 1.0
            ahead, behind = (_sample(probability, index + way * step) for way in (1, -1))
            slopes[:, axis] = (ahead - behind) / 2
    steepness = np.linalg.norm(slopes @ inverse, axis=1)
    return np.asarray(1 / (np.sqrt(2 * np.pi) * np.maximum(steepness, 1e-9)))


def _between_members(
    surface: Surface, geometry: Geometry, members: Sequence[Mask], across: Floats, rng: np.random.Generator
) -> Floats:
    """`[replica, n]` mixtures of how far the members' surfaces lie from their mean."""
    index = to_index(surface.points, geometry)
    edges = geometry.spacing_mm
    away = []
    for mask in members:
        if not mask.any() or mask.all():
            continue
        inside, outside = (ndimage.distance_transform_edt(side, edges) for side in (mask, ~mask))
        depth = inside - outside
        away.append(np.clip(_sample(depth, index), -FURTHEST_VOXELS * across, FURTHEST_VOXELS * across))
    if len(away) < 2:
        return np.zeros((REPLICAS, len(index)))
    differences = np.stack(away) - np.mean(away, axis=0)
    return np.asarray(rng.standard_normal((REPLICAS, len(away))) @ differences / np.sqrt(len(away) - 1))


def to_index(points: Floats, geometry: Geometry) -> Floats:
    """Fractional voxel indices `[n, 3]` of points in the world."""
    inverse = np.linalg.inv(geometry.affine_ras[:3, :3])
    return np.asarray((points - geometry.affine_ras[:3, 3]) @ inverse.T)


def _sample(values: npt.NDArray[np.generic], index: Floats) -> Floats:
    return np.asarray(ndimage.map_coordinates(values, index.T, output=np.float64, order=1, mode="nearest"))
