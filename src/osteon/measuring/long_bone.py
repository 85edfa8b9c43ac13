"""What long bones have in common: the axis of the shaft, which of its ends is which, what the field of view cuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.shape import Sections, fit_line, make_sections, principal_axes, unit

Floats = npt.NDArray[np.float64]
SECTIONS = 48
"""Over the bone's length."""
SLENDER = 2.5
"""Times longer than wide: of what is shorter, the patient's axis counts, since its own are not the shaft's."""
SHAFT = (0.3, 0.7)
"""Part of the length in which the shaft's line is fitted."""
_UPRIGHT = 0.5
"""Cosine between the bone's axis and the patient's, below which the patient's says nothing of which end is which."""
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class LongAxis:
    """The axis of a long bone, in the world.

    Attributes:
        origin: `[3]` on the line through the middles of the shaft's sections.
        axis: `[3]` unit vector along it, towards the proximal end.
        radius: Of the shaft: the median over its sections.
        low: Height (along `axis`) of the distal end.
        high: Height of the proximal end.
        sections: Across the axis.
        flags: What speaks against it.
    """

    origin: Floats
    axis: Floats
    radius: float
    low: float
    high: float
    sections: Sections
    flags: tuple[str, ...] = ()

    def on_axis(self, height: float) -> Floats:
        """The point of the line at a height."""
        return np.asarray(self.origin + (height - self.origin @ self.axis) * self.axis)

    def line(self, low: float, high: float) -> tuple[Floats, Floats]:
        """A point and the unit vector, towards proximal, of the line through the sections between two heights."""
        inside = (self.sections.heights >= low) & (self.sections.heights <= high)
        centre, direction = fit_line(self.sections.centres[inside & np.isfinite(self.sections.radii)])
        return centre, direction * np.sign(direction @ self.axis)


def find_long_axis(body: Body, proximal_score: Callable[[Sections, Floats, Floats, int], float]) -> LongAxis:
    """The axis of a bone.

    Args:
        body: The bone.
        proximal_score: Of sections, the shaft's line (point, vector) and an end (0 the first section, −1 the last):
            how much that end looks as the proximal one does. The larger of both ends wins where the whole bone is
            there; the patient's axis decides where it is cut, or they differ by less than a third.

    Raises:
        NotMeasuredError: The bone is broken, or nothing tells which end is which.
    """
    if body.broken:
        raise NotMeasuredError(f"{body.name} is in {len(body.pieces)} pieces")
    points, weights = body.surface.points, body.surface.weights
    own = body.find(principal_axes)
    flags: list[str] = []
    slender = own.lengths[0] >= SLENDER * own.lengths[1]
    axis = own.axes[0] if slender else UP
    if slender:
        for _ in range(2):
            sections = make_sections(points, weights, axis, own.lengths[0] / SECTIONS)
            axis = _shaft(sections)[1]
    elif not len(body.cut):
        raise NotMeasuredError(f"{body.name} is too short for a long bone")
    else:
        flags.append(f"of {body.name} too little is in the scan for its own axis: the patient's was taken")
    axis = axis * np.sign(axis @ UP or 1.0)
    sections = make_sections(points, weights, axis, own.lengths[0] / SECTIONS)
    middle = _shaft(sections)[0] if slender else _lowest(sections, body, axis)
    upright = axis @ UP > _UPRIGHT
    if slender and not len(body.cut):
        low, high = (proximal_score(sections, middle, axis, end) for end in (0, -1))
        clear = max(low, high) > 4 / 3 * min(low, high)
        if clear and low > high:
            axis = -axis
            if upright:
                flags.append(f"{body.name} lies upside down in the scan, by its shape")
        if not clear and not upright:
            raise NotMeasuredError(f"nothing tells which end of {body.name} is which")
    elif not upright:
        raise NotMeasuredError(f"{body.name} is cut, and nothing tells which end is which")
    sections = make_sections(points, weights, axis, own.lengths[0] / SECTIONS)
    heights = points @ axis
    radius = float(np.nanmedian(sections.radii[_inside(sections)]))
    return LongAxis(middle, axis, radius, float(heights.min()), float(heights.max()), sections, tuple(flags))


def _inside(sections: Sections) -> npt.NDArray[np.bool_]:
    low, high = sections.heights.min(), sections.heights.max()
    part = (sections.heights - low) / max(high - low, 1e-9)
    return np.asarray((part >= SHAFT[0]) & (part <= SHAFT[1]))


def _shaft(sections: Sections) -> tuple[Floats, Floats]:
    centre, axis = fit_line(sections.centres[_inside(sections) & np.isfinite(sections.radii)])
    return centre, unit(axis)


def _lowest(sections: Sections, body: Body, axis: Floats) -> Floats:
    """The middle of the sections at the end that the field of view cuts: the shaft, of a bone whose end is there."""
    first = (body.cut @ axis).min() < -_UPRIGHT
    known = sections.centres[np.isfinite(sections.radii)]
    return np.asarray((known[:4] if first else known[-4:]).mean(axis=0))


def require_end(body: Body, long: LongAxis, *, proximal: bool) -> None:
    """Raise NotMeasuredError where the field of view cuts that end."""
    direction = long.axis if proximal else -long.axis
    if len(body.cut) and (body.cut @ direction).max() > _UPRIGHT:
        raise NotMeasuredError(
            f"the {'proximal' if proximal else 'distal'} end of {body.name} is cut by the field of view"
        )
