"""Landmarks of long bones that people move, and the figures that hang on them read again.

A landmark is a point of what a figure draws; the same point of several figures is one landmark. Moving one changes a
figure by as much as its definition differs between the points as they were found and as they are now, so that what
does not follow from points (where along the shaft an axis was fitted) stays as it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from osteon.measuring.figure import Drawing, Figure
from osteon.measuring.shape import across, angle_deg, unit

Floats = npt.NDArray[np.float64]
Point = tuple[float, float, float]
AXIS = "mechanical axis"
FEMUR_AXIS, TIBIA_AXIS = f"{AXIS} of the femur", f"{AXIS} of the tibia"
_ENDS = ("first end", "corner", "last end")


class LandmarkMove(BaseModel):
    """A landmark as a person has put it.

    Attributes:
        structure: Which it belongs to.
        name: Of it.
        point: Where it is now: x, y, z in RAS mm.
        author: Who moved it.
        at: When: `2026-01-31T14:05:00Z`.
    """

    model_config = ConfigDict(frozen=True)

    structure: str
    name: str
    point: list[float] = Field(min_length=3, max_length=3)
    author: str = ""
    at: str = ""

    @property
    def place(self) -> Point:
        """As drawings have it."""
        x, y, z = self.point
        return x, y, z


@dataclass(frozen=True)
class Landmark:
    """A point that figures hang on.

    Attributes:
        structure: Which it belongs to.
        name: Such as `head centre`.
        point: Where it was found.
        measures: Those that hang on it.
    """

    structure: str
    name: str
    point: Point
    measures: tuple[str, ...]


@dataclass(frozen=True)
class _Lines:
    """The lines of a figure, and of other figures of the same bones: by structure and name, `[n, 3]` each."""

    own: Mapping[str, Floats]
    others: Mapping[tuple[str, str], Floats]
    structures: tuple[str, ...]
    ordered: Sequence[tuple[str, Floats]]

    def line(self, name: str, place: int = 0) -> Floats:
        """A line of the figure, else of its structure of that number. Raises KeyError."""
        return self.own[name] if name in self.own else self.others[self.structures[place], name]

    def along(self, name: str, place: int = 0) -> Floats:
        """The unit vector of a line."""
        points = self.line(name, place)
        return unit(points[-1] - points[0])


Formula = Callable[[_Lines, int], float]
"""From lines and a sign (−1 or 1, of a side or direction that lines do not tell) to the figure's value."""


def _length(lines: _Lines, _: int) -> float:
    return float(np.linalg.norm(np.subtract(*lines.line(AXIS))))


def _corner(lines: _Lines, _: int) -> float:
    one, corner, other = lines.line("neck–shaft angle")
    return angle_deg(one - corner, other - corner)


def _between(first: str, second: str) -> Formula:
    """The angle between two lines, whichever way one of them runs."""
    return lambda lines, sign: angle_deg(sign * lines.along(first), lines.along(second))


def _femur_frame(lines: _Lines, sign: int, axis: Floats) -> tuple[Floats, Floats]:
    """Medial and anterior: across the axis, along the posterior condylar line."""
    medial = sign * across(lines.along("posterior condylar line"), axis)
    return medial, np.cross(axis, medial)


def _version(lines: _Lines, sign: int) -> float:
    neck = lines.along("neck axis")
    medial, anterior = _femur_frame(lines, 1, -lines.along(AXIS))
    medial = medial * (1 if medial @ neck > 0 else -1)
    return float(np.degrees(np.arctan2(sign * (neck @ anterior), neck @ medial)))


def _distal_femur(lines: _Lines, sign: int) -> float:
    axis = -lines.along(AXIS)
    medial, _ = _femur_frame(lines, sign, axis)
    along = lines.along("distal condylar line")
    along = along * -np.sign(along @ medial)
    return float(np.degrees(np.arctan2(-along @ medial, along @ axis)))


def _torsion(lines: _Lines, sign: int) -> float:
    axis, along = -lines.along(AXIS), lines.along("proximal transverse axis")
    distal = across(lines.along("distal axis to the fibula"), axis)
    outwards = along * np.sign(along @ distal)
    return float(np.degrees(np.arctan2(sign * (distal @ np.cross(axis, along)), distal @ outwards)))


def _knee(lines: _Lines, sign: int) -> float:
    axis, down = -lines.along(FEMUR_AXIS), lines.along(TIBIA_AXIS)
    medial, _ = _femur_frame(lines, sign, axis)
    return 180 + float(np.degrees(np.arctan2(-down @ medial, -down @ axis)))


def _sum(lines: _Lines, _: int) -> float:
    return sum(float(np.linalg.norm(points[-1] - points[0])) for name, points in lines.ordered if name == AXIS)


def _difference(lines: _Lines, _: int) -> float:
    lengths = [float(np.linalg.norm(points[-1] - points[0])) for name, points in lines.ordered if name == AXIS]
    half = len(lengths) // 2
    return sum(lengths[:half]) - sum(lengths[half:])


