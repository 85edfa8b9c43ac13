"""Rigid registration of surfaces where parts of one have no counterpart on the other: robust iterative closest points.

Points of the source go to the nearest points of the reference whose normals look the same way (Besl and McKay, IEEE
Trans PAMI 14, 1992; distances to the tangent planes: Chen and Medioni, Image Vis Comput 10, 1992). What lies far away
is left out: first by a reach that shrinks, then by Tukey's weights, as a fracture's surface has no counterpart on an
intact bone (trimmed ICP: Chetverikov et al., Image Vis Comput 23, 2005). It begins at several places, and the best end
counts. Transforms are 4×4 matrices of the world, from the source to the reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from osteon.measuring.surface import Surface

Floats = npt.NDArray[np.float64]

SAME_WAY = 0.5
"""Cosine of the angle between normals, at least, of points that are taken for the same."""
NEAR_MM = 3.0
"""Beyond, a point counts as one without a counterpart when ends are compared."""
FLOOR_MM = 0.3
"""The spread of distances is taken for this much at least: no surface is known better."""
_COARSE, _FINE = 12, 40
_KEPT = 4
"""Ends of the first few steps that are followed to the end."""
_SLIDE = 0.15
"""Weight of distances along the tangent plane at the beginning: they pull points on that planes let slide."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of a surface.

    Attributes:
        points: `[n, 3]` in the world, mm.
        normals: `[n, 3]` unit vectors, outwards.
    """

    points: Floats
    normals: Floats

    @cached_property
    def tree(self) -> KDTree:
        """To look up its points."""
        return KDTree(self.points)

    def moved(self, matrix: Floats) -> Cloud:
        """The cloud elsewhere; the matrix may also scale."""
        normals = self.normals @ matrix[:3, :3].T
        return Cloud(apply(matrix, self.points), normals / np.linalg.norm(normals, axis=1, keepdims=True))

    def take(self, chosen: npt.NDArray[np.integer]) -> Cloud:
        """Some of its points."""
        return Cloud(self.points[chosen], self.normals[chosen])


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a registration ended.

    Attributes:
        matrix: `[4, 4]`, from the source to the reference.
        residuals: `[n]` distances from the source's points to the reference along its normals, mm.
        matched: `[n]` which points have a counterpart within `NEAR_MM`.
        cost: Root mean square of the distances, mm, those without a counterpart taken as `NEAR_MM`.
    """

    matrix: Floats
    residuals: Floats
    matched: npt.NDArray[np.bool_]
    cost: float

    @property
    def share(self) -> float:
        """Part of the source's points that have a counterpart."""
        return float(self.matched.mean())

    @property
    def rms(self) -> float:
        """Root mean square of the distances of those, mm."""
        return float(np.sqrt((self.residuals[self.matched] ** 2).mean())) if self.matched.any() else np.inf


def apply(matrix: Floats, points: Floats) -> Floats:
    """Points `[n, 3]` elsewhere."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def about(rotation: Floats, pivot: Floats, shift: npt.ArrayLike = (0, 0, 0)) -> Floats:
    """The 4×4 matrix of a turn about a point, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = pivot + np.asarray(shift) - rotation @ pivot
    return matrix


def inverse(matrix: Floats) -> Floats:
    """The way back of a rigid transform, or of one that scales too."""
    return np.asarray(np.linalg.inv(matrix))


def spread_points(surface: Surface, count: int) -> npt.NDArray[np.int64]:
    """Indices of at most `count` of a surface's points, as many on each part of its area."""
    total = np.cumsum(surface.weights)
    places = (np.arange(count) + 0.5) / count * total[-1]
    return np.unique(np.searchsorted(total, places).clip(0, len(total) - 1))


