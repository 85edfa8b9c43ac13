"""Each vertebra: the heights of its body, how far it has collapsed, and the density of its trabecular bone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.spine_rows import Level, each_vertebra, level_of, with_neighbours
from osteon.measuring.vertebra import Vertebra, find_vertebra

Floats = npt.NDArray[np.float64]

PLACES = ("anterior", "middle", "posterior")
GRADES = (0.2, 0.25, 0.4)
"""Genant: the part of its height that a vertebra has lost, from which on the grades are 1, 2 and 3."""
GRADED = Level(1, 4), Level(2, 4)
"""T4 to L4, as surveys do (O'Neill et al., J Bone Miner Res 9, 1994): L5 is a wedge by nature."""
NORMAL_BICONCAVITY = 0.93
"""Biconcavity ratio of a healthy lumbar vertebra: 0.94 at L3 on lateral absorptiometry (120 women, 0.88 to 0.98: PubMed
10091205); of end plates that sink in by 1.5 and 0.7 mm (Wang et al., Eur Spine J 21, 2012) 0.92."""
MOST_COARSE = 0.3
"""Times half a body's depth that a voxel may be long along it where heights are compared: a fifth of its height."""
CORE = (0.5, 0.5, 0.5)
"""Parts of half the width, depth and height of a body that its trabecular core has."""
FEWEST_VOXELS = 30
METAL_HU = 1500.0
"""From here on it is neither trabecular bone nor its edge: cement, a screw."""
VOLUME = frozenset({"volume"})


def _heights(body: Body) -> tuple[Vertebra, Floats]:
    """Of a body whose voxels are short enough to compare its heights. Raises NotMeasuredError."""
    found = body.find(find_vertebra)
    heights = found.heights()
    if heights.min() <= 0:
        raise NotMeasuredError(f"the end plates of {body.name} cross")
    if found.coarse_mm > MOST_COARSE * found.half_depth:
        raise NotMeasuredError(
            f"voxels are {found.coarse_mm:.1f} mm long along {body.name}: too long for comparing its heights"
        )
    return found, heights


def _line(found: Vertebra, place: int) -> Drawing:
    above, below = found.superior, found.inferior
    ends = ((above.front, below.front), (above.middle, below.middle), (above.back, below.back))[place]
    return Drawing.of("line", f"{PLACES[place]} height", *ends)


class Height:
    """Reads a height of a vertebral body: 0 anterior, 1 middle, 2 posterior."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __call__(self, body: Body) -> Reading:
        """Millimetres."""
        found = body.find(find_vertebra)
        return Reading.of(found.heights()[self.place], [_line(found, self.place)], found.flags)


class Ratio:
    """Reads one height of a body as a part of its posterior one."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __call__(self, body: Body) -> Reading:
        """A ratio."""
        found, heights = _heights(body)
        return Reading.of(heights[self.place] / heights[2], [_line(found, self.place), _line(found, 2)], found.flags)


def wedge_angle(body: Body) -> Reading:
    """Degrees, positive where it is lower in front."""
    found = body.find(find_vertebra)
    upper, lower = found.frame @ found.superior.normal, found.frame @ -found.inferior.normal
    angle = np.degrees(np.arctan2(upper[1], upper[2]) - np.arctan2(lower[1], lower[2]))
    plates = [
        Drawing.of("line", name, plate.front, plate.back)
        for name, plate in (("upper end plate", found.superior), ("lower end plate", found.inferior))
    ]
    return Reading.of(angle, plates, found.flags, sd=found.lean_sd_deg(found.half_depth))


def _beside(bodies: tuple[Body, ...]) -> float:
    """Mean posterior height of neighbours."""
    heights = []
    for body in bodies:
        try:
            heights.append(_heights(body)[1][2])
        except NotMeasuredError:
            continue
    if not heights:
        raise NotMeasuredError("no neighbour's posterior height can be measured")
    return float(np.mean(heights))


def compression(body: Body, *beside: Body) -> Reading:
    """Posterior height, as a part of the neighbours'."""
    found, heights = _heights(body)
    return Reading.of(heights[2] / _beside(beside), [_line(found, 2)], found.flags)


def genant(body: Body, *beside: Body) -> Reading:
    """Grade 0 to 3."""
    level = level_of(body.structure)
    if level is not None and not GRADED[0] <= level <= GRADED[1]:
        raise NotMeasuredError(f"grades are for {GRADED[0]} to {GRADED[1]}: others have another shape by nature")
    found, heights = _heights(body)
    lumbar = level is not None and level.region == GRADED[1].region
    sunk = heights[1] / heights[2] / (NORMAL_BICONCAVITY if lumbar else 1)
    ratios, flags = [heights[0] / heights[2], sunk], list(found.flags)
    try:
        ratios.append(heights[2] / _beside(beside))
    except NotMeasuredError as error:
        flags.append(f"the posterior height has nothing to be compared with: {error}")
    grade = np.searchsorted(GRADES, 1 - min(ratios), side="right")
    return Reading.of(float(grade), [_line(found, place) for place in range(3)], flags)


def _voxels(body: Body) -> tuple[Floats, Floats]:
    """World positions and values of a body's voxels."""
    if body.image is None:
        raise NotMeasuredError("the scan is not there (--dataset)")
    return body.geometry.to_world(np.argwhere(body.mask)), np.asarray(body.image[body.mask], dtype=np.float64)


def trabecular(body: Body) -> Reading:
    """Hounsfield units."""
    places, values = body.find_shared(_voxels)
    found = body.find(find_vertebra)
    axes = np.array([found.half_width, found.half_depth, found.heights()[1] / 2]) * CORE
    x, y, z = ((places - found.centre) @ found.frame.T / axes).T
    inside = values[(x**2 + y**2 < 1) & (np.abs(z) < 1)]
    if len(inside) < FEWEST_VOXELS:
        raise NotMeasuredError(f"the core of {body.name} has only {len(inside)} voxels")
    flags = list(found.flags)
    if inside.max() > METAL_HU:
        flags.append(f"the core of {body.name} holds values up to {inside.max():.0f} HU: cement or metal")
    sides = [
        Drawing.of("line", name, found.centre - reach * axis, found.centre + reach * axis)
        for name, reach, axis in zip(("width", "depth", "height"), axes, found.frame, strict=True)
    ]
    return Reading.of(inside.mean(), sides, flags, sd=float(inside.std() / np.sqrt(len(inside) / 8)))


_GENANT = "Genant et al., J Bone Miner Res 8, 1993"
_EASTELL = "Eastell et al., J Bone Miner Res 6, 1991"
_HEIGHT = (
    "distance of the end plates along the body's axis (halfway between their normals), in its middle plane, {}: the "
    "third of each end plate that lies there, by least squares with the whole plate's curvature, carried on to the wall"
)

MEASURES = (
    *(
        Measure(
            f"{place}_height",
            "spine",
            "mm",
            f"height of a vertebral body, {place}",
            _HEIGHT.format(where),
            f"six-point morphometry: {_GENANT}",
            "the height",
            each_vertebra,
            Height(number),
            "bone",
            needs=VOLUME,
            whole=False,
        )
        for number, (place, where) in enumerate(
            zip(PLACES, ("at the front wall", "halfway between the walls", "at the back wall"), strict=True)
        )
    ),
    *(
        Measure(
            name,
            "spine",
            "ratio",
            what,
            f"{place} ∕ posterior height",
            _EASTELL,
            "both heights",
            each_vertebra,
            Ratio(number),
            "bone",
            needs=VOLUME,
            whole=False,
        )
        for name, what, place, number in (
            ("wedge_ratio", "how far a vertebra has collapsed in front; 1: not at all", "anterior", 0),
            ("biconcavity_ratio", "how far its end plates have sunk in; 1: not at all", "middle", 1),
        )
    ),
    Measure(
        "wedge_angle",
        "spine",
        "deg",
        "angle between a vertebra's end plates, positive where it is lower in front",
        "between planes of least squares through the inner 88 % of each end plate, in the vertebra's sagittal plane",
        "vertebral wedging: O'Brien et al., Radiographic Measurement Manual, Spinal Deformity Study Group, 2008",
        "the end plates",
        each_vertebra,
        wedge_angle,
        "bone",
        needs=VOLUME,
        whole=False,
        positive=False,
    ),
    Measure(
        "compression_ratio",
        "spine",
        "ratio",
        "how far a vertebra has collapsed as a whole; 1: not at all",
        "posterior height ∕ mean posterior height of the vertebrae above and below it",
        _EASTELL,
        "the posterior height",
        with_neighbours,
        compression,
        "bone",
        needs=VOLUME,
        whole=False,
    ),
    Measure(
        "genant",
        "spine",
        "grade",
        "grade of a vertebral fracture, 0 to 3",
        "of T4 to L4, the part of its height that it has lost: 1 − the least of wedge, biconcavity and compression "
        f"ratio; the biconcavity of lumbar ones as a part of a healthy one's, {NORMAL_BICONCAVITY}; grade 1 from 0.20 "
        "on, 2 from 0.25, 3 from 0.40",
        f"{_GENANT}; by measurement, where readers judge shapes, too",
        "the three heights",
        with_neighbours,
        genant,
        "bone",
        needs=VOLUME,
        whole=False,
    ),
    Measure(
        "trabecular",
        "spine",
        "hu",
        "density of a vertebra's trabecular bone",
        "mean over an elliptic cylinder in the middle of the body: half its width, half its depth and half its height",
        "Pickhardt et al., Ann Intern Med 158, 2013, here in 3D; depends on tube voltage and contrast agent",
        "its axes",
        each_vertebra,
        trabecular,
        "bone",
        needs=VOLUME | {"ct"},
        whole=False,
        positive=False,
    ),
)
