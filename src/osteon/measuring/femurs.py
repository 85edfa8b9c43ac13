"""Femurs: axes, length, head, neck–shaft angle, version, condylar angle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.measuring import femur
from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import angle_deg, unit
from osteon.measuring.targets import each

Floats = npt.NDArray[np.float64]


def mechanical_length(body: Body) -> Reading:
    """Millimetres from the head's centre to the knee's."""
    ball, ends = body.find(femur.head), body.find(femur.condyles)
    axis = Drawing.of("line", "mechanical axis", ball.centre, ends.knee)
    points = (Drawing.of("point", "head centre", ball.centre), Drawing.of("point", "knee centre", ends.knee))
    return Reading.of(float(np.linalg.norm(ball.centre - ends.knee)), (axis, *points), femur.flags(body))


def head_diameter(body: Body) -> Reading:
    """Millimetres."""
    ball = body.find(femur.head)
    drawn = Drawing.of("sphere", "head", ball.centre, ball.centre + ball.radius * ball.medial)
    return Reading.of(2 * ball.radius, [drawn], femur.flags(body))


def neck_shaft_angle(body: Body) -> Reading:
    """Degrees."""
    ball, neck = body.find(femur.head), body.find(femur.neck_centre)
    centre, up = body.find(femur.proximal_shaft)
    corner = _nearest(centre, up, ball.centre, neck - ball.centre)
    below = corner - 3 * ball.radius * up
    drawn = Drawing.of("angle", "neck–shaft angle", ball.centre, corner, below)
    return Reading.of(angle_deg(ball.centre - neck, -up), [drawn], femur.flags(body))


def axes_angle(body: Body) -> Reading:
    """Degrees between the anatomical and the mechanical axis."""
    long, own = body.find(femur.long_axis), body.find(femur.frame)
    ends = body.find(femur.condyles)
    quarter = (long.high - long.low) / 4
    centre, up = long.line(long.low + quarter, long.high - quarter)
    drawn = Drawing.of("line", "anatomical axis", centre - quarter * up, centre + quarter * up)
    axis = Drawing.of("line", "mechanical axis", body.find(femur.head).centre, ends.knee)
    return Reading.of(angle_deg(up, own.axis), [drawn, axis], femur.flags(body))


def version(body: Body) -> Reading:
    """Degrees; forwards is positive."""
    ball, neck, ends = body.find(femur.head), body.find(femur.neck_centre), body.find(femur.condyles)
    own = body.find(femur.frame)
    along = ball.centre - neck
    turn = float(np.degrees(np.arctan2(along @ own.anterior, along @ own.medial)))
    lines = (
        Drawing.of("line", "neck axis", neck, ball.centre),
        Drawing.of("line", "posterior condylar line", *ends.behind),
    )
    return Reading.of(turn, lines, femur.flags(body))


def condylar_angle(body: Body) -> Reading:
    """Degrees on the lateral side between the mechanical axis and the line under the condyles, in the frontal plane."""
    own, ends = body.find(femur.frame), body.find(femur.condyles)
    one, other = ends.below
    along = other - one
    along = along * -np.sign(along @ own.medial)  # towards lateral
    value = float(np.degrees(np.arctan2(-along @ own.medial, along @ own.axis)))
    lines = (
        Drawing.of("line", "distal condylar line", one, other),
        Drawing.of("line", "mechanical axis", body.find(femur.head).centre, ends.knee),
    )
    return Reading.of(value, lines, femur.flags(body))


def _nearest(point: Floats, direction: Floats, other: Floats, along: Floats) -> Floats:
    """The point of a line (unit vector) that is nearest to another line."""
    second = unit(along)
    part = float(direction @ second)
    offset = other - point
    distance = float(offset @ direction - part * (offset @ second)) / (1 - part**2)
    return np.asarray(point + distance * direction)


MEASURES = (
    Measure(
        "femur_length",
        "femur",
        "mm",
        "mechanical length of the femur",
        "from the head's centre (sphere of least squares) to the knee's: midway between the points where a plane "
        "touches both condyles from below",
        "Paley, Principles of Deformity Correction, 2002: mechanical axis",
        "both centres and the line between them",
        each("femur"),
        mechanical_length,
        "bone",
        whole=False,
    ),
    Measure(
        "head_diameter",
        "femur",
        "mm",
        "diameter of the femoral head",
        "of the sphere of least squares through the surface on the side away from the neck",
        "sphere of least squares",
        "the sphere",
        each("femur"),
        head_diameter,
        "bone",
        whole=False,
    ),
    Measure(
        "neck_shaft_angle",
        "femur",
        "deg",
        "angle between neck and shaft",
        "in space, between the neck's axis (head's centre to the middle of the neck where it is narrowest) and the "
        "shaft's (line through the middles of sections 3.5 to 7 head radii below the head's centre)",
        "angle of inclination, in space; adults 129° on average: Toogood et al., Clin Orthop 467, 2009",
        "both axes",
        each("femur"),
        neck_shaft_angle,
        "bone",
        whole=False,
    ),
    Measure(
        "axes_angle",
        "femur",
        "deg",
        "angle between the anatomical and the mechanical axis",
        "in space; the anatomical axis is the line through the middles of sections in the middle half of the bone",
        "Paley, Principles of Deformity Correction, 2002: 7 ± 2°",
        "both axes",
        each("femur"),
        axes_angle,
        "bone",
        whole=False,
    ),
    Measure(
        "femoral_version",
        "femur",
        "deg",
        "how far the neck is turned forwards",
        "between the neck's axis and the line that touches both condyles from behind, seen along the mechanical "
        "axis; forwards (anteversion) is positive on both sides",
        "posterior condylar line: Murphy et al., J Bone Joint Surg Am 69, 1987 (whose neck axis goes to the shaft)",
        "the neck's axis and the posterior condylar line",
        each("femur"),
        version,
        "bone",
        whole=False,
        positive=False,
    ),
    Measure(
        "distal_femoral_angle",
        "femur",
        "deg",
        "lateral angle between the mechanical axis and the condyles (mLDFA)",
        "in the plane of the mechanical axis and the posterior condylar line: on the lateral side, between the "
        "mechanical axis and the line that touches both condyles from below",
        "Paley, Principles of Deformity Correction, 2002: 85–90°",
        "both lines",
        each("femur"),
        condylar_angle,
        "bone",
        whole=False,
    ),
)
