"""An adult's chest as signed distances and Hounsfield numbers: x right, y anterior, z up, mm; 0 between the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.phantoms.shapes import (
    Field,
    Points,
    RandomWaves,
    chain,
    ellipsoid,
    partial_volume,
    rod,
    smooth_step,
    smooth_union,
)

AIR, LUNG, FAT, MUSCLE, LIVER, MARROW, CORTEX = -1000.0, -850.0, -100.0, 50.0, 60.0, 220.0, 700.0
TROUGH_MM = 26.0
"""From rib to rib, down the side of the chest."""


@dataclass(frozen=True)
class Chest:
    """Sizes of one chest (1 is usual), HU of blood and of lung, and waves that make everything uneven."""

    wide: float
    deep: float
    tall: float
    dome_mm: float
    heart_mm: float
    fat_mm: float
    blood_hu: float
    lung_hu: float
    waves: RandomWaves

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Chest:
        """Draw an adult; in some the vessels hold contrast medium."""
        return cls(
            wide=rng.uniform(0.92, 1.06),
            deep=rng.uniform(0.92, 1.08),
            tall=rng.uniform(0.93, 1.04),
            dome_mm=rng.uniform(28, 48),
            heart_mm=rng.uniform(40, 52),
            fat_mm=rng.uniform(6, 16),
            blood_hu=rng.uniform(40, 55) if rng.random() < 0.5 else rng.uniform(120, 190),
            lung_hu=LUNG + rng.uniform(-35, 45),
            waves=RandomWaves.draw(rng, wavelengths_mm=[140, 90, 60, 40], sd=1.0),
        )

    def to_usual_size(self, points: Points) -> Points:
        """Points in a chest of usual size."""
        return np.asarray(points / np.array([[self.wide], [self.deep], [self.tall]], dtype=np.float32))

    def lung_depth(self, p: Points) -> Field:
        """How deep points of a usual chest lie inside a lung, in mm; negative outside."""
        x, y, z = p
        uneven = 1.5 * self.waves(p)
        found = []
        for side in (1, -1):
            body = ellipsoid(p, (side * 66, -1, 4), (58, 82, 124))
            apex = ellipsoid(p, (side * 46, -12, 70), (40, 52, 62))
            lobes = smooth_union(body, apex, 20)
            high = self.dome_mm + (8 if side > 0 else 0)
            floor = -112 + high * np.exp(-(((x - side * 62) / 52) ** 2) - ((y - 8) / 60) ** 2)
            found.append(np.minimum(-lobes, np.minimum(z - floor, side * x - 14 - 0.05 * np.abs(y))))
        heart = self.heart(p)
        hilum = np.minimum(ellipsoid(p, (34, -8, 6), (17, 22, 30)), ellipsoid(p, (-34, -10, 8), (16, 22, 30)))
        depth = np.minimum(np.maximum(*found), np.minimum(np.minimum(heart, self.aorta(p) - 2), hilum))
        return np.asarray(np.minimum(depth, self.spine(p) - 6) + uneven, dtype=np.float32)

    def heart(self, p: Points) -> Field:
        """Distance to the heart, which lies to the left and in front."""
        size = self.heart_mm
        return smooth_union(
            ellipsoid(p, (-26, 26, -48), (size * 1.08, size * 0.95, size * 1.1)),
            ellipsoid(p, (14, 18, -36), (size * 0.8, size * 0.8, size * 1.05)),
            18,
        )

    def aorta(self, p: Points) -> Field:
        """Distance to the aorta: up from the heart, the arch, down beside the spine."""
        knots = [
            (8, 24, -10),
            (12, 22, 30),
            (2, 8, 56),
            (-14, -18, 58),
            (-24, -40, 40),
            (-22, -46, -40),
            (-14, -50, -150),
        ]
        return chain(p, [(knot, 14 if n < 4 else 12) for n, knot in enumerate(knots)])

    def spine(self, p: Points) -> Field:
        """Distance to the vertebrae, discs and all."""
        x, y, z = p
        body = (np.hypot(x / np.float32(1.15), y + 74) - 17 + 1.2 * np.cos(z * np.float32(2 * np.pi / 24))).astype(
            np.float32
        )
        arch = np.asarray(np.hypot(x / np.float32(1.6), (y + 104) / np.float32(1.3)) - 10, dtype=np.float32)
        return smooth_union(body, arch, 12)

    def airways(self, p: Points) -> Field:
        """Distance to the inside of trachea and main bronchi."""
        trachea = chain(p, [((0, -6, 150), 8.5), ((0, -14, 32), 8)])
        bronchi = [rod(p, (0, -14, 32), (side * 46, -12, 0), (7, 5)) for side in (1, -1)]
        return np.minimum(trachea, np.minimum(*bronchi))

    def skin(self, p: Points) -> Field:
        """Distance to the skin."""
        x, y, _ = p
        around = (np.abs(x / np.float32(156)) ** 2.5 + np.abs((y + 5) / np.float32(116)) ** 2.5) ** np.float32(0.4)
        return np.asarray((around - 1) * 112 + 1.5 * self.waves(p), dtype=np.float32)

    def ribs(self, p: Points) -> Field:
        """Distance to the ribs, which fall from the spine to the front, and to the breastbone."""
        x, y, z = p
        around = (np.abs(x / np.float32(134)) ** 2.3 + np.abs((y + 4) / np.float32(101)) ** 2.3) ** np.float32(1 / 2.3)
        shell = (around - np.clip(1.0 - ((z + 20) / 330) ** 2, 0.6, 1)) * 104
        course = z + 0.42 * y + 0.10 * np.abs(x)
        off = (course / np.float32(TROUGH_MM) - np.round(course / np.float32(TROUGH_MM))) * TROUGH_MM
        bars = np.hypot(shell / 0.85, off / 1.35) - 4.3
        front = np.where(y > 72, np.float32(99), bars)  # cartilage there
        breast = ellipsoid(p, (0, 95, 20), (17, 6, 85))
        return np.asarray(np.minimum(front, breast), dtype=np.float32)

    def hounsfield(self, points: Points, depth: Field, texture: Field, voxel: float) -> Field:
        """HU `[n]` of everything but vessels and nodules in the lungs, whose `depth` is that of `lung_depth`."""
        p = self.to_usual_size(points)
        skin = -self.skin(p)
        wave = self.waves(p * 2)
        layers = MUSCLE + 8 * texture - 130 * np.exp(-((wave / 0.12) ** 2))
        hu = FAT + (layers - FAT) * partial_volume(skin - self.fat_mm * (1 + 0.3 * wave), voxel)
        inner = np.float32(1) - smooth_step(np.hypot(p[0] / 1.3, p[1]), 62, 84)
        hu = hu + inner * (p[2] > -115) * (FAT * 0.75 + 12 * texture - hu)  # the mediastinum's fat
        belly = partial_volume(6 - ellipsoid(p, (0, 0, -150), (118, 84, 95)), voxel)
        fatty = smooth_step(-p[0] + 26 * wave, 10, 46)
        hu = hu + belly * (LIVER + 7 * texture - 125 * fatty * (wave > 0.1) - hu)
        for body, value in ((self.heart(p), self.blood_hu), (self.aorta(p), self.blood_hu)):
            hu = hu + partial_volume(-body, voxel) * (value + 6 * texture - hu)
        # In lung the air makes HU rise toward the back, where blood collects.
        parenchyma = self.lung_hu + 22 * texture - 0.35 * p[1] + 18 * wave
        hu = hu + partial_volume(depth, voxel) * (parenchyma - hu)
        for body, wall in ((self.ribs(p), 1.4), (self.spine(p), 1.6)):
            part = partial_volume(-body, voxel)
            inside = partial_volume(-body - wall, voxel)
            bone = CORTEX * (1 - inside) + (MARROW + 35 * texture) * inside
            hu = hu + part * (bone - hu)
        pipes = self.airways(p)
        hu = hu + partial_volume(1.5 - pipes, voxel) * (20 - hu)
        hu = hu + partial_volume(-pipes, voxel) * (AIR - hu)
        return np.asarray(AIR + partial_volume(skin, voxel) * (hu - AIR), dtype=np.float32)


def vessel_tree(
    rng: np.random.Generator, side: int
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[float, float]]]:
    """Branches of one lung's vessels in a usual chest: start, end and radii of each, from the root outward."""
    found = []
    front = [
        (np.array([side * 32.0, -8, 6]), _unit(np.array([side * a, b, c])), 4.6, 34.0)
        for a, b, c in ((1, 0.3, 0.5), (1, -0.5, 0.3), (0.8, 0.4, -0.6), (0.6, -0.7, -0.9), (0.5, 0.1, 1))
    ]
    while front:
        start, way, radius, length = front.pop()
        end = start + way * length
        found.append((start, end, (radius, radius * 0.82)))
        if radius < 1.0:
            continue
        across = _unit(np.cross(way, rng.normal(size=3)))
        angle = rng.uniform(0.35, 0.75)
        for sign, share in ((1, rng.uniform(0.72, 0.85)), (-1, rng.uniform(0.62, 0.78))):
            turned = _unit(way * np.cos(angle) + sign * across * np.sin(angle))
            front.append((end, turned, radius * share, length * rng.uniform(0.68, 0.88)))
    return found


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))
