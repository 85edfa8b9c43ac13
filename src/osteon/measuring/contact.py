"""Where two pieces of a bone face each other: the gap between them, and the step of the outer surface across it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from osteon.measuring.body import Body
from osteon.measuring.broken_bones import too_small
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.registration import Cloud, Floats, spread_points

REACH_MM = 15.0
"""Surfaces further apart do not face each other."""
MIN_AREA_MM2 = 15.0
"""That faces another piece, at least."""
POINTS = 4000
FEW = 12_000
"""Of all other pieces together, to find the nearest."""
_OPPOSED = -0.5
_AHEAD = 0.7
"""Cosine between a normal and the way to the other surface, at least."""
_ACROSS = 0.6
"""Of a normal of the outer surface along the way from piece to piece, at most."""
_ALONG = 0.5
"""Cosine between normals, at least, for a surface to go on in another."""
_BAND = (1.5, 5.0)
"""Voxels from the facing surface within which the outer one is its rim."""
_AROUND = 3.0
"""Voxels around a place of the rim, without those across the fracture, through which planes are laid."""
RIM_PLACES = 120
MIN_RIM = 6

Steps = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Contact:
    """Two pieces that face each other.

    Attributes:
        area: Of the first one's surface that faces the second, mm².
        places: `[n, 3]` on the first one's surface.
        across: `[n, 3]` what each faces.
        gaps: `[n]` distance between the two surfaces there, along their normals, mm; 0 where they touch or overlap.
        rim: `[m, 2, 3]` places of the outer surface on both sides of the fracture.
        steps: `[m]` how far the second one's lies outside the first one's, mm; negative: inside.
    """

    area: float
    places: Floats
    across: Floats
    gaps: Floats
    rim: Floats
    steps: Floats


@dataclass(frozen=True)
class FacingPiece:
    """How a piece faces another: a function of the first, for `Body.find`."""

    other: Body

    def __call__(self, body: Body) -> Contact:
        """Raises NotMeasuredError where they do not face each other."""
        return _contact(body, self.other)


def contact(one: Body, other: Body) -> Contact:
    """How two pieces face each other. Raises NotMeasuredError where they do not."""
    small = too_small([one, other])
    if small:
        raise NotMeasuredError(small)
    return one.find(FacingPiece(other))


def facing_pairs(pieces: Sequence[Body]) -> Iterator[tuple[Body, Body]]:
    """The pairs of pieces that face each other, the larger piece first."""
    for one, other in combinations(pieces, 2):
        if _boxes_near(one, other):
            try:
                contact(one, other)
            except NotMeasuredError:
                continue
            yield one, other


def _boxes_near(one: Body, other: Body) -> bool:
    (low, high), (first, last) = ((b.surface.points.min(axis=0), b.surface.points.max(axis=0)) for b in (one, other))
    return bool(np.all(low - REACH_MM < last) and np.all(first - REACH_MM < high))


@dataclass(frozen=True)
class NearestSibling:
    """Which other piece of the bone each point of `surface_cloud` is nearest to: a function of an original."""

    siblings: tuple[Body, ...]

    def __call__(self, body: Body) -> npt.NDArray[np.int64]:
        """`[n]` indices of siblings; those of few points stand for all."""
        others = [number for number, one in enumerate(self.siblings) if one is not body]
        count = FEW // len(others)
        surfaces = [self.siblings[number].surface for number in others]
        clouds = [surface.points[spread_points(surface, count)] for surface in surfaces]
        _, nearest = KDTree(np.concatenate(clouds)).query(body.find(surface_cloud).points)
        return np.repeat(others, [len(cloud) for cloud in clouds])[nearest]


def _no_third_between(one: Body, other: Body) -> npt.NDArray[np.bool_] | bool:
    """`[n]` whether no third piece is nearer to a point of the first one's surface than the second is."""
    first, second = one.original or one, other.original or other
    siblings = first.siblings
    if len(siblings) < 3 or second not in siblings:
        return True
    return np.asarray(first.find(NearestSibling(siblings)) == siblings.index(second))


def surface_cloud(body: Body) -> Cloud:
    """The same points of a body and of its replicas."""
    chosen = spread_points((body.original or body).surface, POINTS)
    return Cloud(body.surface.points[chosen], body.surface.normals[chosen])


