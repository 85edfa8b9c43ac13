"""Legs: the angle at the knee, lengths, and the difference between both sides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osteon.measuring import femur, tibia
from osteon.measuring.body import Body
from osteon.measuring.femurs import mechanical_length as femur_length
from osteon.measuring.figure import Drawing, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import unit
from osteon.measuring.targets import both_sides, together
from osteon.measuring.tibias import mechanical_length as tibia_length


def hip_knee_ankle(thigh: Body, shin: Body) -> Reading:
    """Degrees; 180 is straight, less is bow-legged (varus)."""
    own, ball, ends = thigh.find(femur.frame), thigh.find(femur.head), thigh.find(femur.condyles)
    top, end = shin.find(tibia.plateau).centre, shin.find(tibia.ankle)
    down = unit(end - top)
    value = 180 + float(np.degrees(np.arctan2(-down @ own.medial, -down @ own.axis)))
    drawn = (
        Drawing.of("line", "mechanical axis of the femur", ball.centre, ends.knee),
        Drawing.of("line", "mechanical axis of the tibia", top, end),
    )
    return Reading.of(value, drawn, (*femur.flags(thigh), *shin.find(tibia.long_axis).flags))


def leg_length(thigh: Body, shin: Body) -> Reading:
    """Millimetres: both mechanical lengths together."""
    return _together(thigh.find(femur_length), shin.find(tibia_length))


def difference(*lengths: Callable[[Body], Reading]) -> Callable[..., Reading]:
    """The sum of lengths of the left bones less that of the right ones, millimetres."""

    def read(*bodies: Body) -> Reading:
        half = len(bodies) // 2
        left, right = (
            _together(*(body.find(length) for body, length in zip(side, lengths, strict=True)))
            for side in (bodies[:half], bodies[half:])
        )
        return Reading.of(left.value - right.value, left.drawings + right.drawings, left.flags + right.flags)

    return read


def _together(*readings: Reading) -> Reading:
    drawings = [drawing for reading in readings for drawing in reading.drawings]
    flags = [flag for reading in readings for flag in reading.flags]
    return Reading.of(sum(reading.value for reading in readings), drawings, flags)


_PALEY = "Paley, Principles of Deformity Correction, 2002"
MEASURES = (
    Measure(
        "hip_knee_ankle_angle",
        "leg",
        "deg",
        "the leg's axis at the knee: 180° is straight, less is varus, more is valgus",
        "180° and the angle by which the tibia's mechanical axis turns outwards from the femur's, in the femur's "
        "frontal plane (mechanical axis and posterior condylar line)",
        _PALEY + ": 178.7 ± 2°",
        "both mechanical axes",
        together("femur", "tibia"),
        hip_knee_ankle,
        "bone",
        whole=False,
    ),
    Measure(
        "leg_length",
        "leg",
        "mm",
        "mechanical lengths of femur and tibia together",
        "femur_length and tibia_length, whatever the knee's flexion",
        _PALEY,
        "both mechanical axes",
        together("femur", "tibia"),
        leg_length,
        "bone",
        whole=False,
    ),
    Measure(
        "leg_length_difference",
        "leg",
        "mm",
        "by how much the left leg is longer",
        "leg_length of the left side less that of the right",
        _PALEY,
        "all mechanical axes",
        both_sides("femur", "tibia"),
        difference(femur_length, tibia_length),
        "bone",
        whole=False,
        positive=False,
    ),
    Measure(
        "femur_length_difference",
        "leg",
        "mm",
        "by how much the left femur is longer",
        "femur_length of the left side less that of the right",
        _PALEY,
        "both mechanical axes",
        both_sides("femur"),
        difference(femur_length),
        "bone",
        whole=False,
        positive=False,
    ),
    Measure(
        "tibia_length_difference",
        "leg",
        "mm",
        "by how much the left tibia is longer",
        "tibia_length of the left side less that of the right",
        _PALEY,
        "both mechanical axes",
        both_sides("tibia"),
        difference(tibia_length),
        "bone",
        whole=False,
        positive=False,
    ),
)
