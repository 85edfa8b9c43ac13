"""Any body: volume, surface, length, box, sphericity."""

from __future__ import annotations

import numpy as np

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import PrincipalAxes, principal_axes
from osteon.measuring.targets import each_body

VOLUME = frozenset({"volume"})
AREA_ERROR = 0.006
"""Standard deviation of an area, as a part of it, that steps of the voxels leave (benchmarks/measures.py)."""


def volume(body: Body) -> Reading:
    """cm³."""
    return Reading.of(body.surface.enclosed * (1 - body.holes) / 1000)


def area(body: Body) -> Reading:
    """mm², in a picture the area that is covered."""
    if body.surface.flat:
        return Reading.of(body.surface.enclosed * (1 - body.holes))
    return Reading.of(body.surface.area, sd=AREA_ERROR * body.surface.area)


def sphericity(body: Body) -> Reading:
    """From 0 to 1, that of a ball."""
    value = np.cbrt(36 * np.pi * body.surface.enclosed**2) / body.surface.area
    return Reading.of(value, sd=AREA_ERROR * value)


class Extent:
    """Reads how far a body reaches along one of its principal axes; `NAMES` has what each is called."""

    NAMES = ("length", "width", "depth")

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def __call__(self, body: Body) -> Reading:
        """Millimetres."""
        own: PrincipalAxes = body.find(principal_axes)
        return Reading.of(own.lengths[self.axis], [Drawing.of("line", self.NAMES[self.axis], *own.ends(self.axis))])


MEASURES = (
    Measure(
        "volume",
        "bone",
        "cm3",
        "what the structure fills",
        "number of voxels × volume of a voxel; holes inside do not count",
        "voxel counting (Cavalieri): unbiased for any position of the grid",
        "nothing",
        each_body,
        volume,
        needs=VOLUME,
    ),
    Measure(
        "surface_area",
        "bone",
        "mm2",
        "its outer surface; in a picture the area that it covers",
        "area of the smoothed surface between the voxels (docs/measure.md), holes inside left out; in a picture pixels "
        "× area of a pixel",
        "marching cubes (Lewiner et al., J Graph Tools 8, 2003) of the low-passed mask",
        "nothing",
        each_body,
        area,
        pixels=True,
    ),
    Measure(
        "sphericity",
        "bone",
        "ratio",
        "1 for a ball, less for all else",
        "∛(36 π V²) ∕ A with V the volume inside the outer surface and A its area",
        "Wadell, J Geol 43, 1935; IBSI: Zwanenburg et al., Radiology 295, 2020",
        "nothing",
        each_body,
        sphericity,
        needs=VOLUME,
    ),
    *(
        Measure(
            name,
            "bone",
            "mm",
            what,
            f"how far the surface reaches along the {number} principal axis: the eigenvectors of the covariance of the "
            "volume inside, the largest eigenvalue first; the three are an oriented box",
            "principal axes of inertia; box aligned with them",
            "the axis from end to end",
            each_body,
            Extent(axis),
            "bone",
            needs=VOLUME if axis == 2 else frozenset(),
            pixels=True,
        )
        for axis, (name, number, what) in enumerate(
            (
                ("length", "first", "along its longest axis"),
                ("width", "second", "across it, where it is wider"),
                ("depth", "third", "across it, where it is thinner"),
            )
        )
    ),
)