def _contact(one: Body, other: Body) -> Contact:
    own, beside = one.find(surface_cloud), other.find(surface_cloud)
    distance, nearest = beside.tree.query(own.points, distance_upper_bound=REACH_MM)
    near = np.flatnonzero(np.isfinite(distance) & _no_third_between(one, other))
    way, normals, facing = own.points[near], own.normals[near], beside.normals[nearest[near]]
    way = beside.points[nearest[near]] - way
    opposed = np.einsum("ij,ij->i", normals, facing) < _OPPOSED
    touching = distance[near] < 1.5 * _grain(one)
    ahead = np.einsum("ij,ij->i", way, normals) > _AHEAD * distance[near]
    seen = opposed & (ahead | touching)
    chosen = near[seen]
    area = one.surface.area * len(chosen) / max(len(own.points), 1)
    if area < MIN_AREA_MM2 or len(chosen) < MIN_RIM:
        raise NotMeasuredError(f"{one.name} and {other.name} do not face each other within {REACH_MM:g} mm")
    between = normals[seen] - facing[seen]
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    gaps = np.maximum(np.einsum("ij,ij->i", way[seen], between), 0)
    direction = between.mean(axis=0)
    places, across = own.points[chosen], beside.points[nearest[chosen]]
    rim, steps = _steps(own, beside, places, across, direction / np.linalg.norm(direction), _grain(one))
    return Contact(area, places, across, gaps, rim, steps)


def _grain(body: Body) -> float:
    return float(np.cbrt(body.geometry.voxel_volume_mm3))


def _steps(own: Cloud, beside: Cloud, places: Floats, across: Floats, direction: Floats, grain: float) -> Steps:
    """The rim and the steps across it: between the outer surfaces of both pieces next to where these face each other.

    At each place of the rim a plane is laid through the outer surface around it and one parallel to it through the
    other piece's across the fracture, by least squares: the step is the distance between the two. A surface that goes
    on evenly has none, however steep it is.
    """
    first, second = (_rim(cloud, edge, direction, grain) for cloud, edge in ((own, places), (beside, across)))
    none = np.zeros((0, 2, 3)), np.zeros(0)
    if len(first) < MIN_RIM or len(second) < MIN_RIM:
        return none
    flat = np.eye(3) - 0.95 * np.outer(direction, direction)  # across the fracture: the gap counts little
    here, there = KDTree(own.points[first] @ flat), KDTree(beside.points[second] @ flat)
    chosen = np.unique(np.linspace(0, len(first) - 1, RIM_PLACES).astype(np.int64))
    _, opposite = there.query(here.data[chosen])
    found, steps = [], []
    for place, near, far in zip(
        first[chosen],
        here.query_ball_point(here.data[chosen], _AROUND * grain),
        there.query_ball_point(there.data[opposite], _AROUND * grain),
        strict=True,
    ):
        a, b = own.points[first[near]], beside.points[second[far]]
        normals = own.normals[first[near]].mean(axis=0), beside.normals[second[far]].mean(axis=0)
        if min(len(a), len(b)) < MIN_RIM or normals[0] @ normals[1] < _ALONG:
            continue
        middle, other = a.mean(axis=0), b.mean(axis=0)
        spread = np.vstack([a - middle, b - other])
        normal = np.linalg.eigh(spread.T @ spread)[1][:, 0]
        normal = normal * np.sign(normal @ normals[0])
        if normal @ normals[0] > _ALONG * np.linalg.norm(normals[0]):
            found.append((own.points[place], other))
            steps.append((other - middle) @ normal)
    return (np.array(found), np.array(steps)) if found else none


def _rim(cloud: Cloud, edge: Floats, direction: Floats, grain: float) -> npt.NDArray[np.int64]:
    """Points of the outer surface near the places where a piece faces another, but not on the rounded edge itself."""
    away = KDTree(edge).query(cloud.points, distance_upper_bound=_BAND[1] * grain)[0]
    outer = np.abs(cloud.normals @ direction) < _ACROSS
    return np.flatnonzero((away > _BAND[0] * grain) & np.isfinite(away) & outer)
