"""Landmarks of the tibia, found from its shape: shaft, plateau, ankle; each function remembers by `Body.find`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.long_bone import LongAxis, find_long_axis, require_end
from osteon.measuring.shape import Sections, across, unit

Floats = npt.NDArray[np.float64]

PLATEAU = (0.4, 1.6)
"""Below the proximal end, in radii of the shaft: the section whose axis runs from side to side."""
TOP = 0.8
"""Cosine between a surface's normal and the axis from which on it looks upwards."""
ANKLE = 1.5
"""Height of the ankle's section above the distal end, in radii of the shaft: above the inner malleolus."""
_COMPARTMENT = (0.3, 0.8)
"""Part of the plateau's half width in which each compartment's height is taken: beside the eminence, within the rim."""


@dataclass(frozen=True, eq=False)
class Plateau:
    """The proximal end.

    Attributes:
        along: Unit vector from side to side, of either sign: the long axis of the section below the joint.
        posterior: Unit vector backwards, across it and the shaft.
        one: `[3]` middle of one compartment's surface, that on which `along` ends.
        other: `[3]` of the other.
    """

    along: Floats
    posterior: Floats
    one: Floats
    other: Floats

    @property
    def centre(self) -> Floats:
        """Midway between the compartments."""
        return np.asarray((self.one + self.other) / 2)


def _width_score(sections: Sections, middle: Floats, axis: Floats, end: int) -> float:  # noqa: ARG001
    """How wide an end is: the plateau more than the ankle."""
    known = sections.radii[np.isfinite(sections.radii)]
    return float((known[:6] if end == 0 else known[-6:]).max())


def long_axis(body: Body) -> LongAxis:
    """The shaft's axis. Raises NotMeasuredError."""
    return find_long_axis(body, _width_score)


def plateau(body: Body) -> Plateau:
    """The proximal end. Raises NotMeasuredError."""
    long = body.find(long_axis)
    require_end(body, long, proximal=True)
    points, weights = body.surface.points, body.surface.weights
    depth = long.high - points @ long.axis
    slab = (depth > PLATEAU[0] * long.radius) & (depth < PLATEAU[1] * long.radius)
    ring, areas = points[slab], weights[slab]
    centre = np.average(ring, axis=0, weights=areas)
    flat = ring - centre
    flat -= (flat @ long.axis)[:, None] * long.axis
    along = unit(np.linalg.eigh((flat * areas[:, None]).T @ flat)[1][:, 2])
    beside = np.cross(long.axis, along)
    backwards = across(centre - long.on_axis(float(centre @ long.axis)), long.axis)
    posterior = beside * np.sign(beside @ backwards or 1.0)
    up = body.surface.normals @ long.axis > TOP
    top = up & (depth < PLATEAU[1] * long.radius)
    out = (points - centre) @ along / max(float(np.abs(flat @ along).max()), 1e-9)
    halves = [top & (sign * out > _COMPARTMENT[0]) & (sign * out < _COMPARTMENT[1]) for sign in (1, -1)]
    if not all(half.any() for half in halves):
        raise NotMeasuredError(f"the plateau of {body.name} was not found")
    one, other = (np.average(points[half], axis=0, weights=weights[half]) for half in halves)
    return Plateau(along, posterior, one, other)


def ankle(body: Body) -> Floats:
    """`[3]` the middle of the section above the ankle's joint. Raises NotMeasuredError."""
    long = body.find(long_axis)
    require_end(body, long, proximal=False)
    return section_centre(body, long.axis, long.low + ANKLE * long.radius, long.radius / 3)


def section_centre(body: Body, axis: Floats, height: float, thickness: float) -> Floats:
    """`[3]` the middle of a body's surface in a slab across an axis. Raises NotMeasuredError: there is none."""
    heights = body.surface.points @ axis
    near = np.abs(heights - height) < thickness
    if not near.any():
        raise NotMeasuredError(f"{body.name} does not reach the level that is needed")
    return np.asarray(np.average(body.surface.points[near], axis=0, weights=body.surface.weights[near]))


def lateral(body: Body) -> Floats:
    """Unit vector outwards along the plateau, by the side and where its front is. Raises NotMeasuredError."""
    long, top = body.find(long_axis), body.find(plateau)
    if body.side is None:
        raise NotMeasuredError(f"the name of {body.name} does not tell left or right")
    outwards = np.cross(-top.posterior, long.axis) * (1 if body.side == "right" else -1)
    return np.asarray(top.along * np.sign(top.along @ outwards))
