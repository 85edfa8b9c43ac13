"""Landmarks of the femur, found from its shape: head, neck, shaft, condyles; each function remembers by `Body.find`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.long_bone import LongAxis, find_long_axis, require_end
from osteon.measuring.shape import Sections, across, fit_sphere, tangent, unit

Floats = npt.NDArray[np.float64]

HEAD_RADII = 1.7
"""Radius of the head, in radii of the shaft: where the search begins."""
MEDIAL_PART, PROXIMAL_PART = 0.8, 0.6
"""The direction in which the head's surface is furthest away: that of a neck at about 127°."""
CONDYLES = 3.0
"""Height of the region of the condyles, in radii of the shaft."""
NECK = (0.85, 1.9)
"""Where the neck is looked for, in radii of the head from its centre."""
PROXIMAL_SHAFT = (3.5, 7.0)
"""Of it the axis for the neck–shaft angle is fitted, in radii of the head below its centre."""


@dataclass(frozen=True, eq=False)
class Head:
    """The head as a ball, and the direction `medial`, across the shaft, in which it lies from it."""

    centre: Floats
    radius: float
    medial: Floats


@dataclass(frozen=True, eq=False)
class Condyles:
    """Where planes touch the condyles: from behind, and from below; `[3]` each, `one` and `other` in the same order.

    Attributes:
        behind: The two points behind.
        below: The two points below.
        posterior: Unit vector backwards, across the axis.
    """

    behind: tuple[Floats, Floats]
    below: tuple[Floats, Floats]
    posterior: Floats

    @property
    def knee(self) -> Floats:
        """Midway between the lowest points."""
        return np.asarray((self.below[0] + self.below[1]) / 2)


@dataclass(frozen=True, eq=False)
class FemurFrame:
    """A whole femur's own unit vectors: `axis` from knee to head, `medial` along the condyles, `anterior`."""

    axis: Floats
    medial: Floats
    anterior: Floats


def _head_score(sections: Sections, middle: Floats, axis: Floats, end: int) -> float:
    """How far an end lies beside the shaft's line: the head far, the condyles little."""
    known = sections.centres[np.isfinite(sections.radii)]
    near = (known[:4] if end == 0 else known[-4:]).mean(axis=0) - middle
    return float(np.linalg.norm(near - (near @ axis) * axis))


def long_axis(body: Body) -> LongAxis:
    """The shaft's axis. Raises NotMeasuredError."""
    return find_long_axis(body, _head_score)


def head(body: Body) -> Head:
    """The sphere of least squares through the head's surface. Raises NotMeasuredError."""
    long = body.find(long_axis)
    require_end(body, long, proximal=True)
    points, weights = body.surface.points, body.surface.weights
    radius = HEAD_RADII * long.radius
    heights = points @ long.axis
    top = heights > long.high - radius
    centroid = np.average(points[top], axis=0, weights=weights[top])
    medial = across(centroid - long.on_axis(float(centroid @ long.axis)), long.axis)
    outward = unit(MEDIAL_PART * medial + PROXIMAL_PART * long.axis)
    centre = points[np.argmax(points @ outward)] - radius * outward
    for tolerance in (0.5, 0.35, 0.25, 0.15, 0.12, 0.1, 0.08, 0.08):
        away = points - centre
        near = np.abs(np.linalg.norm(away, axis=1) - radius) < tolerance * radius
        chosen = near & (away @ outward > -0.2 * radius)
        centre, radius = fit_sphere(points[chosen], weights[chosen])
    share = weights[chosen].sum() / (2.4 * np.pi * radius**2)
    if not 0.5 <= share <= 1.5:
        raise NotMeasuredError(f"the head of {body.name} was not found")
    return Head(centre, radius, medial)


