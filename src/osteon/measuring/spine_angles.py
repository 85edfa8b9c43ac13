"""Angles over several vertebrae, between end plates as a radiograph from in front or from the side would show them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import unit
from osteon.measuring.spine import VOLUME
from osteon.measuring.spine_rows import Between, Level, level_of, whole_row
from osteon.measuring.vertebra import Plate, Vertebra, find_vertebra

Floats = npt.NDArray[np.float64]

CORONAL, SAGITTAL = 0, 1
"""Along which of the patient's axes (right, anterior) normals lean in a plane."""
LORDOSIS = (("L1", "S1"), ("L1", "L5"), ("C2", "C7"))
KYPHOSIS = (("T1", "T12"), ("T4", "T12"), ("T5", "T12"), ("T10", "L2"))
STRETCHES = (("T1", "T5"), ("T5", "T12"), ("T10", "L2"), ("L1", "L5"))


def _lean(plate: Plate, way: int, plane: int) -> float:
    """How far an end plate's normal leans from upwards, to the right or forwards, in a plane; degrees."""
    normal = plate.normal * way
    return float(np.degrees(np.arctan2(normal[plane], normal[2])))


def _draw(found: Vertebra, plate: Plate, plane: int, name: str) -> Drawing:
    """The end plate's line in a plane through its middle."""
    along = np.zeros(3)
    along[plane] = 1.0
    along = unit(along - (along @ plate.normal) / plate.normal[2] * np.array([0.0, 0.0, 1.0]))
    reach = found.half_width if plane == CORONAL else found.half_depth
    return Drawing.of("line", name, plate.centre - reach * along, plate.centre + reach * along)


def _upper(body: Body) -> Plate:
    """The end plate at which a stretch begins: of C2, whose upper one is none, the lower one."""
    found = body.find(find_vertebra)
    return found.inferior if level_of(body.structure) == Level(0, 2) else found.superior


def _lower(body: Body) -> tuple[Plate, int]:
    """The end plate at which it ends, and which way that looks: the sacrum's upper one."""
    found = body.find(find_vertebra)
    return (found.superior, 1) if level_of(body.structure) == Level(3, 1) else (found.inferior, -1)


class Angle:
    """Reads the angle between the ends of a stretch in a plane; `sign` −1 where it counts to the back."""

    def __init__(self, plane: int, sign: int = 1) -> None:
        self.plane, self.sign = plane, sign

    def __call__(self, first: Body, last: Body) -> Reading:
        """Degrees."""
        above, (below, way) = _upper(first), _lower(last)
        of_c2 = -1 if above.normal[2] < 0 else 1
        angle = _lean(below, way, self.plane) - _lean(above, of_c2, self.plane)
        found = first.find(find_vertebra), last.find(find_vertebra)
        lines = [
            _draw(own, plate, self.plane, f"end plate of {own.name}")
            for own, plate in zip(found, (above, below), strict=True)
        ]
        flags = tuple(dict.fromkeys([*found[0].flags, *found[1].flags]))
        half = found[0].half_width if self.plane == CORONAL else found[0].half_depth
        return Reading.of(self.sign * angle, lines, flags, sd=found[0].lean_sd_deg(half))


def largest_cobb(*bodies: Body) -> Reading:
    """Degrees, in the coronal plane."""
    starts: list[tuple[int, float, Plate]] = []
    ends: list[tuple[int, float, Plate]] = []
    unknown, found = [], {}
    for number, body in enumerate(bodies):
        level = level_of(body.structure)
        if level in (Level(0, 1), Level(0, 2), Level(3, 1)):
            continue
        try:
            found[number] = own = body.find(find_vertebra)
        except NotMeasuredError as error:
            unknown.append(str(error))
            continue
        for name, plates, way in (("superior", starts, 1), ("inferior", ends, -1)):
            try:
                plate = getattr(own, name)
            except NotMeasuredError as error:
                unknown.append(str(error))
            else:
                plates.append((number, _lean(plate, way, CORONAL), plate))
    pairs = [(abs(a - b), n, m) for n, (i, a, _) in enumerate(starts) for m, (j, b, _) in enumerate(ends) if i < j]
    if not pairs:
        raise NotMeasuredError(unknown[0] if unknown else "it takes two vertebrae")
    angle, n, m = max(pairs)
    (i, a, above), (j, b, below) = starts[n], ends[m]
    side = "left" if a > b else "right"
    lines = [
        _draw(found[i], above, CORONAL, f"upper end plate of {found[i].name} (curve to the {side})"),
        _draw(found[j], below, CORONAL, f"lower end plate of {found[j].name}"),
    ]
    flags = dict.fromkeys([*unknown, *(flag for own in found.values() for flag in own.flags)])
    return Reading.of(angle, lines, tuple(flags))


_COBB = "Cobb, Instr Course Lect 5, 1948"
_MANUAL = "O'Brien et al., Radiographic Measurement Manual, Spinal Deformity Study Group, 2008"
_PLANES = (
    "between planes of least squares through the end plates, seen in the patient's {} plane: the upper one of the "
    "upper vertebra (of C2 the lower one), the lower one of the lower vertebra (of S1 the upper one)"
)
MEASURES = (
    Measure(
        "cobb",
        "spine",
        "deg",
        "the largest coronal angle of the row",
        _PLANES.format("coronal") + "; the largest of all pairs of vertebrae",
        _COBB,
        "both end plates, and to which side the curve goes",
        whole_row,
        largest_cobb,
        "patient",
        needs=VOLUME,
        whole=False,
    ),
    Measure(
        "coronal_angle",
        "spine",
        "deg",
        "coronal angle between named vertebrae, positive where the curve goes to the right",
        _PLANES.format("coronal"),
        _COBB,
        "both end plates",
        Between(*STRETCHES),
        Angle(CORONAL),
        "patient",
        needs=VOLUME,
        whole=False,
        positive=False,
    ),
    Measure(
        "lordosis",
        "spine",
        "deg",
        "lordosis between named vertebrae, negative where it is a kyphosis",
        _PLANES.format("sagittal"),
        _MANUAL,
        "both end plates",
        Between(*LORDOSIS),
        Angle(SAGITTAL),
        "patient",
        needs=VOLUME,
        whole=False,
        positive=False,
    ),
    Measure(
        "kyphosis",
        "spine",
        "deg",
        "kyphosis between named vertebrae, negative where it is a lordosis",
        _PLANES.format("sagittal"),
        _MANUAL,
        "both end plates",
        Between(*KYPHOSIS),
        Angle(SAGITTAL, -1),
        "patient",
        needs=VOLUME,
        whole=False,
        positive=False,
    ),
)
