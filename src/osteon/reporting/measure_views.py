"""From where measures are seen: in front, from the side or along an axis, or across the plane of their lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.drawing.slices import PLANES
from osteon.measuring.figure import Drawing, Figure

Floats = npt.NDArray[np.float64]
MOST = 16
"""Lines in a picture: more cannot be told apart."""
SPREAD = 5.0
"""About how many times larger the largest figure of a picture may be than the smallest."""
SNAP = float(np.cos(np.radians(25)))
"""A plane of lines nearer to one of the patient's than this is seen as a radiograph shows it."""
PARALLEL = float(np.cos(np.radians(15)))
"""Lines nearer to parallel than this say nothing of a plane."""
_SIDES = {"spine": 0, "tumour": 2}
"""Family → the patient's axis along which it is looked at; of others the plane of their lines decides."""
_FRONT = ("cobb", "coronal_angle")
_ALONG_BONE = ("femoral_version", "tibial_torsion")
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_ORDER = (1, 0, 2)
"""Where a line leaves it open: from in front, from the side, from below."""


@dataclass(frozen=True, eq=False)
class Direction:
    """How a picture looks at the world.

    Attributes:
        normal: Along the line of sight.
        right: Of the picture, in the world.
        up: Likewise.
        axis: The patient's axis nearest to `normal`.
    """

    normal: Floats
    right: Floats
    up: Floats
    axis: int

    @classmethod
    def along(cls, normal: Floats) -> Direction:
        """Along a unit vector, the right side up as radiologists have it."""
        axis = int(np.argmax(np.abs(normal)))
        plane = next(plane for plane in PLANES if plane.axis == axis)
        up = np.eye(3)[plane.up] - normal * normal[plane.up]
        up = up / np.linalg.norm(up)
        right = np.cross(up, normal)
        return cls(normal, right * (1.0 if right[plane.right] < 0 else -1.0), up, axis)

    @property
    def exact(self) -> bool:
        """Whether it is one of the patient's axes."""
        return abs(float(self.normal[self.axis])) > 1 - 1e-9

    @property
    def words(self) -> str:
        """`seen from in front`."""
        where = ("from the side", "from in front", "along the body" if self.exact else "along the bone")[self.axis]
        return f"seen {where}" if self.exact or self.axis == 2 else f"seen {where}, turned into the plane of the lines"

    @property
    def letters(self) -> tuple[str, str]:
        """The patient's sides on the left and upper edge."""
        return _letter(-self.right), _letter(self.up)

    def flatten(self, points: npt.ArrayLike) -> Floats:
        """`[n, 2]` of `[n, 3]` in the world: mm to the right and upwards."""
        return np.asarray(points, dtype=np.float64) @ np.stack([self.right, self.up], axis=1)


@dataclass(frozen=True, eq=False)
class Marked:
    """A line, angle or point with its number in the report, and the figures that it belongs to."""

    number: int
    drawing: Drawing
    figures: list[Figure]


@dataclass(frozen=True, eq=False)
class MeasureView:
    """A picture's content."""

    direction: Direction
    marked: tuple[Marked, ...]

    @property
    def structures(self) -> tuple[str, ...]:
        """What its figures are about."""
        return tuple(dict.fromkeys(name for one in self.marked for f in one.figures for name in f.structures))

    @property
    def points(self) -> Floats:
        """All that is drawn, `[n, 3]` in the world."""
        return np.concatenate([np.asarray(one.drawing.points, dtype=np.float64) for one in self.marked])