def neck_centre(body: Body) -> Floats:
    """`[3]` the middle of the neck where it is narrowest. Raises NotMeasuredError.

    The neck is cut across the line from the head's centre to its middle, which follows from the cuts: a few rounds
    settle it.
    """
    long, ball = body.find(long_axis), body.find(head)
    points, weights = body.surface.points, body.surface.weights
    direction = -unit(MEDIAL_PART * ball.medial + PROXIMAL_PART * long.axis)
    step = 0.1 * ball.radius
    count = int((NECK[1] - NECK[0]) / 0.1)
    centre = ball.centre
    for _ in range(6):
        away = points - ball.centre
        depth = away @ direction
        beside = np.linalg.norm(away - depth[:, None] * direction, axis=1)
        slab = ((depth - NECK[0] * ball.radius) / step).astype(np.int64)
        near = (depth > NECK[0] * ball.radius) & (slab < count) & (beside < 1.3 * ball.radius)
        total = np.bincount(slab[near], weights[near], count)
        if not (total > 0).all():
            raise NotMeasuredError(f"the neck of {body.name} was not found")
        widths = np.bincount(slab[near], weights[near] * beside[near], count) / total
        narrowest = int(np.argmin(np.convolve(np.pad(widths, 1, mode="edge"), np.ones(3) / 3, mode="valid")))
        chosen = near & (np.abs(slab - narrowest) <= 2)
        centre = np.average(points[chosen], axis=0, weights=weights[chosen])
        direction = unit(centre - ball.centre)
    return np.asarray(centre)


def proximal_shaft(body: Body) -> tuple[Floats, Floats]:
    """A point and the unit vector, towards proximal, of the shaft below the trochanters. Raises NotMeasuredError."""
    long, ball = body.find(long_axis), body.find(head)
    height = float(ball.centre @ long.axis)
    low, high = height - PROXIMAL_SHAFT[1] * ball.radius, height - PROXIMAL_SHAFT[0] * ball.radius
    if low < long.low + long.radius:
        raise NotMeasuredError(f"too little of the shaft of {body.name} is in the scan")
    return long.line(low, high)


def condyles(body: Body) -> Condyles:
    """Where planes touch both condyles. Raises NotMeasuredError."""
    long = body.find(long_axis)
    require_end(body, long, proximal=False)
    points, weights = body.surface.points, body.surface.weights
    region = points @ long.axis < long.low + CONDYLES * long.radius
    ends, areas = points[region], weights[region]
    centroid = np.average(ends, axis=0, weights=areas)
    posterior = across(centroid - long.on_axis(float(centroid @ long.axis)), long.axis)
    try:  # the head's direction is surer, where it is there
        beside = np.cross(long.axis, body.find(head).medial)
        posterior = beside * np.sign(beside @ posterior)
    except NotMeasuredError:
        pass
    for _ in range(2):
        one, other = tangent(ends, np.cross(posterior, long.axis), posterior)
        along = across(other - one, long.axis)
        beside = np.cross(long.axis, along)
        posterior = beside * np.sign(beside @ posterior)
    return Condyles((one, other), tangent(ends, along, -long.axis), posterior)


def frame(body: Body) -> FemurFrame:
    """Of a whole femur. Raises NotMeasuredError."""
    ball, ends = body.find(head), body.find(condyles)
    axis = unit(ball.centre - ends.knee)
    medial = across(ends.behind[1] - ends.behind[0], axis)
    medial = medial * np.sign(medial @ ball.medial)
    anterior = np.cross(axis, medial)
    return FemurFrame(axis, medial, anterior * -np.sign(anterior @ ends.posterior))


def side_by_shape(body: Body) -> str | None:
    """`left` or `right`, by the sense of medial, anterior and proximal; None where not enough of it is there."""
    try:
        own = body.find(frame)
    except NotMeasuredError:
        return None
    return "left" if np.linalg.det([own.medial, own.anterior, own.axis]) > 0 else "right"


def flags(body: Body) -> tuple[str, ...]:
    """What its shape has against its name."""
    found = list(body.find(long_axis).flags)
    side = body.find(side_by_shape)
    if side is not None and body.side is not None and side != body.side:
        found.append(f"{body.name} has the shape of a {side} femur: sides exchanged, or a mirrored image")
    return tuple(found)
