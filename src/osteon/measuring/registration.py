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

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from osteon.measuring.registration_pairs import Cloud, Floats, apply, find_pairs, robust_weights, solve_step
from osteon.measuring.surface import Surface

NEAR_MM = 3.0
"""Beyond, a point counts as one without a counterpart when ends are compared."""
MIN_PAIRS = 6
"""Of points, to tell a movement from."""
_COARSE, _FINE = 12, 40
_KEPT = 4
"""Ends of the first few steps that are followed to the end."""
_HOPELESS = 1.5
"""Times the best one's cost after the first few steps, beyond which an end is not followed."""
_SLIDE = 0.15
"""Weight of distances along the tangent plane at the beginning: they pull points on that planes let slide."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a registration ended.

    Attributes:
        matrix: `[4, 4]`, from the source to the reference.
        residuals: `[n]` distances from the source's points to the reference along its normals, mm.
        matched: `[n]` which points have a counterpart within `NEAR_MM`.
        nearest: `[n]` which of the reference's points each is nearest to.
        cost: Root mean square of the distances, mm, those without a counterpart taken as `NEAR_MM`.
    """

    matrix: Floats
    residuals: Floats
    matched: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.int64]
    cost: float

    @property
    def share(self) -> float:
        """Part of the source's points that have a counterpart."""
        return float(self.matched.mean())

    @property
    def rms(self) -> float:
        """Root mean square of the distances of those, mm."""
        return float(np.sqrt((self.residuals[self.matched] ** 2).mean())) if self.matched.any() else np.inf


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
    coarse = _refine_all(few, reference, np.stack(list(starts)), reach=reach, near=near, steps=_COARSE, slide=_SLIDE)
    coarse.sort(key=lambda fit: fit.cost)
    kept = [fit for fit in _apart(coarse, source) if fit.cost <= _HOPELESS * coarse[0].cost][:_KEPT]
    reach = max(reach / 3, 2 * near)
    ends = [refine(source, reference, fit.matrix, reach=reach, near=near, steps=_FINE) for fit in kept]
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
    nearest: npt.NDArray[np.int64] | None = None,
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
        nearest: `[n]` counterparts that stay the same, where both have hardly changed since they were found.
    """
    return _refine_all(
        source,
        reference,
        start[None],
        reach=reach,
        near=near,
        steps=steps,
        slide=slide,
        offsets=offsets,
        nearest=nearest,
    )[0]


def _refine_all(
    source: Cloud,
    reference: Cloud,
    starts: Floats,
    *,
    reach: float,
    near: float,
    steps: int,
    slide: float = 0.0,
    offsets: Floats | None = None,
    nearest: npt.NDArray[np.int64] | None = None,
) -> list[Fit]:
    """As `refine`, from starts `[s, 4, 4]` side by side."""
    matrices = starts.copy()
    for step in range(steps):
        limit = max(reach * 0.75**step, near)
        found = find_pairs(source, reference, matrices, nearest)
        away = found.away if offsets is None else found.away + offsets
        use = found.same & (found.distance < limit)
        use &= np.count_nonzero(use, axis=-1, keepdims=True) >= MIN_PAIRS
        weight = robust_weights(away, use)
        updates = solve_step(found, weight, away, slide * weight * use)
        matrices = updates @ matrices
        middles = found.points.mean(axis=-2, keepdims=True)
        moved = np.linalg.norm(
            middles @ np.swapaxes(updates[:, :3, :3], 1, 2) + updates[:, None, :3, 3] - middles, axis=-1
        )
        turned = np.linalg.norm(updates[:, :3, :3] - np.eye(3), axis=(1, 2)) / np.sqrt(2)
        if limit == near and turned.max() < 1e-4 and moved.max() < 5e-3:
            break
    found = find_pairs(source, reference, matrices, nearest)
    matched = found.same & (found.distance < near)
    costs = np.sqrt(np.where(matched, np.minimum(found.away**2, near**2), near**2).mean(axis=-1))
    rows = zip(matrices, found.away, matched, found.nearest, costs, strict=True)
    return [Fit(matrix, away, same, nearest, float(cost)) for matrix, away, same, nearest, cost in rows]
