"""One step of a registration: which points of two surfaces belong together, and the small movement that brings them
nearer. Of several movements of one source at a time, arrays have a row for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

Floats = npt.NDArray[np.float64]

SAME_WAY = 0.5
"""Cosine of the angle between normals, at least, of points that are taken for the same."""
FLOOR_MM = 0.3
"""The spread of distances is taken for this much at least: no surface is known better."""


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


def apply(matrix: Floats, points: Floats) -> Floats:
    """Points `[n, 3]` elsewhere."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


@dataclass(frozen=True, eq=False)
class Pairs:
    """Points of a source, moved, and what each is nearest to; of several movements, a row of all for each.

    Attributes:
        points: `[…, n, 3]` of the source, moved.
        nearest: `[…, n]` which of the reference's points.
        targets: `[…, n, 3]` those.
        normals: `[…, n, 3]` of the reference there.
        distance: `[…, n]` between the two.
        away: `[…, n]` the part of it along the normal.
        same: `[…, n]` whether both normals look the same way.
    """

    points: Floats
    nearest: npt.NDArray[np.int64]
    targets: Floats
    normals: Floats
    distance: Floats
    away: Floats
    same: npt.NDArray[np.bool_]


def find_pairs(source: Cloud, reference: Cloud, matrix: Floats, nearest: npt.NDArray[np.int64] | None = None) -> Pairs:
    """Counterparts of a source's points where a transform takes them: the nearest ones, or those that are given.

    Args:
        source: `n` points.
        reference: Where they are looked for.
        matrix: `[4, 4]`, or several of them.
        nearest: `[n]` which of the reference's points they are, where that is known.
    """
    turn, shift = np.swapaxes(matrix[..., :3, :3], -1, -2), matrix[..., None, :3, 3]
    points, turned = source.points @ turn + shift, source.normals @ turn
    if nearest is None:
        nearest = np.asarray(reference.tree.query(points)[1], dtype=np.int64)
    nearest = np.broadcast_to(nearest, points.shape[:-1])
    targets, normals = reference.points[nearest], reference.normals[nearest]
    between = targets - points
    away, same = (np.einsum("...i,...i->...", one, normals) for one in (between, turned))
    return Pairs(points, nearest, targets, normals, np.linalg.norm(between, axis=-1), away, same > SAME_WAY)


def robust_weights(away: Floats, use: npt.NDArray[np.bool_]) -> Floats:
    """Tukey's weights of distances `[…, n]`, whose spread is taken from those in use; 0 for the others."""
    sizes = np.sort(np.where(use, np.abs(away), np.inf), axis=-1)
    count = np.count_nonzero(use, axis=-1, keepdims=True)
    middle = [
        np.take_along_axis(sizes, np.clip(at, 0, sizes.shape[-1] - 1), -1) for at in ((count - 1) // 2, count // 2)
    ]
    scale = np.maximum(1.4826 * (middle[0] + middle[1]) / 2, FLOOR_MM)
    return np.asarray(np.where(use, np.maximum(1 - (away / (4.685 * scale)) ** 2, 0) ** 2, 0))


def turn_rows(pairs: Pairs) -> Floats:
    """`[…, n, 6]`: by how much each distance falls with a small turn about the points' centre, and with a shift.

    Turns are measured as ways at the points' mean distance from their centre: both have one size.
    """
    return np.concatenate([np.cross(_levers(pairs.points), pairs.normals), pairs.normals], axis=-1)


def _centre_and_size(points: Floats) -> tuple[Floats, Floats]:
    """Of points `[…, n, 3]`: `[…, 1, 3]`, and their mean distance from it `[…, 1, 1]`."""
    centre = points.mean(axis=-2, keepdims=True)
    size = np.sqrt(((points - centre) ** 2).sum(axis=-1, keepdims=True).mean(axis=-2, keepdims=True))
    return centre, np.maximum(size, 1e-6)


def _levers(points: Floats) -> Floats:
    centre, size = _centre_and_size(points)
    return np.asarray((points - centre) / size)


def small_movement(solved: npt.NDArray[np.floating], points: Floats) -> Floats:
    """`[…, 4, 4]` the rigid movement of points `[…, n, 3]` that six numbers `[…, 6]` as of `turn_rows` say."""
    centre, size = _centre_and_size(points)
    vectors = solved[..., :3] / size[..., 0]
    turn = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape[:-1], 3, 3)
    found = np.zeros((*vectors.shape[:-1], 4, 4))
    found[..., :3, :3], found[..., 3, 3] = turn, 1
    moved = centre[..., 0, :] + solved[..., 3:] - np.einsum("...ij,...j->...i", turn, centre[..., 0, :])
    found[..., :3, 3] = moved
    return found


def solve_step(pairs: Pairs, weight: Floats, away: Floats, tangential: Floats) -> Floats:
    """The small movement of least squares: distances to tangent planes, and a little of those along them."""
    rows = turn_rows(pairs)
    weighted = np.swapaxes(rows * weight[..., None], -1, -2)
    left, right = weighted @ rows, weighted @ away[..., None]
    if tangential.any():
        x, y, z = np.moveaxis(_levers(pairs.points), -1, 0)
        none = np.zeros_like(x)
        turns = np.stack([none, z, -y, -z, none, x, y, -x, none], axis=-1).reshape(*x.shape, 3, 3)
        rows = np.concatenate([turns, np.broadcast_to(np.eye(3), turns.shape)], axis=-1)
        rows = rows.reshape(*x.shape[:-1], -1, 6)
        weighted = np.swapaxes(rows * np.repeat(tangential, 3, axis=-1)[..., None], -1, -2)
        left += weighted @ rows
        right += weighted @ (pairs.targets - pairs.points).reshape(*x.shape[:-1], -1, 1)
    size = np.maximum(np.trace(left, axis1=-2, axis2=-1), 1e-12)
    left[..., np.arange(6), np.arange(6)] += 1e-6 * size[..., None]
    return small_movement(np.linalg.solve(left, right)[..., 0], pairs.points)
