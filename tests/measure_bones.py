"""Made-up long bones of two parts whose angles are known: in mm, x lateral on the right side, y forwards, z up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.phantoms.shapes import chain, ellipsoid, rod, smooth_union

Floats = npt.NDArray[np.float64]
Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MadeFemur:
    """A right femur: a shaft along z from the knee at the origin, a neck, a head, two condyles.

    Attributes:
        neck_shaft: Degrees.
        turn: Degrees of the neck about z, forwards.
        tilt: Millimetres by which the outer condyle reaches less far down.
        scale: Of all lengths; 1 is an adult.
    """

    neck_shaft: float = 127.0
    turn: float = 15.0
    tilt: float = 2.0
    scale: float = 1.0

    @property
    def neck_axis(self) -> Floats:
        """From the shaft to the head."""
        up, round_ = np.radians(180 - self.neck_shaft), np.radians(self.turn)
        return np.array([-np.sin(up) * np.cos(round_), np.sin(up) * np.sin(round_), np.cos(up)])

    @property
    def head_centre(self) -> Floats:
        return self.scale * (np.array([0, 0, 380.0]) + 52 * self.neck_axis)

    @property
    def head_radius(self) -> float:
        return 23 * self.scale

    @property
    def _condyles(self) -> list[tuple[Floats, Floats]]:
        radii = np.array([15.0, 27.0, 22.0])
        return [(np.array([-24.0, -10, 0]), radii), (np.array([24.0, -10, self.tilt]), radii)]

    @property
    def below(self) -> tuple[Floats, Floats]:
        """Where a plane touches the condyles from below, the inner one first (ellipsoids, exactly)."""
        (one, radii), (other, _) = self._condyles
        normal = np.array([-(other - one)[2], 0, (other - one)[0]])
        normal = -normal / np.linalg.norm(normal)
        reach = radii**2 * normal / np.linalg.norm(radii * normal)
        return self.scale * (one + reach), self.scale * (other + reach)

    @property
    def knee(self) -> Floats:
        return np.asarray(sum(self.below) / 2)

    @property
    def axis(self) -> Floats:
        """The mechanical one."""
        away = self.head_centre - self.knee
        return np.asarray(away / np.linalg.norm(away))

    @property
    def version(self) -> float:
        """Degrees, seen along the mechanical axis against the condyles, which lie along x here."""
        medial = np.array([-1.0, 0, 0]) + self.axis[0] * self.axis
        medial /= np.linalg.norm(medial)
        forwards = np.cross(medial, self.axis)
        forwards *= np.sign(forwards[1])
        return float(np.degrees(np.arctan2(self.neck_axis @ forwards, self.neck_axis @ medial)))

    @property
    def distal_angle(self) -> float:
        """Degrees on the outer side, in the frontal plane."""
        medial = np.array([-1.0, 0, 0]) + self.axis[0] * self.axis
        medial /= np.linalg.norm(medial)
        along = self.below[1] - self.below[0]
        return float(np.degrees(np.arctan2(-along @ medial, along @ self.axis)))

    def __call__(self, points: Points) -> npt.NDArray[np.float32]:
        """Distances, negative inside."""
        p = np.asarray(points / np.float32(self.scale), dtype=np.float32)
        shaft = chain(p, [((0, 0, 10), 20), ((0, 0, 60), 13.5), ((0, 0, 380), 13.5)])
        neck = rod(p, (0, 0, 380), self.head_centre / self.scale, (15, 13))
        bone = smooth_union(shaft, neck, 5)
        bone = np.minimum(bone, ellipsoid(p, self.head_centre / self.scale, (23, 23, 23)))
        for centre, radii in self._condyles:
            bone = np.minimum(bone, ellipsoid(p, centre, radii))
        return np.asarray(bone * np.float32(self.scale), dtype=np.float32)

    @property
    def box(self) -> tuple[Floats, Floats]:
        """A box that holds it."""
        return self.scale * np.array([-75.0, -40, -25]), self.scale * np.array([45.0, 60, 460])


@dataclass(frozen=True)
class MadeTibia:
    """A right tibia and its fibula, from the knee at the origin downwards.

    Attributes:
        torsion: Degrees by which the ankle is turned outwards.
        slope: Millimetres by which the outer compartment lies higher.
        scale: Of all lengths; 1 is an adult.
        shift: Where the knee is.
    """

    torsion: float = 30.0
    slope: float = 3.0
    scale: float = 1.0
    shift: tuple[float, float, float] = (0, 0, 0)

    LENGTH = 360.0

    def _local(self, points: Points) -> Points:
        moved = points - np.asarray(self.shift, dtype=np.float32)[:, None]
        return np.asarray(moved / np.float32(self.scale), dtype=np.float32)

    def __call__(self, points: Points) -> npt.NDArray[np.float32]:
        """Distances of the tibia, negative inside."""
        p = self._local(points)
        bone = chain(
            p,
            [((0, 4, -30), 20), ((0, 4, -80), 12.5), ((0, 4, -self.LENGTH + 50), 12), ((0, 4, -self.LENGTH + 20), 19)],
        )
        tilted = np.stack([p[0], p[1], p[2] - np.float32(self.slope / 40) * p[0]])
        plateau = np.maximum(ellipsoid(tilted, (0, -5, -20), (38, 25, 400)), np.abs(tilted[2] + 20) - 15)
        bone = smooth_union(bone, plateau, 10)
        floor = np.maximum(bone, -self.LENGTH - p[2])
        return np.asarray(floor * np.float32(self.scale), dtype=np.float32)

    def fibula(self, points: Points) -> npt.NDArray[np.float32]:
        """Distances of the fibula, negative inside."""
        p, round_ = self._local(points), np.radians(self.torsion)
        low = (26 * np.cos(round_), 4 - 26 * np.sin(round_))
        bone = chain(p, [((40, -16, -50), 7), ((*low, -self.LENGTH + 50), 6), ((*low, -self.LENGTH - 10), 6)])
        return np.asarray(bone * np.float32(self.scale), dtype=np.float32)

    @property
    def centre(self) -> Floats:
        """Of the plateau."""
        return np.asarray(self.shift) + self.scale * np.array([0, -5.0, -5])

    @property
    def ankle(self) -> Floats:
        return np.asarray(self.shift) + self.scale * np.array([0, 4.0, -self.LENGTH + 18])

    @property
    def plateau_angle(self) -> float:
        """Degrees on the inner side; the axis lies in the plane of x = 0."""
        return 90 - float(np.degrees(np.arctan(self.slope / 40)))

    @property
    def box(self) -> tuple[Floats, Floats]:
        """A box that holds both bones."""
        low, high = np.array([-42.0, -40, -self.LENGTH - 18]), np.array([52.0, 32, 2])
        return np.asarray(self.shift) + self.scale * low, np.asarray(self.shift) + self.scale * high
