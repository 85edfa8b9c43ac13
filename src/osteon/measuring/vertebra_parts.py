"""Where the body of a vertebra lies in its label, and which points of its surface are its end plates and walls.

1. The mask is sampled on a grid along the vertebra's own axes. Its body is where the largest balls fit (pedicles,
   laminae and processes are thinner): from there, lines forwards, backwards and sideways end at the body's walls. So
   the body is parted from the arch by the spinal canal, and a label of the body alone needs nothing else.
2. The end plates are what looks up and down within these walls, without the rim (the inner `FOOTPRINT` of an ellipse);
   a plane of least squares through each gives the vertebra's axis, and all is found again along it.
3. Where there is an arch, forwards is from its centre to that of the body; else it is across the body's width; where a
   body is as deep as it is wide, it is the patient's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.shape import across, unit
from osteon.measuring.surface import Mask
from osteon.measuring.vertebra_sampling import ANTERIOR, across_width, find_arch, find_middle, find_walls, sample

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WIDEST = 0.85
"""Half a body's width is this part of its depth at most (the sacrum's wings are none of its first body)."""
FOOTPRINT = 0.88
FACING = 0.7
"""Cosine of the angle within which a plate's surface looks along the axis."""
WALL_FACING = 0.8
SUPERIOR = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class PlateParts:
    """Points of a body's surface, as indices, that belong to one end plate. Empty where it has none.

    Attributes:
        plane: All of it.
        zones: Its front, middle and back third, near the middle plane.
        walls: The front and the back wall next to it.
        cut: Whether the field of view cuts it.
    """

    plane: Ints
    zones: tuple[Ints, Ints, Ints]
    walls: tuple[Ints, Ints]
    cut: bool = False


@dataclass(frozen=True, eq=False)
class BodyParts:
    """A vertebral body in its label.

    Attributes:
        centre: `[3]` in the world.
        frame: `[3, 3]` unit vectors to the right, forwards and upwards, a row each.
        front: How far the front wall lies from the centre, forwards.
        back: The same of the back wall; negative.
        half_width: From the middle to a side.
        superior: Its upper end plate.
        inferior: Its lower one.
        arch: Whether the label holds an arch.
    """

    centre: Floats
    frame: Floats
    front: float
    back: float
    half_width: float
    superior: PlateParts
    inferior: PlateParts
    arch: bool


def frame_of(up: Floats, forwards: Floats = ANTERIOR) -> Floats:
    """`[3, 3]` right, forwards, up, a row each, for unit vectors that need not be perpendicular."""
    ahead = across(forwards, up)
    return np.stack([np.cross(ahead, up), ahead, up])


def find_centre(body: Body) -> Floats:
    """`[3]` the middle of the vertebral body in a vertebra's label."""
    sampled = sample(body, np.eye(3))
    return sampled.place(find_middle(sampled))


def find_parts(body: Body) -> BodyParts:
    """The vertebral body in a label, along `body.up` or the patient's axis. Raises NotMeasuredError."""
    frame = frame_of(SUPERIOR if body.up is None else body.up)
    for _ in range(2):
        sampled = sample(body, frame)
        middle = find_middle(sampled)
        front, back, right, left = find_walls(sampled, middle)
        depth = front - back
        forwards, arch = find_arch(sampled, middle, back)
        if not arch and not len(body.cut):
            forwards = across_width(sampled, middle)
        aside = float(np.clip((right + left) / 2, -depth / 4, depth / 4))
        centre = sampled.place(middle) + aside * frame[0] + ((front + back) / 2) * frame[1]
        front, back, half_width = depth / 2, -depth / 2, min((right - left) / 2, WIDEST * depth)
        frame = frame_of(_axis(body, centre, frame, depth / 2, half_width), forwards)
    superior, inferior = (_plate(body, centre, frame, depth / 2, half_width, way) for way in (1, -1))
    if not len(superior.plane) and not len(inferior.plane):
        why = f"{body.name} is cut by the field of view" if len(body.cut) else f"{body.name} has no end plates"
        raise NotMeasuredError(why)
    return BodyParts(centre, frame, front, back, half_width, superior, inferior, arch)


def edge_along(geometry: Geometry, direction: Floats) -> float:
    """Length of a voxel along a unit vector."""
    return float(np.linalg.norm(geometry.affine_ras[:3, :3].T @ direction))


def _on_plate(body: Body, places: Floats, frame: Floats, half_depth: float, half_width: float, way: int) -> Mask:
    facing = (body.surface.normals @ frame[2]) * way > FACING
    inside = (places[:, 0] / half_width) ** 2 + (places[:, 1] / half_depth) ** 2 < FOOTPRINT**2
    return np.asarray(facing & inside & (places[:, 2] * way > 0))


