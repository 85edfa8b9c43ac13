"""Where a humerus breaks and how far its pieces move apart.

The surfaces always lie in the same anatomical places (Codman's lines: the surgical neck, the greater tuberosity, the
calcar), so that a fragment's name follows from what it is and can be learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.phantoms.shapes import Field, Points, RandomWaves, RigidTransform, rotation

HEAD, SHAFT, TUBEROSITY, CALCAR = 1, 2, 3, 4


@dataclass(frozen=True)
class FractureSurface:
    """A plane, roughened: positive on the side its normal points to."""

    through_mm: npt.NDArray[np.float64]
    normal: npt.NDArray[np.float64]
    roughness: RandomWaves

    def height(self, points: Points) -> Field:
        """Height above the surface in mm, `[n]`."""
        normal = (self.normal / np.linalg.norm(self.normal)).astype(np.float32)
        flat = normal @ points - np.float32(normal @ self.through_mm)
        return np.asarray(flat + self.roughness(points), dtype=np.float32)


@dataclass(frozen=True)
class Fragment:
    """A piece: its value, the surfaces that bound it (and on which side it lies), and where it has moved."""

    value: int
    bounds: tuple[tuple[FractureSurface, int], ...]
    movement: RigidTransform


@dataclass(frozen=True)
class Fracture:
    """All pieces of a bone. `loss_mm` of bone is crushed on each side of a surface."""

    fragments: tuple[Fragment, ...]
    loss_mm: float

    def depth(self, fragment: Fragment, points: Points) -> Field:
        """How deep the points lie inside the fragment's own part of space, in mm; negative outside."""
        heights = [side * surface.height(points) for surface, side in fragment.bounds]
        return np.asarray(np.minimum.reduce(heights) - np.float32(self.loss_mm), dtype=np.float32)


def draw_fracture(rng: np.random.Generator, count: int) -> Fracture:
    """Draw a fracture in `count` parts: 2 head and shaft, 3 and the greater tuberosity, 4 and the calcar.

    Raises:
        ValueError: `count` is not 2, 3 or 4.
    """
    if count not in (2, 3, 4):
        raise ValueError(f"a humerus breaks into 2, 3 or 4 fragments here, not {count}")
    neck_z = rng.uniform(-37, -31)
    neck = _surface(rng, (0, 0, neck_z), (rng.normal(0, 0.18), rng.normal(0, 0.18), 1))
    greater = _surface(rng, (rng.uniform(5, 7.5), 0, -8), (1, rng.uniform(0.0, 0.3), rng.uniform(0.05, 0.3)))
    wedge = _surface(rng, (rng.uniform(1.5, 3.5), 0, neck_z), (-1, rng.uniform(-0.2, 0.2), rng.uniform(0.24, 0.32)))

    # The head tilts into varus and is pulled off the shaft; the cuff draws the tuberosity up, out and back; the
    # wedge drops medially. Each moves away from its neighbours.
    lift = rng.uniform(2.0, 4.5)
    head = _move(rng, (-7, -2, 0), (rng.uniform(-3.5, 0), rng.uniform(-2.5, 2.5), lift), 7)
    tuberosity = _move(rng, (14, 1, -10), (rng.uniform(3.5, 6), rng.uniform(-3, 0), lift + rng.uniform(0.5, 4)), 7)
    shaft = _move(rng, (0, 0, neck_z - 40), (0, 0, 0), 2)
    calcar = _move(
        rng, (-9, 0, neck_z - 14), (rng.uniform(-5.5, -3.5), rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 0)), 5
    )

    above: list[tuple[FractureSurface, int]] = [(neck, 1)]
    below: list[tuple[FractureSurface, int]] = [(neck, -1)]
    extra = []
    if count >= 3:
        extra.append(Fragment(TUBEROSITY, (*above, (greater, 1)), tuberosity))
        above.append((greater, -1))
    if count == 4:
        extra.append(Fragment(CALCAR, (*below, (wedge, 1)), calcar))
        below.append((wedge, -1))
    pieces = (Fragment(HEAD, tuple(above), head), Fragment(SHAFT, tuple(below), shaft), *extra)
    return Fracture(pieces, loss_mm=rng.uniform(0.3, 0.7))


def comminute(rng: np.random.Generator, fracture: Fracture, value: int) -> Fracture:
    """Break a fracture's head (`HEAD`) or shaft (`SHAFT`) once more: two pieces of one value, a few mm apart."""
    x, z, normal = {HEAD: (-8, 3, (1, 0.3, 0.2)), SHAFT: (0, -68, (0.35, 0.2, 1))}[value]
    crack = _surface(rng, (x, 0, rng.normal(z, 3)), np.asarray(normal) + rng.normal(0, 0.15, 3))
    pieces = []
    for piece in fracture.fragments:
        for side in (1, -1) if piece.value == value else ():
            apart = side * rng.uniform(1.2, 2.2) * crack.normal / np.linalg.norm(crack.normal)
            move = RigidTransform(piece.movement.matrix, piece.movement.pivot_mm, piece.movement.shift_mm + apart)
            pieces.append(Fragment(value, (*piece.bounds, (crack, side)), move))
        if piece.value != value:
            pieces.append(piece)
    return Fracture(tuple(pieces), fracture.loss_mm)


def _surface(rng: np.random.Generator, through_mm: npt.ArrayLike, normal: npt.ArrayLike) -> FractureSurface:
    """Curved by long waves, jagged by short ones."""
    waves = RandomWaves.draw(rng, wavelengths_mm=[45, 30, 16, 11, 8, 6], sd=1.3)
    return FractureSurface(np.asarray(through_mm, dtype=np.float64), np.asarray(normal, dtype=np.float64), waves)


def _move(rng: np.random.Generator, pivot_mm: npt.ArrayLike, shift_mm: npt.ArrayLike, degrees: float) -> RigidTransform:
    turn = rotation(np.clip(rng.normal(0, degrees / 2, 3), -degrees, degrees))
    return RigidTransform(turn, np.asarray(pivot_mm, dtype=np.float64), np.asarray(shift_mm, dtype=np.float64))