FORMULAS: dict[str, Formula] = {
    "femur_length": _length,
    "neck_shaft_angle": _corner,
    "axes_angle": _between("anatomical axis", AXIS),
    "femoral_version": _version,
    "distal_femoral_angle": _distal_femur,
    "tibia_length": _length,
    "tibial_torsion": _torsion,
    "proximal_tibial_angle": _between("plateau", AXIS),
    "hip_knee_ankle_angle": _knee,
    "leg_length": _sum,
    "leg_length_difference": _difference,
    "femur_length_difference": _difference,
    "tibia_length_difference": _difference,
}
"""Measure → what it is of its points."""


def find_landmarks(figures: Sequence[Figure]) -> list[Landmark]:
    """The landmarks of a case's figures, as they were found, in the figures' order."""
    names = _names(figures)
    measures: dict[Point, dict[str, None]] = {point: {} for point in names}
    for figure in _movable(figures):
        for drawing in figure.drawings:
            for point in drawing.points:
                measures[point][figure.measure] = None
    return [Landmark(structure, name, point, tuple(measures[point])) for point, (structure, name) in names.items()]


def move_landmarks(figures: Sequence[Figure], moves: Sequence[LandmarkMove]) -> list[Figure]:
    """All figures, those that hang on a moved landmark read again, their intervals as wide as before, and flagged.

    Args:
        figures: Of one case, as they were measured.
        moves: Of landmarks; those of landmarks that are no longer there change nothing.
    """
    names, chosen = _names(figures), {(move.structure, move.name): move for move in moves}
    to = {point: chosen[key] for point, key in names.items() if key in chosen}
    if not to:
        return list(figures)
    found, now = _bones(figures, {}), _bones(figures, to)
    return [_again(figure, to, found, now) if figure.measure in FORMULAS else figure for figure in figures]


def _movable(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.measure in FORMULAS and figure.value is not None]


def _names(figures: Sequence[Figure]) -> dict[Point, tuple[str, str]]:
    """Point → structure and name: what is drawn as a point first, then ends of lines, each point once."""
    found: dict[Point, tuple[str, str]] = {}
    taken: set[tuple[str, str]] = set()
    kinds: tuple[Literal["point", "line", "angle"], ...] = ("point", "line", "angle")
    for kind in kinds:
        for figure in sorted(_movable(figures), key=lambda figure: len(figure.structures)):
            for drawing in (one for one in figure.drawings if one.kind == kind):
                ends = _ENDS if kind == "angle" else (_ENDS[0], _ENDS[2])
                for point, end in zip(drawing.points, ends, strict=False):
                    name = drawing.name if kind == "point" else f"{drawing.name}, {end}"
                    if point not in found and (figure.structures[0], name) not in taken:
                        found[point] = figure.structures[0], name
                        taken.add(found[point])
    return found


def _points(drawing: Drawing, to: Mapping[Point, LandmarkMove]) -> tuple[Point, ...]:
    return tuple(to[point].place if point in to else point for point in drawing.points)


def _bones(figures: Sequence[Figure], to: Mapping[Point, LandmarkMove]) -> dict[tuple[str, str], Floats]:
    """The lines of each bone's own figures."""
    return {
        (figure.structures[0], drawing.name): np.array(_points(drawing, to))
        for figure in reversed(_movable(figures))
        for drawing in figure.drawings
    }


def _again(
    figure: Figure,
    to: Mapping[Point, LandmarkMove],
    found: Mapping[tuple[str, str], Floats],
    now: Mapping[tuple[str, str], Floats],
) -> Figure:
    """The figure with its landmarks where they are now; itself where it hangs on none that was moved."""
    if figure.value is None:
        return figure
    formula = FORMULAS[figure.measure]
    drawings = tuple(drawing.model_copy(update={"points": _points(drawing, to)}) for drawing in figure.drawings)
    before, after = (
        _Lines(
            {drawing.name: np.array(drawing.points) for drawing in shown},
            others,
            figure.structures,
            [(drawing.name, np.array(drawing.points)) for drawing in shown],
        )
        for shown, others in ((figure.drawings, found), (drawings, now))
    )
    try:
        sign = min((1, -1), key=lambda sign: abs(formula(before, sign) - (figure.value or 0.0)))
        change = formula(after, sign) - formula(before, sign)
    except KeyError:  # a line that it needs is of a figure that was not measured
        return figure
    if figure.unit == "deg":
        change = (change + 180) % 360 - 180
    moved = {to[point].name: to[point] for drawing in figure.drawings for point in drawing.points if point in to}
    if not moved and abs(change) < 1e-9:
        return figure
    moved = moved or {move.name: move for move in to.values() if move.structure in figure.structures}
    authors = dict.fromkeys(move.author for move in moved.values() if move.author)
    words = f"moved by {', '.join(authors) or 'a person'}: {', '.join(moved)}"
    ends = {name: None if end is None else end + change for name, end in (("low", figure.low), ("high", figure.high))}
    more = {"value": figure.value + change, "drawings": drawings, "flags": (*figure.flags, words)}
    return figure.model_copy(update=ends | more)
