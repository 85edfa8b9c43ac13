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
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.shape import across, unit
from osteon.measuring.surface import Mask
from osteon.measuring.uncertainty import to_index

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_SAMPLES = 110
"""Along the longest side of the sampled mask."""
BALLS = 0.75
"""Part of the largest ball's radius from which on a place belongs to the middle of a body."""
ARCH = 0.12
"""Part of the voxels behind the body from which on they are an arch."""
WIDEST = 0.85
"""Half a body's width is this part of its depth at most (the sacrum's wings are none of its first body)."""
ELONGATED = 1.15
"""Times its depth that a body alone is wide at least where its width tells which way is forwards."""
TURNED = 0.8
"""Cosine of the angle by which it may be turned against the patient."""
FOOTPRINT = 0.88
FACING = 0.7
"""Cosine of the angle within which a plate's surface looks along the axis."""
WALL_FACING = 0.8
ANTERIOR = np.array([0.0, 1.0, 0.0])
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


@dataclass(frozen=True, eq=False)
class _Sampled:
    """A mask along a frame: `filled[x, y, z]`, `step` apart, the first sample at `origin` in the frame."""

    filled: Mask
    origin: Floats
    step: float
    frame: Floats

    def place(self, index: npt.ArrayLike) -> Floats:
        """`[3]` in the world."""
        return np.asarray((np.asarray(index) * self.step + self.origin) @ self.frame)


def frame_of(up: Floats, forwards: Floats = ANTERIOR) -> Floats:
    """`[3, 3]` right, forwards, up, a row each, for unit vectors that need not be perpendicular."""
    ahead = across(forwards, up)
    return np.stack([np.cross(ahead, up), ahead, up])


def find_centre(body: Body) -> Floats:
    """`[3]` the middle of the vertebral body in a vertebra's label."""
    sampled = _sample(body, np.eye(3))
    return sampled.place(_middle(sampled))


def find_parts(body: Body) -> BodyParts:
    """The vertebral body in a label, along `body.up` or the patient's axis. Raises NotMeasuredError."""
    frame = frame_of(SUPERIOR if body.up is None else body.up)
    for _ in range(2):
        sampled = _sample(body, frame)
        middle = _middle(sampled)
        front, back, right, left = _walls(sampled, middle)
        depth = front - back
        forwards, arch = _arch(sampled, middle, back)
        if not arch and not len(body.cut):
            forwards = _across_width(sampled, middle)
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


def _sample(body: Body, frame: Floats) -> _Sampled:
    places = (body.surface.points - body.surface.points.mean(axis=0)) @ frame.T
    offset = frame @ body.surface.points.mean(axis=0)
    low, high = places.min(axis=0) + offset - 3, places.max(axis=0) + offset + 3
    step = max(float(np.exp(np.log(body.geometry.spacing_mm).mean())), float((high - low).max()) / MOST_SAMPLES)
    sides = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    x, y, z = (axis.ravel() for axis in np.meshgrid(*sides, indexing="ij"))
    index = to_index(np.stack([x, y, z], axis=1) @ frame, body.geometry)
    values = ndimage.map_coordinates(body.mask.astype(np.float32), index.T, order=1, mode="constant")
    filled = values.reshape([len(side) for side in sides]) > 0.5
    times = max(1, round(2 / step))  # single slices that a reader has left out are no wall
    closed = ndimage.binary_closing(np.pad(filled, times), iterations=times)
    inner = slice(times, -times)
    return _Sampled(closed[inner, inner, inner], low, step, frame)


def _middle(sampled: _Sampled) -> Floats:
    """`[3]` index of the middle of the region where large balls fit; of several such the one in front."""
    if not sampled.filled.any():
        raise NotMeasuredError("it is too thin")
    radius = ndimage.distance_transform_edt(np.pad(sampled.filled, 1))[1:-1, 1:-1, 1:-1]
    labels, count = ndimage.label(radius >= BALLS * radius.max())
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))
    large = sizes >= 0.2 * sizes.max()
    return np.asarray(max(centres[large], key=lambda index: float(sampled.place(index) @ ANTERIOR)))


