"""A broken femur whose pieces have moved by a known way, and its other side: for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from measure_bodies import Field, draw, grid_around, mirrored, turned
from osteon.core.labels import Segmentation, Structure
from osteon.phantoms.shapes import chain, ellipsoid, smooth_union

Points = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
_FAR = 52.0
"""No place of the bone lies further from its axis."""
_KNOBS = (
    ((-30, 5, 80), (15, 15, 15)),  # head
    ((9, -3, 64), (9, 11, 14)),  # greater trochanter
    ((-6, -9, 44), (6, 6, 7)),  # lesser trochanter
    ((15, -6, -74), (12, 20, 13)),  # lateral condyle
    ((-13, -8, -75), (12, 22, 14)),  # medial condyle
)
SPACE = ((-135.0, -45.0, -98.0), (45.0, 45.0, 112.0))
"""The part of the world that holds both sides, pieces moved."""


def femur(p: Points) -> Points:
    """A short right femur, 190 mm long: x right and lateral, y anterior, z up."""
    distances = np.full(p.shape[1], 30, np.float32)
    near = np.flatnonzero((np.hypot(p[0], p[1]) < _FAR) & (np.abs(p[2]) < 105))
    p = p[:, near]
    shaft = chain(p, [((2, -2, -70), 13), ((0, 1, -50), 9.5), ((0, 3, 0), 8.5), ((3, 0, 45), 10), ((-2, 0, 62), 10)])
    body = smooth_union(shaft, chain(p, [((0, 0, 60), 9), ((-28, 5, 78), 8.5)]), 8)
    for centre, radii in _KNOBS:
        body = smooth_union(body, ellipsoid(p, centre, radii), 5)
    distances[near] = body
    return distances


@dataclass(frozen=True)
class Move:
    """How a piece moves: degrees about x, y and z through a pivot, then millimetres."""

    degrees: Sequence[float] = (8, -12, 14)
    shift: Sequence[float] = (4, -5, 7)
    pivot: Sequence[float] = (-5, 0, 50)

    @property
    def matrix(self) -> Floats:
        """4×4, RAS mm."""
        found = np.eye(4)
        found[:3, :3] = Rotation.from_euler("xyz", self.degrees, degrees=True).as_matrix()
        found[:3, 3] = np.add(self.pivot, self.shift) - found[:3, :3] @ np.asarray(self.pivot)
        return found

    def apply(self, field: Field) -> Field:
        """A body moved."""
        return turned(field, self.matrix[:3, :3], self.matrix[:3, 3])


def halves(
    bone: Field = femur, *, height: float = 10.3, normal: Sequence[float] = (0.35, 0.15, 1), rough: float = 0.7
) -> tuple[Field, Field]:
    """The lower and the upper part of a bone that breaks along a rough plane."""
    n = np.asarray(normal, dtype=np.float32) / np.float32(np.linalg.norm(normal))

    def above(p: Points) -> Points:
        waves = np.sin(p[0] / 3) + np.cos(p[1] / 3.5)
        return np.asarray(n @ p - n[2] * height + rough * waves, dtype=np.float32)

    return lambda p: np.maximum(bone(p), above(p)), lambda p: np.maximum(bone(p), -above(p))


def other_side(bone: Field = femur) -> Field:
    """The left one, a little turned, beside the right one."""
    turn = Rotation.from_euler("xyz", (5, 4, -9), degrees=True).as_matrix()
    return turned(mirrored(bone), turn, (-92, 4, -3))


def broken_femur(
    fields: Mapping[str, Sequence[Field]],
    *,
    spacing: npt.ArrayLike = 2.0,
    directions: npt.ArrayLike | None = None,
    space: tuple[Sequence[float], Sequence[float]] = SPACE,
) -> Segmentation:
    """Bones by name, each with its pieces: one alone is no numbered one."""
    named = {f"{name} {n}": field for name, pieces in fields.items() for n, field in enumerate(pieces)}
    drawn = draw(named, grid_around(*space, spacing, directions, margin=4.0))
    structures, value = [], 1
    for name, pieces in fields.items():
        more = {"instances": True, "last_value": value + len(pieces) - 1} if len(pieces) > 1 else {}
        structures.append(Structure(name=name, value=value, colour="#46a758", **more))  # type: ignore[arg-type]
        value += len(pieces)
    return Segmentation(drawn.array, drawn.geometry, tuple(structures))


def errors_of(reduction: Floats, move: Floats, centre: Floats) -> tuple[float, float]:
    """How far a reduction is from undoing a move: mm at a piece's centre, and degrees."""
    left = reduction @ move
    home = np.linalg.inv(move) @ [*centre, 1]
    degrees = np.degrees(np.linalg.norm(Rotation.from_matrix(left[:3, :3]).as_rotvec()))
    return float(np.linalg.norm((left @ home - home)[:3])), float(degrees)
