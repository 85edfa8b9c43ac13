"""Tibias: length, torsion (with the fibula), the plateau's angle."""

from __future__ import annotations

import numpy as np

from osteon.measuring import tibia
from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import across, unit
from osteon.measuring.targets import each, together


def mechanical_length(body: Body) -> Reading:
    """Millimetres from the plateau's centre to the ankle's."""
    top, end = body.find(tibia.plateau).centre, body.find(tibia.ankle)
    drawn = (
        Drawing.of("line", "mechanical axis", top, end),
        Drawing.of("point", "plateau centre", top),
        Drawing.of("point", "ankle centre", end),
    )
    return Reading.of(float(np.linalg.norm(top - end)), drawn, body.find(tibia.long_axis).flags)


def torsion(body: Body, fibula: Body) -> Reading:
    """Degrees; outwards is positive."""
    long, top, end = body.find(tibia.long_axis), body.find(tibia.plateau), body.find(tibia.ankle)
    beside = tibia.section_centre(fibula, long.axis, float(end @ long.axis), long.radius / 3)
    distal = across(beside - end, long.axis)
    outwards = top.along * np.sign(top.along @ distal)
    value = float(np.degrees(np.arctan2(distal @ top.posterior, distal @ outwards)))
    flags = list(long.flags)
    outside = np.sign(np.linalg.det([outwards, -top.posterior, long.axis]))
    if body.side is not None and (outside > 0) != (body.side == "right"):
        flags.append(
            f"{body.name} and {fibula.name} have the shape of the other side's: exchanged, or a mirrored image"
        )
    drawn = (
        Drawing.of("line", "proximal transverse axis", top.one, top.other),
        Drawing.of("line", "distal axis to the fibula", end, beside),
    )
    return Reading.of(value, drawn, flags)


def plateau_angle(body: Body) -> Reading:
    """Degrees on the medial side between the mechanical axis and the plateau, in the plateau's frontal plane."""
    top, end = body.find(tibia.plateau), body.find(tibia.ankle)
    outwards = body.find(tibia.lateral)
    axis = unit(top.centre - end)
    medial = across(-outwards, axis)
    along = top.one - top.other
    along = along * np.sign(along @ medial)
    value = float(np.degrees(np.arctan2(along @ medial, along @ -axis)))
    drawn = (Drawing.of("line", "plateau", top.one, top.other), Drawing.of("line", "mechanical axis", top.centre, end))
    return Reading.of(value, drawn, body.find(tibia.long_axis).flags)


MEASURES = (
    Measure(
        "tibia_length",
        "tibia",
        "mm",
        "mechanical length of the tibia",
        "from midway between the compartments of the plateau to the middle of the section above the ankle (1.5 radii "
        "of the shaft above the distal end)",
        "Paley, Principles of Deformity Correction, 2002: mechanical axis",
        "both centres and the line between them",
        each("tibia"),
        mechanical_length,
        "bone",
        whole=False,
    ),
    Measure(
        "tibial_torsion",
        "tibia",
        "deg",
        "how far the ankle is turned outwards against the plateau",
        "seen along the shaft, between the long axis of the section below the plateau and the line from the tibia's "
        "to the fibula's middle above the ankle; outwards is positive on both sides",
        "distal line: Jakob et al., J Bone Joint Surg Br 62, 1980; adults 20–45°: Strecker et al., ibid. 79, 1997",
        "both lines",
        together("tibia", "fibula"),
        torsion,
        "bone",
        whole=False,
        positive=False,
    ),
    Measure(
        "proximal_tibial_angle",
        "tibia",
        "deg",
        "medial angle between the mechanical axis and the plateau (MPTA)",
        "in the plane of the mechanical axis and the plateau's long axis: on the medial side, between the mechanical "
        "axis and the line through the middles of both compartments",
        "Paley, Principles of Deformity Correction, 2002: 85–90°",
        "both lines",
        each("tibia"),
        plateau_angle,
        "bone",
        whole=False,
    ),
)