def _run(line: Mask, start: int, way: int) -> int:
    """How many samples follow `start` in a line before it ends."""
    ahead = line[start::way]
    gaps = np.flatnonzero(~ahead)
    return int(gaps[0] if len(gaps) else len(ahead)) - 1


def _walls(sampled: _Sampled, middle: Floats) -> tuple[float, float, float, float]:
    """Front, back, right and left wall, from the middle forwards and to the right: medians of lines through it."""
    x, y, z = (round(float(n)) for n in middle)
    reach = max(1, round(4 / sampled.step))
    near = range(-reach, reach + 1)
    filled = sampled.filled

    def median(axis: int, way: int) -> float:
        lengths = []
        for a in near:
            for b in near:
                at = (x + a, y, z + b) if axis == 1 else (x, y + a, z + b)
                if all(0 <= n < size for n, size in zip(at, filled.shape, strict=True)) and filled[at]:
                    line = filled[at[0], :, at[2]] if axis == 1 else filled[:, at[1], at[2]]
                    lengths.append(_run(line, at[axis], way) + 0.5 + at[axis] - (x, y, z)[axis])
        if not lengths:
            raise NotMeasuredError("its shape is not that of a vertebra")
        return float(np.median(lengths)) * sampled.step

    aside, ahead, _ = (np.array([x, y, z]) - middle) * sampled.step
    return median(1, 1) + ahead, -median(1, -1) + ahead, median(0, 1) + aside, -median(0, -1) + aside


def _arch(sampled: _Sampled, middle: Floats, back: float) -> tuple[Floats, bool]:
    """Forwards, from the centre of what lies behind a body, and whether that is an arch."""
    behind = sampled.filled.copy()
    count = np.count_nonzero(behind)
    place = (np.arange(behind.shape[1]) - middle[1]) * sampled.step
    behind[:, place > back - 2] = False
    part = np.count_nonzero(behind) / count
    before = np.count_nonzero(sampled.filled[:, place > -back + 12]) / count  # further in front than a body reaches
    if before > ARCH and before > part:
        raise NotMeasuredError("its arch lies in front of its body: front and back look exchanged")
    if part < ARCH:
        return sampled.frame[1], False
    towards = (middle - np.array(ndimage.center_of_mass(behind))) @ sampled.frame
    forwards = across(towards, sampled.frame[2])
    return (forwards, True) if forwards @ sampled.frame[1] > 0.7 else (sampled.frame[1], True)


def _across_width(sampled: _Sampled, middle: Floats) -> Floats:
    """Forwards, across the longer axis of a body's cross-section; unchanged where that is round, or turned too far."""
    height = round(float(middle[2]))
    reach = max(1, round(4 / sampled.step))
    level = sampled.filled[:, :, max(height - reach, 0) : height + reach + 1].any(axis=2)
    values, axes = np.linalg.eigh(np.cov(np.argwhere(level).T))
    long = axes[:, 1] * (1 if axes[0, 1] >= 0 else -1)
    if values[1] < ELONGATED**2 * values[0] or long[0] < TURNED:
        return np.asarray(sampled.frame[1])
    return np.asarray(np.array([-long[1], long[0]]) @ sampled.frame[:2])


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
    flat = (facing[:, 2] * way > FACING) & (level_of(places, way) > 0.4 * thick) & (np.abs(places[:, 0]) < band)
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


def level_of(places: Floats, way: int) -> Floats:
    """How far points lie above (`way` 1) or below (−1) the middle."""
    return np.asarray(places[:, 2] * way)


def _touches(body: Body, chosen: Ints) -> bool:
    """Whether some of these points lie where the field of view ends."""
    for outwards in body.cut:
        along = body.surface.points @ outwards
        near = along[chosen] > along.max() - edge_along(body.geometry, outwards)
        if len(near) and np.mean(near) > 0.02:
            return True
    return False
