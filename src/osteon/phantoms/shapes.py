"""Bodies as signed distances, and the small random functions that roughen them.

Points are `[3, n]` float32 millimetres. A distance is negative inside; it is exact for spheres and cylinders and close
enough to exact near the surface for the rest, which is where it matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
Field = npt.NDArray[np.float32]


def ellipsoid(points: Points, centre: npt.ArrayLike, radii: npt.ArrayLike) -> Field:
    """Distance to an ellipsoid `[n]`, scaled so that it is in mm near the surface."""
    scaled = (points - _column(centre)) / _column(radii)
    length = np.sqrt(np.einsum("ij,ij->j", scaled, scaled))
    return np.asarray((length - 1) * np.float32(np.min(np.asarray(radii))), dtype=np.float32)


def rod(
    points: Points, start: npt.ArrayLike, end: npt.ArrayLike, radii: tuple[float, float], *, flat: npt.ArrayLike = 1
) -> Field:
    """Distance `[n]` to a rod with round ends whose radius goes from `radii[0]` at `start` to `radii[1]` at `end`.

    `flat` scales x, y, z before measuring: (1, 2, 1) halves the rod's thickness along y.
    """
    scale = np.broadcast_to(np.asarray(flat, dtype=np.float32), 3)
    a, b = np.asarray(start, dtype=np.float32) * scale, np.asarray(end, dtype=np.float32) * scale
    away = points * scale[:, None] - a[:, None]
    along = np.clip((b - a) @ away / max(float((b - a) @ (b - a)), 1e-6), 0, 1)
    off = away - (b - a)[:, None] * along
    radius = np.float32(radii[0]) + np.float32(radii[1] - radii[0]) * along
    return np.asarray((np.sqrt(np.einsum("ij,ij->j", off, off)) - radius) / scale.max(), dtype=np.float32)


def chain(points: Points, knots: Sequence[tuple[npt.ArrayLike, float]]) -> Field:
    """Distance `[n]` to rods from knot to knot, each a place and a radius: a shaft that bends and swells."""
    parts = [rod(points, a, b, (r, s)) for (a, r), (b, s) in pairwise(knots)]
    return np.asarray(np.minimum.reduce(parts), dtype=np.float32)


def smooth_union(one: Field, other: Field, width_mm: float) -> Field:
    """The union of two bodies with a fillet about `width_mm` wide (Quilez, "Smooth minimum", quadratic form)."""
    near = np.maximum(width_mm - np.abs(one - other), 0) / np.float32(width_mm)
    return np.asarray(np.minimum(one, other) - near * near * np.float32(width_mm / 4), dtype=np.float32)


def smooth_step(values: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def partial_volume(depth_mm: Field, voxel_mm: float) -> Field:
    """The part of a voxel that lies inside a flat surface `depth_mm` away: how scanners blur an edge."""
    return np.asarray(np.clip(0.5 + depth_mm / np.float32(voxel_mm), 0, 1), dtype=np.float32)


def rotation(degrees: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`[3, 3]` rotation by the angles about x, then y, then z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)


@dataclass(frozen=True)
class RigidTransform:
    """A rigid movement: turn about `pivot_mm`, then shift."""

    matrix: npt.NDArray[np.float64]
    pivot_mm: npt.NDArray[np.float64]
    shift_mm: npt.NDArray[np.float64]

    def undo(self, points: Points) -> Points:
        """Where the points were before the movement."""
        back = self.matrix.T
        offset = self.pivot_mm - back @ (self.pivot_mm + self.shift_mm)
        return np.asarray(back.astype(np.float32) @ points + _column(offset), dtype=np.float32)


@dataclass(frozen=True)
class RandomWaves:
    """A smooth random function of space: a few plane waves. Zero mean, drawn once, the same wherever it is asked."""

    waves: npt.NDArray[np.float32]
    phases: npt.NDArray[np.float32]
    amplitudes: npt.NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, wavelengths_mm: npt.ArrayLike, sd: float) -> RandomWaves:
        """One wave for each wavelength in a random direction; longer waves are higher; `sd` is that of the sum."""
        lengths = np.asarray(wavelengths_mm, dtype=np.float64)
        directions = rng.normal(size=(len(lengths), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        amplitudes = np.sqrt(lengths)
        amplitudes *= sd * np.sqrt(2 / np.sum(amplitudes**2))
        waves = 2 * np.pi * directions / lengths[:, None]
        phases = rng.uniform(0, 2 * np.pi, len(lengths))
        return cls(waves.astype(np.float32), phases.astype(np.float32), amplitudes.astype(np.float32))

    def __call__(self, points: Points) -> Field:
        """The function's value at each point, `[n]`."""
        total = np.zeros(points.shape[1], dtype=np.float32)
        for wave, phase, amplitude in zip(self.waves, self.phases, self.amplitudes, strict=True):
            total += amplitude * np.sin(wave @ points + phase)
        return total


def _column(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)[:, None]
