"""Geometry of surfaces: principal axes, sections across an axis, spheres, tangents. Lengths are the world's unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """A body's own axes.

    Attributes:
        centre: `[3]` centre of the volume inside its surface.
        axes: `[3, 3]` unit vectors, a row each, along which it reaches furthest first; right-handed.
        low: `[3]` where it begins along each, from the centre.
        high: `[3]` where it ends.
    """

    centre: Floats
    axes: Floats
    low: Floats
    high: Floats

    @property
    def lengths(self) -> Floats:
        """`[3]` extents."""
        return np.asarray(self.high - self.low)

    def ends(self, axis: int) -> tuple[Floats, Floats]:
        """Both ends of the line through the centre along an axis."""
        return self.centre + self.low[axis] * self.axes[axis], self.centre + self.high[axis] * self.axes[axis]


def principal_axes(body: Body) -> PrincipalAxes:
    """Eigenvectors of the covariance of the volume (of an outline's area) inside the surface, computed from its cells.

    Sums over the cones from one point to each cell are exact for polyhedra (Mirtich, J Graph Tools 1, 1996).
    """
    surface = body.surface
    origin = surface.points.mean(axis=0)
    corners = surface.points[surface.cells] - origin
    if surface.flat:
        normal = np.cross(corners[:, 0], corners[:, 1])
        up = normal.sum(axis=0)
        weights, factors = normal @ (up / np.linalg.norm(up)), (3, 12)
    else:
        weights, factors = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])), (4, 20)
    total, summed = weights.sum(), corners.sum(axis=1)
    mean = weights @ summed / (factors[0] * total)
    every = np.concatenate([*corners.transpose(1, 0, 2), summed])
    second = (every * np.tile(weights, corners.shape[1] + 1)[:, None]).T @ every
    covariance = second / (factors[1] * total) - np.outer(mean, mean)
    axes = np.linalg.eigh(covariance)[1].T[::-1].copy()
    axes *= np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]
    axes[2] = np.cross(axes[0], axes[1])
    along = (corners[:, 0] - mean) @ axes.T
    return PrincipalAxes(origin + mean, axes, along.min(axis=0), along.max(axis=0))


def unit(vector: npt.ArrayLike) -> Floats:
    """A vector of the same direction, of length 1."""
    given = np.asarray(vector, dtype=np.float64)
    return np.asarray(given / max(float(np.linalg.norm(given)), 1e-12))


def across(vector: Floats, axis: Floats) -> Floats:
    """The unit vector along the part of `vector` that is perpendicular to the unit vector `axis`."""
    return unit(vector - (vector @ axis) * axis)


def angle_deg(one: Floats, other: Floats) -> float:
    """Between two directions, from 0 to 180."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other)))


@dataclass(frozen=True, eq=False)
class Sections:
    """Slices of a surface across an axis.

    Attributes:
        heights: `[n]` along the axis, the middle of each.
        centres: `[n, 3]` of the surface in each, weighted by area; NaN where there is none.
        radii: `[n]` mean distance of that surface from its centre, across the axis.
    """

    heights: Floats
    centres: Floats
    radii: Floats


def make_sections(points: Floats, weights: Floats, axis: Floats, thickness: float) -> Sections:
    """Slices of `thickness` of weighted surface points `[n, 3]` across a unit vector."""
    heights = points @ axis
    low = heights.min()
    count = max(1, int((heights.max() - low) / thickness))
    number = np.minimum(((heights - low) / (heights.max() - low + 1e-9) * count).astype(np.int64), count - 1)
    total = np.bincount(number, weights, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        summed = [np.bincount(number, weights * points[:, a], count) for a in range(3)]
        centres = np.stack(summed, axis=1) / total[:, None]
        away = points - centres[number]
        away -= (away @ axis)[:, None] * axis
        radii = np.bincount(number, weights * np.linalg.norm(away, axis=1), count) / total
    middles = low + (np.arange(count) + 0.5) * (heights.max() - low) / count
    return Sections(middles, centres, radii)


def fit_line(points: Floats) -> tuple[Floats, Floats]:
    """A point on the line of least squares through `[n, 3]`, and its unit vector (of either sign)."""
    if len(points) < 2:
        raise NotMeasuredError("too little of the bone is in the scan for an axis")
    centre = points.mean(axis=0)
    return centre, np.asarray(np.linalg.svd(points - centre, full_matrices=False)[2][0])


def fit_sphere(points: Floats, weights: Floats) -> tuple[Floats, float]:
    """Centre and radius of the sphere of least squares (algebraic: linear, and good where half of it is there)."""
    if len(points) < 10:
        raise NotMeasuredError("too few points for a sphere")
    middle = points.mean(axis=0)
    local = points - middle
    matrix = np.column_stack([2 * local, np.ones(len(local))])
    root = np.sqrt(weights)[:, None]
    found, *_ = np.linalg.lstsq(matrix * root, (local**2).sum(axis=1) * root[:, 0], rcond=None)
    return middle + found[:3], float(np.sqrt(max(found[3] + found[:3] @ found[:3], 0.0)))


def tangent(points: Floats, right: Floats, towards: Floats) -> tuple[Floats, Floats]:
    """Where a plane that comes from a side touches a body first at two places: the ends of an edge of its hull.

    Args:
        points: `[n, 3]`.
        right: Unit vector along which the two places lie apart, roughly.
        towards: Unit vector from the body to the plane; hull edges that look within 50° of it are asked, and the
            longest is
            taken: the one over the notch between two condyles.

    Returns:
        The two points, the one further along `right` last.
    """
    flat = np.column_stack([points @ right, points @ towards])
    hull = hull_of(flat)
    ends = flat[np.roll(hull, -1)] - flat[hull]
    lengths = np.linalg.norm(ends, axis=1)
    outward = np.column_stack([ends[:, 1], -ends[:, 0]]) / np.maximum(lengths, 1e-12)[:, None]
    lengths = np.where(outward[:, 1] > np.cos(np.radians(50)), lengths, 0)
    best = int(np.argmax(lengths))
    if lengths[best] <= 0:
        raise NotMeasuredError("no tangent was found")
    one, other = points[hull[best]], points[np.roll(hull, -1)[best]]
    return (one, other) if one @ right < other @ right else (other, one)


def hull_of(flat: Floats) -> npt.NDArray[np.int64]:
    """Indices of the corners of the convex hull of `[n, 2]`, counter-clockwise. Raises NotMeasuredError."""
    try:
        return np.asarray(ConvexHull(flat).vertices, dtype=np.int64)
    except (QhullError, ValueError):
        raise NotMeasuredError("it is too thin") from None


def furthest_pair(points: Floats) -> tuple[Floats, Floats]:
    """The two of `[n, d]` corners of a hull that lie furthest apart."""
    first, second = np.triu_indices(len(points), 1)
    best = int(np.argmax(pdist(points)))
    return points[first[best]], points[second[best]]
