"""The soft parts of an upper arm and shoulder, and the scanner's blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.phantoms.shapes import Field, Points, RandomWaves, ellipsoid, partial_volume, smooth_union

ALONG_THE_ARM = np.array([[1.0], [1.0], [0.25]], dtype=np.float32)
"""Muscles are long: their septa change four times as slowly down the arm as across it."""

AIR_HU, FAT_HU, SKIN_HU = -1000.0, -100.0, 30.0


@dataclass(frozen=True)
class Arm:
    """Sizes of the soft parts in the bone's frame (mm), their HU, and the scanner's blur and noise."""

    radii_mm: tuple[float, float]
    centre_mm: tuple[float, float]
    top_mm: float
    chest_mm: float
    fat_mm: float
    muscle_hu: float
    septa: RandomWaves
    blur_voxels: float
    noise_hu: float

    def texture(self, noise: Field) -> Field:
        """Correlated noise of unit deviation: the grain of muscle and trabeculae."""
        return _unit(ndimage.gaussian_filter(noise, 0.7, mode="nearest"))

    def skin_depth(self, points: Points) -> Field:
        """Depth under the skin in mm, `[n]`; negative in the air. An arm with the shoulder's cap and the chest wall."""
        x, y, z = points
        (a, b), (cx, cy) = self.radii_mm, self.centre_mm
        tube = (np.hypot((x - cx) / a, (y - cy) / b) - 1) * np.float32(min(a, b))
        tube = np.asarray(np.maximum(tube, z - 8), dtype=np.float32)
        cap = ellipsoid(points, (cx, cy, 0), (a, b, self.top_mm))
        chest = ellipsoid(points, (self.chest_mm, -10, -60), (60, 80, self.top_mm + 75))
        return -smooth_union(smooth_union(tube, cap, 12), chest, 25)

    def soft_tissue(self, points: Points, texture: Field, voxel_mm: float) -> Field:
        """HU `[n]` of air, skin, fat and muscle with fatty septa between its bellies."""
        depth = self.skin_depth(points)
        septum = np.exp(-((self.septa(points * ALONG_THE_ARM) / 0.13) ** 2))
        muscle = self.muscle_hu + 7 * texture - 75 * septum
        fat = FAT_HU + 6 * texture
        deep = partial_volume(depth - self.fat_mm, voxel_mm)
        skin = partial_volume(depth - 1.6, voxel_mm)
        body = SKIN_HU * (1 - skin) + skin * (fat * (1 - deep) + muscle * deep)
        inside = partial_volume(depth, voxel_mm)
        return np.asarray(AIR_HU * (1 - inside) + body * inside, dtype=np.float32)


def draw_arm(rng: np.random.Generator) -> Arm:
    """Draw the arm of an adult."""
    return Arm(
        radii_mm=(rng.uniform(42, 52), rng.uniform(44, 54)),
        centre_mm=(rng.uniform(-6, 2), rng.uniform(-8, 2)),
        top_mm=rng.uniform(40, 50),
        chest_mm=rng.uniform(-115, -95),
        fat_mm=rng.uniform(4, 10),
        muscle_hu=rng.uniform(50, 62),
        septa=RandomWaves.draw(rng, wavelengths_mm=[95, 70, 55, 42], sd=1.0),
        blur_voxels=rng.uniform(0.3, 0.45),
        noise_hu=rng.uniform(14, 28),
    )


def scan_arm(hu: Field, noise: Field, arm: Arm) -> npt.NDArray[np.int16]:
    """What the scanner makes of HU `[r, a, s]`: point spread, correlated noise, whole numbers from −1024 to 3071."""
    sharp = ndimage.gaussian_filter(hu, arm.blur_voxels, mode="nearest", truncate=3.0)
    grain = _unit(ndimage.gaussian_filter(noise, (0.6, 0.6, 0.3), mode="nearest"))
    # Air attenuates nothing, so fewer photons are missing there and it is quieter than tissue.
    strength = arm.noise_hu * (0.35 + 0.65 * np.clip((sharp + 1000) / 900, 0, 1))
    return np.clip(np.rint(sharp + strength * grain), -1024, 3071).astype(np.int16)


def _unit(noise: npt.NDArray[np.generic]) -> Field:
    values = np.asarray(noise, dtype=np.float32)
    return np.asarray(values / values.std(), dtype=np.float32)
