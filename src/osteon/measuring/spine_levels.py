"""Two vertebrae that follow each other: their disc, and how far the upper one has slipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading, Unit
from osteon.measuring.measure import Measure
from osteon.measuring.shape import across, unit
from osteon.measuring.spine import PLACES, VOLUME
from osteon.measuring.spine_rows import neighbours, with_disc
from osteon.measuring.vertebra import Plate, Vertebra, find_vertebra

Floats = npt.NDArray[np.float64]

MOST_COARSE = 0.2
"""Times half a body's depth that a voxel may be long along the spine: some half of a disc's height."""
FURTHEST = 1.2
"""Times half a body's depth that end plates of neighbours are apart at most; beyond, one between them is missing."""
MIN_SLIP_MM = 3.0
"""Below, nothing has slipped: neither readers nor positions of the patient are more exact."""
QUARTER = 0.25


def _points(plate: Plate) -> Floats:
    return np.stack([plate.front, plate.middle, plate.back])


def _gaps(upper: Body, lower: Body, disc: Body | None) -> tuple[Floats, Floats, Floats, Vertebra]:
    """`[3]` heights, and the ends `[3, 3]` of each, above and below. Raises NotMeasuredError."""
    found, other = upper.find(find_vertebra), lower.find(find_vertebra)
    if disc is not None:
        own = disc.find(find_vertebra)
        above, below, axis = _points(own.superior), _points(own.inferior), own.frame[2]
    else:
        plates = found.inferior, other.superior
        above, below = (_points(plate) for plate in plates)
        axis = unit(plates[1].normal - plates[0].normal)
    heights = (above - below) @ axis
    if heights.mean() < 0:
        raise NotMeasuredError(f"{upper.name} and {lower.name} overlap")
    coarse = max(found.coarse_mm, other.coarse_mm)
    if coarse > MOST_COARSE * found.half_depth:
        raise NotMeasuredError(f"voxels are {coarse:.1f} mm long along the spine: too long for a disc")
    if heights.mean() > FURTHEST * found.half_depth:
        raise NotMeasuredError(f"{upper.name} and {lower.name} are too far apart for neighbours: is one between them?")
    return heights, above, below, found


class DiscHeight:
    """Reads a disc's height: 0 anterior, 1 middle, 2 posterior; None: their mean."""

    def __init__(self, place: int | None) -> None:
        self.place = place

    def __call__(self, upper: Body, lower: Body, disc: Body | None = None) -> Reading:
        """Millimetres."""
        heights, above, below, found = _gaps(upper, lower, disc)
        lines = [
            Drawing.of("line", f"{PLACES[n]} disc height", above[n], below[n])
            for n in (range(3) if self.place is None else (self.place,))
        ]
        value = heights.mean() if self.place is None else heights[self.place]
        flags = dict.fromkeys([*found.flags, *lower.find(find_vertebra).flags])
        if value < 0:
            flags[f"{upper.name} and {lower.name} overlap there"] = None
        return Reading.of(max(value, 0.0), lines, tuple(flags))


def _slip(upper: Body, lower: Body) -> tuple[float, float, list[Drawing], tuple[str, ...]]:
    """How far the upper vertebra lies forward on the lower one, that one's depth, and what is drawn of it."""
    found, other = upper.find(find_vertebra), lower.find(find_vertebra)
    above, below = found.inferior, other.superior
    if np.linalg.norm(above.middle - below.middle) > FURTHEST * found.half_depth + other.half_depth:
        raise NotMeasuredError(f"{upper.name} and {lower.name} are too far apart for neighbours: is one between them?")
    depth = float(np.linalg.norm(below.front - below.back))
    axis = unit(below.normal - above.normal)  # of the disc: end plates that open forwards alone are no slip
    ahead = across(below.front - below.back, axis)
    slip = float((above.back - below.back) @ ahead)
    lines = [
        Drawing.of("line", f"upper end plate of {lower.name}", below.back, below.front),
        Drawing.of("line", "slip", below.back, below.back + slip * ahead),
    ]
    return slip, depth, lines, (*found.flags, *other.flags)


def listhesis(upper: Body, lower: Body) -> Reading:
    """Millimetres, positive forwards."""
    slip, _, lines, flags = _slip(upper, lower)
    return Reading.of(slip, lines, flags)


def slip_ratio(upper: Body, lower: Body) -> Reading:
    """Of the lower end plate's depth, positive forwards."""
    slip, depth, lines, flags = _slip(upper, lower)
    return Reading.of(slip / depth, lines, flags)


def meyerding(upper: Body, lower: Body) -> Reading:
    """Grade 0 to 5, of a slip forwards."""
    slip, depth, lines, flags = _slip(upper, lower)
    grade = 0 if slip < MIN_SLIP_MM else min(5, 1 + int(slip / depth / QUARTER))
    return Reading.of(grade, lines, flags)


_DISC = (
    "distance of the lower end plate of the upper vertebra from the upper one of the lower vertebra, along the line "
    "halfway between their normals, in the middle plane, {}; where a label of discs has a body between them, its height"
)
_DISC_SOURCE = "Dabbs and Dabbs, Spine 15, 1990; by end plates: Frobin et al., Clin Biomech 12, 1997"
_SLIP_SOURCE = "Meyerding, Surg Gynecol Obstet 54, 1932"
_SLIPS: Sequence[tuple[str, Unit, str, str, str, Callable[..., Reading]]] = (
    (
        "listhesis",
        "mm",
        "how far a vertebra has slipped on the one below, positive forwards",
        "from the upper back corner of the lower vertebra to the lower back corner of the upper one, along the "
        "plane halfway between both end plates",
        _SLIP_SOURCE + "; the plane: Frobin et al., Clin Biomech 12, 1997",
        listhesis,
    ),
    (
        "slip_ratio",
        "ratio",
        "the same as a part of the lower vertebra's depth",
        "listhesis ∕ depth of the lower vertebra's upper end plate",
        _SLIP_SOURCE,
        slip_ratio,
    ),
    (
        "meyerding",
        "grade",
        "grade of a slip forwards, 0 to 5",
        "0 below 3 mm forwards; 1 up to a quarter of the depth, 2 to a half, 3 to three quarters, 4 to all of "
        "it, 5 beyond",
        _SLIP_SOURCE + "; 3 mm: Iguchi et al., J Spinal Disord Tech 15, 2002",
        meyerding,
    ),
)

MEASURES = (
    *(
        Measure(
            f"{place}_disc_height" if place else "disc_height",
            "spine",
            "mm",
            f"height of a disc, {place or 'mean of anterior, middle and posterior'}",
            _DISC.format(where),
            _DISC_SOURCE,
            "the height",
            with_disc,
            DiscHeight(number),
            "bone",
            needs=VOLUME,
            whole=False,
        )
        for place, number, where in (
            ("", None, "mean of the three"),
            ("anterior", 0, "at the front walls"),
            ("middle", 1, "halfway between the walls"),
            ("posterior", 2, "at the back walls"),
        )
    ),
    *(
        Measure(
            name,
            "spine",
            unit_of,
            what,
            definition,
            source,
            "the lower vertebra's end plate and the slip",
            neighbours,
            read,
            "bone",
            needs=VOLUME,
            whole=False,
            positive=unit_of == "grade",
        )
        for name, unit_of, what, definition, source, read in _SLIPS
    ),
)