def views_of(
    figures: Sequence[Figure], families: Mapping[str, str], *, flat: int | None = None, first: int = 1
) -> list[MeasureView]:
    """The pictures of some figures of one case; each line is drawn and numbered once.

    Args:
        figures: In the order of the table.
        families: Measure → family.
        flat: Of a picture: the world's axis that it has not.
        first: Number of the first line.
    """
    groups: dict[object, dict[Drawing, tuple[Direction, list[Figure]]]] = {}
    known: dict[object, tuple[Drawing, dict[Drawing, tuple[Direction, list[Figure]]]]] = {}
    for figure in figures:
        if not figure.drawings:
            continue
        direction = _direction(figure, figures, families.get(figure.measure, ""), flat)
        turned = "" if direction.exact else str(np.round(direction.normal, 1).tolist())
        size = round(np.log(_size(figure.drawings)) / np.log(SPREAD))
        group = groups.setdefault((direction.axis, turned, size), {})
        for drawing in figure.drawings:
            first_of_it, place = known.setdefault((drawing.kind, drawing.points), (drawing, group))
            place.setdefault(first_of_it, (direction, []))[1].append(figure)
    order = {name: n for n, name in enumerate(dict.fromkeys(f.structures[0] for f in figures))}
    views, number = [], first
    for group in groups.values():
        own = sorted(group.items(), key=lambda item: order[item[1][1][0].structures[0]])
        for start in range(0, len(own), MOST):
            some = own[start : start + MOST]
            marked = tuple(Marked(number + n, drawing, about) for n, (drawing, (_, about)) in enumerate(some))
            views.append(MeasureView(some[0][1][0], marked))
            number += len(some)
    return views


def _direction(figure: Figure, figures: Sequence[Figure], family: str, flat: int | None) -> Direction:
    if flat is not None:
        return Direction.along(np.eye(3)[flat])
    if figure.measure in _FRONT:
        return Direction.along(np.eye(3)[1])
    if figure.measure in _ALONG_BONE:
        return Direction.along(_bone_axis(figure, figures))
    if family in _SIDES:
        return Direction.along(np.eye(3)[_SIDES[family]])
    return look_at(figure.drawings)


def look_at(drawings: Iterable[Drawing]) -> Direction:
    """Across the plane of lines, so that they are seen in their true length and angles in their true size."""
    lines = [line for drawing in drawings for line in _lines(drawing)]
    if all(abs(float(line @ lines[0])) > PARALLEL for line in lines):  # no plane is sure: the usual one
        axis = next((a for a in _ORDER if not lines or abs(lines[0][a]) < 0.5), 1)
        return Direction.along(np.eye(3)[axis])
    _, vectors = np.linalg.eigh(sum((np.outer(line, line) for line in lines), np.zeros((3, 3))))
    normal = vectors[:, 0]
    axis = int(np.argmax(np.abs(normal)))
    return Direction.along(np.eye(3)[axis] if abs(normal[axis]) > SNAP else normal * np.sign(normal[axis]))


def _bone_axis(figure: Figure, figures: Sequence[Figure]) -> Floats:
    """The mechanical axis of the figure's bone, upwards; the patient's where nothing says it."""
    for other in figures:
        if other.structures[0] == figure.structures[0]:
            for drawing in other.drawings:
                if drawing.name == "mechanical axis" and (lines := _lines(drawing)):
                    return lines[0] * (1.0 if lines[0][2] >= 0 else -1.0)
    return np.array([0.0, 0.0, 1.0])


def _lines(drawing: Drawing) -> list[Floats]:
    """Unit vectors along what is drawn."""
    points = np.asarray(drawing.points, dtype=np.float64)
    if drawing.kind in ("point", "sphere") or len(points) < 2:
        return []
    steps = np.diff(points, axis=0) if drawing.kind == "angle" else (points[-1] - points[0])[None]
    lengths = np.linalg.norm(steps, axis=1)
    return [step / length for step, length in zip(steps, lengths, strict=True) if length > 1e-6]


def _size(drawings: Iterable[Drawing]) -> float:
    points = np.concatenate([np.asarray(drawing.points, dtype=np.float64) for drawing in drawings])
    return max(float(np.linalg.norm(np.ptp(points, axis=0))), 1.0)


def _letter(direction: Floats) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][int(direction[axis] > 0)]
