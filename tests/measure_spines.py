"""Phantom spines whose heights, discs, angles and slips are known, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from measure_bodies import Field, grid_around
from osteon.core.geometry import Geometry

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One vertebra: its name, mm, and degrees.

    Attributes:
        name: Of its structure.
        height: Of the body, in its middle.
        wedge: Angle between its end plates, positive where it is lower in front.
        half_depth: Of the body.
        half_width: Of the body.
        sink: How far both end plates sink in their middle.
        disc: Height of the disc below it, in its middle.
        forwards: How far the disc below is higher in front, as the angle of its end plates.
        sideways: How far it is higher on the left, in degrees.
        slip: How far this vertebra lies forwards on the one below.
        arch: Whether it has a canal, a lamina and processes.
        box: Whether its body is a box; else an elliptic cylinder.
    """

    name: str
    height: float = 26.0
    wedge: float = 0.0
    half_depth: float = 17.0
    half_width: float = 22.0
    sink: float = 0.0
    disc: float = 9.0
    forwards: float = 0.0
    sideways: float = 0.0
    slip: float = 0.0
    arch: bool = False
    box: bool = False


@dataclass(frozen=True, eq=False)
class PhantomSpine:
    """Where the parts of a spine lie: of each its middle and its frame (right, forwards, up, a row each)."""

    parts: Sequence[Part]
    places: list[tuple[Floats, Floats]] = field(default_factory=list)

    def normals(self, number: int) -> tuple[Floats, Floats]:
        """Of the upper and the lower end plate, both upwards."""
        half = np.radians(self.parts[number].wedge / 2)
        frame = self.places[number][1]
        up, down = (np.array([0, way * np.sin(half), np.cos(half)]) @ frame for way in (1, -1))
        return up, down

    def lean(self, number: int, plate: int, axis: int) -> float:
        """Degrees by which an end plate (0 upper, 1 lower) leans along a world axis."""
        normal = self.normals(number)[plate]
        return float(np.degrees(np.arctan2(normal[axis], normal[2])))

    def lordosis(self, first: int, last: int) -> float:
        """From the upper end plate of one to the lower one of another."""
        return self.lean(last, 1, 1) - self.lean(first, 0, 1)

    def cobb(self) -> float:
        """The largest of all pairs."""
        numbers = range(len(self.parts))
        return max(abs(self.lean(i, 0, 0) - self.lean(j, 1, 0)) for i in numbers for j in numbers if i < j)

    def heights(self, number: int) -> Floats:
        """Anterior, middle, posterior."""
        part = self.parts[number]
        reach = part.half_depth * np.tan(np.radians(part.wedge / 2))
        return np.array([part.height - 2 * reach, part.height - 2 * part.sink, part.height + 2 * reach])

    def discs(self, number: int) -> Floats:
        """Anterior, middle, posterior; of flat end plates of the same depth."""
        part = self.parts[number]
        reach = part.half_depth * np.tan(np.radians(part.forwards / 2))
        return np.array(
            [part.disc + 2 * reach, part.disc + part.sink + self.parts[number + 1].sink, part.disc - 2 * reach]
        )

    def fields(self) -> dict[str, Field]:
        """Of each structure."""
        return {part.name: _vertebra(part, *place) for part, place in zip(self.parts, self.places, strict=True)}

    def grid(self, spacing: npt.ArrayLike = 1.0, directions: npt.ArrayLike | None = None) -> Geometry:
        """Around all of it."""
        centres = np.array([centre for centre, _ in self.places])
        arches = any(part.arch for part in self.parts)
        room, behind = (24.0, 32.0) if arches else (0.0, 0.0)  # so that nothing ends flat near the grid's edge
        return grid_around(
            centres.min(axis=0) - np.array([34, 34 + behind, 26]) - room,
            centres.max(axis=0) + np.array([34, 30, 26]) + room,
            spacing,
            directions,
            10.0,
        )