def register(
    source: Cloud, reference: Cloud, starts: Iterable[Floats], *, reach: float, near: float = NEAR_MM
) -> list[Fit]:
    """Ends from several starts, the best first; one for each place where several starts end.

    Args:
        source: What is moved, at most a few thousand points.
        reference: Where it belongs.
        starts: Transforms of the source to begin with.
        reach: How far points may lie from their counterparts at the beginning, mm.
        near: What takes the place of `NEAR_MM`.
    """
    few = source.take(np.arange(0, len(source.points), max(1, len(source.points) // 250)))
    coarse = [refine(few, reference, start, reach=reach, near=near, steps=_COARSE, slide=_SLIDE) for start in starts]
    coarse.sort(key=lambda fit: fit.cost)
    ends: list[Fit] = []
    for fit in _apart(coarse, source)[:_KEPT]:
        ends.append(refine(source, reference, fit.matrix, reach=max(reach / 3, 2 * near), near=near, steps=_FINE))
    ends.sort(key=lambda fit: fit.cost)
    return _apart(ends, source)


def _apart(fits: list[Fit], source: Cloud) -> list[Fit]:
    """Those that lie apart from all better ones by 2 mm or 3° or more."""
    kept: list[Fit] = []
    centre = source.points.mean(axis=0)
    for fit in fits:
        if not any(difference(fit.matrix, other.matrix, centre) < 1 for other in kept):
            kept.append(fit)
    return kept


def difference(one: Floats, other: Floats, centre: Floats) -> float:
    """How far two transforms are apart where they take a point: in units of 2 mm and 3°, the larger."""
    between = inverse(other) @ one
    angle = np.degrees(np.linalg.norm(Rotation.from_matrix(between[:3, :3]).as_rotvec()))
    return float(max(np.linalg.norm(apply(between, centre[None])[0] - centre) / 2, angle / 3))


def refine(
    source: Cloud,
    reference: Cloud,
    start: Floats,
    *,
    reach: float,
    near: float = NEAR_MM,
    steps: int = _FINE,
    slide: float = 0.0,
    offsets: Floats | None = None,
) -> Fit:
    """From one start to its end.

    Args:
        source: What is moved.
        reference: Where it belongs.
        start: Where it begins.
        reach: Distance at the beginning beyond which a pair of points is left out; it shrinks to `near`.
        near: Distance at the end.
        steps: At most.
        slide: Weight of distances along the tangent plane.
        offsets: `[n]` by which the reference is moved along its normals where each point of the source finds it.
    """
    matrix = start.copy()
    for step in range(steps):
        limit = max(reach * 0.75**step, near)
        found = find_pairs(source, reference, matrix)
        away = found.away if offsets is None else found.away + offsets
        use = found.same & (found.distance < limit)
        if np.count_nonzero(use) < 6:
            break
        weight = robust_weights(away, use)
        update = _step(found, weight, away, slide * weight * use)
        matrix = update @ matrix
        turned = np.linalg.norm(Rotation.from_matrix(update[:3, :3]).as_rotvec())
        if (
            limit == near
            and turned < 1e-4
            and np.linalg.norm(apply(update, found.points.mean(0)[None]) - found.points.mean(0)) < 5e-3
        ):
            break
    found = find_pairs(source, reference, matrix)
    matched = found.same & (found.distance < near)
    cost = float(np.sqrt(np.where(matched, np.minimum(found.away**2, near**2), near**2).mean()))
    return Fit(matrix, found.away, matched, cost)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Points of a source, moved, and what each is nearest to.

    Attributes:
        points: `[n, 3]` of the source, moved.
        nearest: `[n]` which of the reference's points.
        targets: `[n, 3]` those.
        normals: `[n, 3]` theirs.
        distance: `[n]` between the two.
        away: `[n]` the part of it along the normal.
        same: `[n]` whether both normals look the same way.
    """

    points: Floats
    nearest: npt.NDArray[np.int64]
    targets: Floats
    normals: Floats
    distance: Floats
    away: Floats
    same: npt.NDArray[np.bool_]


def find_pairs(source: Cloud, reference: Cloud, matrix: Floats) -> Pairs:
    """Counterparts of a source's points where a transform takes them."""
    points, turned = apply(matrix, source.points), source.normals @ matrix[:3, :3].T
    distance, nearest = reference.tree.query(points)
    targets, normals = reference.points[nearest], reference.normals[nearest]
    away = np.einsum("ij,ij->i", targets - points, normals)
    same = np.einsum("ij,ij->i", turned, normals) > SAME_WAY
    return Pairs(points, np.asarray(nearest), targets, normals, np.asarray(distance), away, same)


def robust_weights(away: Floats, use: npt.NDArray[np.bool_]) -> Floats:
    """Tukey's weights of distances, whose spread is taken from those in use; 0 for the others."""
    scale = max(1.4826 * float(np.median(np.abs(away[use]))), FLOOR_MM)
    return np.asarray(np.where(use, np.maximum(1 - (away / (4.685 * scale)) ** 2, 0) ** 2, 0))


def turn_rows(pairs: Pairs) -> Floats:
    """`[n, 6]`: by how much each distance falls with a small turn about the points' centre, and with a shift.

    Turns are measured as ways at the points' mean distance from their centre: both have one size.
    """
    return np.hstack([np.cross(*_levers(pairs.points, pairs.normals)), pairs.normals])


def _levers(points: Floats, directions: Floats) -> tuple[Floats, Floats]:
    local = points - points.mean(axis=0)
    return local / max(float(np.sqrt((local**2).sum(axis=1).mean())), 1e-6), directions


def small_movement(solved: npt.NDArray[np.floating], points: Floats) -> Floats:
    """The rigid movement of points that six numbers as of `turn_rows` say."""
    centre = points.mean(axis=0)
    size = max(float(np.sqrt(((points - centre) ** 2).sum(axis=1).mean())), 1e-6)
    return about(Rotation.from_rotvec(solved[:3] / size).as_matrix(), centre, solved[3:])


def _step(pairs: Pairs, weight: Floats, away: Floats, tangential: Floats) -> Floats:
    """The small movement of least squares: distances to tangent planes, and a little of those along them."""
    rows = turn_rows(pairs)
    left, right = (rows * weight[:, None]).T @ rows, (rows * weight[:, None]).T @ away
    if tangential.any():
        along = pairs.targets - pairs.points
        for axis in np.eye(3):
            directions = np.broadcast_to(axis, pairs.points.shape)
            rows = np.hstack([np.cross(*_levers(pairs.points, directions)), directions])
            left += (rows * tangential[:, None]).T @ rows
            right += (rows * tangential[:, None]).T @ (along @ axis)
    left[np.diag_indices(6)] += 1e-6 * max(float(np.trace(left)), 1e-12)
    return small_movement(np.linalg.solve(left, right), pairs.points)
