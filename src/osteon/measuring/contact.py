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
from osteon.measuring.registration import spread_points
from osteon.measuring.registration_pairs import Cloud, Floats

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
    """How a piece faces another: a function of the first, for `Body.find`; of replicas at the originals' places."""

    other: Body

    def __call__(self, body: Body) -> Contact:
        """Raises NotMeasuredError where they do not face each other."""
        first, second = body.original or body, self.other.original or self.other
        return _measure(body, self.other, first.find(Places(second)))


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


Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Faced:
    """Which points of `surface_cloud` of two pieces face each other, and which are the rim of what does.

    Attributes:
        chosen: `[n]` of the first one.
        nearest: `[n]` of the second one, that each faces.
        rim: `[m]` places of the first one's rim.
        around: For each of them, points of the first one's rim around it.
        across: For each of them, points of the second one's rim across the fracture.
    """

    chosen: Ints
    nearest: Ints
    rim: Ints
    around: Sequence[Ints]
    across: Sequence[Ints]


@dataclass(frozen=True)
class Places:
    """Where a piece faces another: a function of the first, an original as the other is, for `Body.find`."""

    other: Body

    def __call__(self, body: Body) -> Faced:
        """Raises NotMeasuredError where they do not face each other."""
        own, beside = body.find(surface_cloud), self.other.find(surface_cloud)
        distance, nearest = beside.tree.query(own.points, distance_upper_bound=REACH_MM)
        near = np.flatnonzero(np.isfinite(distance) & _no_third_between(body, self.other))
        normals, facing = own.normals[near], beside.normals[nearest[near]]
        way = beside.points[nearest[near]] - own.points[near]
        opposed = np.einsum("ij,ij->i", normals, facing) < _OPPOSED
        touching = distance[near] < 1.5 * _grain(body)
        ahead = np.einsum("ij,ij->i", way, normals) > _AHEAD * distance[near]
        chosen = near[opposed & (ahead | touching)]
        area = body.surface.area * len(chosen) / max(len(own.points), 1)
        if area < MIN_AREA_MM2 or len(chosen) < MIN_RIM:
            raise NotMeasuredError(f"{body.name} and {self.other.name} do not face each other within {REACH_MM:g} mm")
        opposite = np.asarray(nearest[chosen], dtype=np.int64)
        return Faced(chosen, opposite, *_find_rim(own, beside, chosen, opposite, _grain(body)))


def _measure(one: Body, other: Body, faced: Faced) -> Contact:
    own, beside = one.find(surface_cloud), other.find(surface_cloud)
    places, across = own.points[faced.chosen], beside.points[faced.nearest]
    between = _between(own, beside, faced.chosen, faced.nearest)
    gaps = np.maximum(np.einsum("ij,ij->i", across - places, between), 0)
    area = one.surface.area * len(places) / len(own.points)
    return Contact(area, places, across, gaps, *_steps(own, beside, faced))


def _between(own: Cloud, beside: Cloud, chosen: Ints, nearest: Ints) -> Floats:
    """`[n, 3]` unit vectors from the first surface to the second, halfway between their normals."""
    between = own.normals[chosen] - beside.normals[nearest]
    return np.asarray(between / np.linalg.norm(between, axis=1, keepdims=True))


def _grain(body: Body) -> float:
    return float(np.cbrt(body.geometry.voxel_volume_mm3))


def _find_rim(
    own: Cloud, beside: Cloud, chosen: Ints, nearest: Ints, grain: float
) -> tuple[Ints, Sequence[Ints], Sequence[Ints]]:
    """Places of the rim next to where two pieces face each other, and points around them on both sides."""
    direction = _between(own, beside, chosen, nearest).mean(axis=0)
    direction /= np.linalg.norm(direction)
    edges = own.points[chosen], beside.points[nearest]
    first, second = (_rim(cloud, edge, direction, grain) for cloud, edge in zip((own, beside), edges, strict=True))
    if len(first) < MIN_RIM or len(second) < MIN_RIM:
        return np.zeros(0, np.int64), (), ()
    flat = np.eye(3) - 0.95 * np.outer(direction, direction)  # across the fracture: the gap counts little
    here, there = KDTree(own.points[first] @ flat), KDTree(beside.points[second] @ flat)
    places = np.unique(np.linspace(0, len(first) - 1, RIM_PLACES).astype(np.int64))
    _, opposite = there.query(here.data[places])
    near = here.query_ball_point(here.data[places], _AROUND * grain)
    far = there.query_ball_point(there.data[opposite], _AROUND * grain)
    enough = [n for n in range(len(places)) if min(len(near[n]), len(far[n])) >= MIN_RIM]
    return first[places[enough]], [first[near[n]] for n in enough], [second[far[n]] for n in enough]


def _steps(own: Cloud, beside: Cloud, faced: Faced) -> Steps:
    """The rim and the steps across it: between the outer surfaces of both pieces next to where these face each other.

    At each place of the rim a plane is laid through the outer surface around it and one parallel to it through the
    other piece's across the fracture, by least squares: the step is the distance between the two. A surface that goes
    on evenly has none, however steep it is.
    """
    if not len(faced.rim):
        return np.zeros((0, 2, 3)), np.zeros(0)
    here_middles, here_normals, here_spread = _patches(own, faced.around)
    there_middles, there_normals, there_spread = _patches(beside, faced.across)
    normals = np.linalg.eigh(here_spread + there_spread)[1][:, :, 0]
    away = np.einsum("ij,ij->i", normals, here_normals)
    normals *= np.sign(away)[:, None]
    alike = np.einsum("ij,ij->i", here_normals, there_normals) >= _ALONG
    alike &= np.abs(away) > _ALONG * np.linalg.norm(here_normals, axis=1)
    rim = np.stack([own.points[faced.rim], there_middles], axis=1)
    return rim[alike], np.einsum("ij,ij->i", there_middles - here_middles, normals)[alike]


def _patches(cloud: Cloud, groups: Sequence[Ints]) -> tuple[Floats, Floats, Floats]:
    """Of groups of points their middles `[n, 3]`, mean normals `[n, 3]` and spreads `[n, 3, 3]`."""
    counts = np.array([len(group) for group in groups])
    starts = np.cumsum(counts) - counts
    chosen = np.concatenate(groups)
    points = cloud.points[chosen]
    middles = np.add.reduceat(points, starts) / counts[:, None]
    normals = np.add.reduceat(cloud.normals[chosen], starts) / counts[:, None]
    local = points - np.repeat(middles, counts, axis=0)
    return middles, normals, np.add.reduceat(local[:, :, None] * local[:, None, :], starts)


def _rim(cloud: Cloud, edge: Floats, direction: Floats, grain: float) -> npt.NDArray[np.int64]:
    """Points of the outer surface near the places where a piece faces another, but not on the rounded edge itself."""
    away = KDTree(edge).query(cloud.points, distance_upper_bound=_BAND[1] * grain)[0]
    outer = np.abs(cloud.normals @ direction) < _ACROSS
    return np.flatnonzero((away > _BAND[0] * grain) & np.isfinite(away) & outer)