def build(parts: Sequence[Part], pose: Rotation | None = None) -> PhantomSpine:
    """A spine of parts from top to bottom; the first stands as `pose` has it."""
    frame = np.eye(3) if pose is None else pose.as_matrix().T
    spine, centre = PhantomSpine(parts), np.zeros(3)
    for above, below in zip(parts, [*parts[1:], None], strict=True):
        spine.places.append((centre, frame))
        if below is None:
            break
        _, normal = spine.normals(len(spine.places) - 1)
        lower = centre - above.height / 2 * frame[2]  # the middle of its lower end plate
        right = frame[0]
        half = Rotation.from_rotvec(right * np.radians(-above.forwards / 2))
        ahead = np.cross(normal, right)
        tilt = Rotation.from_rotvec(ahead * np.radians(above.sideways / 2))
        axis = (half * tilt).apply(normal)  # halfway between both end plates
        top = (half * tilt * half * tilt).apply(normal)
        plate_right = (half * tilt * half * tilt).apply(right)
        plate_right = plate_right - (plate_right @ top) * top
        plate_right /= np.linalg.norm(plate_right)
        upper = lower - above.disc * axis
        turn = Rotation.from_rotvec(plate_right * np.radians(below.wedge / 2))
        up = turn.apply(top)
        frame = np.stack([plate_right, np.cross(up, plate_right), up])
        upper = upper - above.slip * np.cross(top, plate_right)
        centre = upper - below.height / 2 * up
    return spine


def truths(spine: PhantomSpine) -> dict[tuple[str, str], float]:
    """What `osteon measure` should find: structures and measure → value."""
    known = {}
    names = [part.name for part in spine.parts]
    for number, part in enumerate(spine.parts):
        heights = spine.heights(number)
        known |= {
            (part.name, f"{place}_height_mm"): value
            for place, value in zip(("anterior", "middle", "posterior"), heights, strict=True)
        }
        known[part.name, "wedge_ratio"] = heights[0] / heights[2]
        known[part.name, "biconcavity_ratio"] = heights[1] / heights[2]
        known[part.name, "wedge_angle_deg"] = part.wedge
        if number + 1 < len(names):
            both = f"{part.name} + {names[number + 1]}"
            discs = spine.discs(number)
            known |= {
                (both, f"{place}_disc_height_mm"): value
                for place, value in zip(("anterior", "middle", "posterior"), discs, strict=True)
            }
            known[both, "disc_height_mm"] = discs.mean()
            known[both, "listhesis_mm"] = part.slip
            known[both, "slip_ratio"] = part.slip / (2 * part.half_depth)
    known[f"{names[0]} + {names[-1]}", "cobb_deg"] = spine.cobb()
    if (names[0], names[-1]) == ("L1", "L5"):
        known["L1 + L5", "lordosis_deg"] = spine.lordosis(0, 4)
        known["L1 + L5", "coronal_angle_deg"] = spine.lean(4, 1, 0) - spine.lean(0, 0, 0)
    return known


def _vertebra(part: Part, centre: Floats, frame: Floats) -> Field:
    tangent, slope = np.tan(np.radians(part.wedge / 2)), np.cos(np.radians(part.wedge / 2))

    def field(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x, y, z = frame @ (points - centre[:, None])
        a, b = x / part.half_width, y / part.half_depth
        round_ = a * a + b * b
        wall = (
            np.maximum(np.abs(x) - part.half_width, np.abs(y) - part.half_depth)
            if part.box
            else (np.sqrt(round_) - 1) * part.half_depth
        )
        sunk = part.sink * np.maximum(1 - round_, 0)
        ends = (np.abs(z) - part.height / 2 + tangent * y) * slope + sunk
        body = np.maximum(wall, ends)
        return np.asarray(np.minimum(body, _arch(part, x, y, z)) if part.arch else body, np.float32)

    return field


def _arch(part: Part, x: Floats, y: Floats, z: Floats) -> Floats:
    """Pedicles, lamina, transverse and spinous processes of boxes behind the body."""
    back = -part.half_depth
    side = np.abs(x)

    def box(sizes: Sequence[tuple[Floats, float, float]]) -> Floats:
        return np.max([np.abs(values - middle) - half for values, middle, half in sizes], axis=0)

    level = part.height / 6
    pedicle = box([(side, 13, 4), (y, back - 7, 9), (z, level, 6)])
    lamina = box([(side, 0, 17), (y, back - 19, 4), (z, -level / 2, 9)])
    transverse = box([(side, 27, 12), (y, back - 14, 4), (z, level, 5)])
    spinous = box([(side, 0, 3.5), (y, back - 33, 12), (z, -level * 1.5, 8)])
    return np.asarray(np.min([pedicle, lamina, transverse, spinous], axis=0))
