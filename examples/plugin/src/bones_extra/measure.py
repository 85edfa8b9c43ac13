"""How many times as long as wide a body is."""

from __future__ import annotations

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import principal_axes
from osteon.measuring.targets import each_body


def elongation(body: Body) -> Reading:
    """From 1 on; it is read again from replicas of the surface, from which its interval follows."""
    axes = body.find(principal_axes)  # remembered: other rows ask for it, too
    length, width, _ = axes.lengths
    if width <= 0:
        raise NotMeasuredError("it has no width")
    return Reading.of(length / width, [Drawing.of("line", ("length", "width")[n], *axes.ends(n)) for n in (0, 1)])


ELONGATION = Measure(
    "elongation",
    "bones-extra",
    "ratio",
    "how many times as long as wide a body is",
    "extent along the first principal axis of its volume / extent along the second",
    "an example",
    "both extents",
    each_body,
    elongation,
    pixels=True,
)