def _axis(body: Body, centre: Floats, frame: Floats, half_depth: float, half_width: float) -> Floats:
    """Unit vector upwards: halfway between the normals of both end plates, or that of the only one."""
    for _ in range(3):
        places = (body.surface.points - centre) @ frame.T
        normals = []
        for way in (1, -1):
            chosen = np.flatnonzero(_on_plate(body, places, frame, half_depth, half_width, way))
            chosen = trim_plane(places, body.surface.weights, chosen)
            if len(chosen) >= 10:
                slope = fit_plane(places[chosen], body.surface.weights[chosen])
                normals.append(unit([-slope[1], -slope[2], 1.0]))
        if normals:
            frame = frame_of(unit(np.sum(normals, axis=0)) @ frame, frame[1])
    return np.asarray(frame[2])


def fit_plane(places: Floats, weights: Floats) -> Floats:
    """`[3]` height at 0 and slopes along x and y, of a plane of least squares through points `[n, 3]`."""
    root = np.sqrt(weights)
    matrix = np.column_stack([np.ones(len(places)), places[:, 0], places[:, 1]]) * root[:, None]
    return np.asarray(np.linalg.lstsq(matrix, places[:, 2] * root, rcond=None)[0])


def fit_curvature(places: Floats, weights: Floats) -> Floats:
    """`[2]` factors of x² and y² in the surface of second order through points `[n, 3]`: end plates sink in."""
    root, (x, y, z) = np.sqrt(weights), places.T
    matrix = np.column_stack([np.ones(len(x)), x, y, x * x, y * y]) * root[:, None]
    return np.asarray(np.linalg.lstsq(matrix, z * root, rcond=None)[0][3:])


def trim_plane(places: Floats, weights: Floats, chosen: Ints) -> Ints:
    """The points that do not lie far from the plane through all: no spurs, no ribs."""
    for _ in range(2):
        if len(chosen) < 10:
            return chosen
        height, right, ahead = fit_plane(places[chosen], weights[chosen])
        away = np.abs(places[chosen] @ np.array([-right, -ahead, 1.0]) - height)
        chosen = chosen[away <= 3.5 * 1.4826 * np.median(away) + 0.1]
    return chosen


def _plate(body: Body, centre: Floats, frame: Floats, half_depth: float, half_width: float, way: int) -> PlateParts:
    places, weights = (body.surface.points - centre) @ frame.T, body.surface.weights
    facing = body.surface.normals @ frame.T
    chosen = np.flatnonzero(_on_plate(body, places, frame, half_depth, half_width, way))
    plane = trim_plane(places, weights, chosen)
    none = np.zeros(0, np.int64)
    if len(plane) < 10:
        return PlateParts(none, (none, none, none), (none, none))
    height = float(np.median(places[plane, 2]))
    edge, above = edge_along(body.geometry, frame[1]), edge_along(body.geometry, frame[2])
    thick, band = abs(height), max(half_width / 3, 1.5 * edge_along(body.geometry, frame[0]))
    walls = []
    for side in (1, -1):
        level = places[:, 2] * way
        near = (level > 0.25 * thick) & (level < thick + 2) & (np.abs(places[:, 0]) < 0.75 * band)
        there = np.abs(places[:, 1] * side - half_depth) < max(0.3 * half_depth, 2 * edge)
        walls.append(np.flatnonzero(near & there & (facing[:, 1] * side > WALL_FACING)))
    ends = [float(np.median(places[wall, 1])) if len(wall) >= 3 else side * half_depth
            for wall, side in zip(walls, (1, -1), strict=True)]  # fmt: skip
    depth, margin = ends[0] - ends[1], min(1.5 * edge, half_depth / 4)
    ahead = places[:, 1]
    flat = (facing[:, 2] * way > FACING) & (places[:, 2] * way > 0.4 * thick) & (np.abs(places[:, 0]) < band)
    flat &= np.abs(places[:, 2] - height) < max(0.6 * thick, 2 * above)
    halfway = float(np.mean(ends))
    zones = (
        (ahead < ends[0] - margin) & (ahead > ends[0] - depth / 3),
        np.abs(ahead - halfway) < depth / 6,
        (ahead > ends[1] + margin) & (ahead < ends[1] + depth / 3),
    )
    front, middle, back = (np.flatnonzero(flat & zone) for zone in zones)
    return PlateParts(
        plane, (front, middle, back), (walls[0], walls[1]), any(_touches(body, own) for own in (chosen, *walls))
    )


def _touches(body: Body, chosen: Ints) -> bool:
    """Whether some of these points lie where the field of view ends."""
    for outwards in body.cut:
        along = body.surface.points @ outwards
        near = along[chosen] > along.max() - edge_along(body.geometry, outwards)
        if len(near) and np.mean(near) > 0.02:
            return True
    return False
