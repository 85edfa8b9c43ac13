"""What a T2-weighted MR shows of a spine: bones, discs, the canal, and the soft parts before and behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.core.labels import Structure
from osteon.phantoms.grid import correlated_noise, voxel_centres
from osteon.phantoms.shapes import Field, Points, RandomWaves, chain, partial_volume, smooth_step
from osteon.phantoms.vertebra import Column, Vertebra

MARROW, CORTEX, CSF, CORD, FAT, MUSCLE, VESSEL, ANNULUS = 330.0, 45.0, 820.0, 300.0, 560.0, 130.0, 35.0, 80.0


def draw_tissues(
    rng: np.random.Generator, geometry: Geometry, column: Column, structures: Sequence[Structure]
) -> tuple[Field, npt.NDArray[np.uint8]]:
    """What each voxel would send, and to which of the structures it belongs, both `[i, j, k]`."""
    points = voxel_centres(geometry)
    voxel = float(np.cbrt(geometry.voxel_volume_mm3))
    uneven = correlated_noise(rng, geometry.shape)
    signal = _soft(rng, column.straighten(points), voxel)
    _canal(rng, signal, points, column, voxel)
    labels = np.zeros(points.shape[1], dtype=np.uint8)
    best = np.zeros(points.shape[1], dtype=np.float32)
    values = {s.name: s.value for s in structures}
    marrow = MARROW * rng.uniform(0.85, 1.2)
    for vertebra in column.vertebrae:
        near = np.flatnonzero(np.abs(points[2] - vertebra.centre_mm[2]) < 60)
        own = vertebra.to_local(points[:, near])
        wet = rng.uniform(0.15, 1.0)
        _disc(signal, near, own, vertebra, wet, voxel)
        ribs = vertebra.ribs(own)
        if ribs is not None:
            _put(signal, near, -ribs, marrow + 30 * uneven[near], voxel)
        depth = -vertebra.distance(own)
        # Blood drains from the body through its back wall: a bright notch half-way up.
        vein = np.exp(-((own[2] / 2.2) ** 2) - ((own[0] / 6) ** 2)) * (1 - smooth_step(np.abs(own[1] + 11), 3, 8))
        content = marrow + 30 * uneven[near] + 260 * vein
        _put(signal, near, depth, content, voxel)
        wins = depth > best[near]
        labels[near[wins]] = values.get(vertebra.name, 0)
        best[near[wins]] = depth[wins]
    near = np.flatnonzero(points[2] < column.promontory_mm[2] + 40)
    depth = -column.sacrum(points[:, near])
    _put(signal, near, depth, marrow * 1.05 + 30 * uneven[near], voxel)
    labels[near[depth > best[near]]] = 0
    return signal.reshape(geometry.shape), labels.reshape(geometry.shape)


def _put(signal: Field, near: npt.NDArray[np.intp], depth: Field, content: Field, voxel: float) -> None:
    """Lay bone of a thin dark cortex and `content` over what is there."""
    inside, deep = partial_volume(depth, voxel), partial_volume(depth - 1.3, voxel)
    signal[near] = signal[near] * (1 - inside) + (CORTEX * (1 - deep) + content * deep) * inside


def _disc(signal: Field, near: npt.NDArray[np.intp], own: Points, vertebra: Vertebra, wet: float, voxel: float) -> None:
    """The disc below a vertebra: a dark ring about a nucleus that is brighter the more water it holds."""
    around = vertebra.radius(own)
    below = -own[2] - vertebra.high
    part = (
        partial_volume((1.02 - around) * np.float32(vertebra.deep), voxel)
        * partial_volume(below + 4, voxel)
        * partial_volume(vertebra.disc_mm - below, voxel)
    )
    nucleus = (1 - smooth_step(around, 0.45, 0.75)) * np.exp(-(((below - vertebra.disc_mm * 5 / 16) / 4) ** 2))
    signal[near] = signal[near] * (1 - part) + (ANNULUS + 520 * np.float32(wet) * nucleus) * part


def _canal(rng: np.random.Generator, signal: Field, points: Points, column: Column, voxel: float) -> None:
    """Epidural fat, cerebrospinal fluid, the cord down to L1 and the roots below it."""
    knots = [(place, 8.2) for place in column.canal_mm]
    near = np.flatnonzero(np.abs(points[0]) < 40)
    p = points[:, near]
    depth = -chain(p, knots)
    tip = next(v for v in column.vertebrae if v.name == "L1").centre_mm[2] + rng.uniform(-12, 8)
    cord = -chain(p, [(place, 4.6) for place in column.canal_mm]) * smooth_step(p[2], tip, tip + 25)
    strands = RandomWaves.draw(rng, wavelengths_mm=[5, 4, 3.4], sd=1.0)(
        p * np.array([[1], [1], [0.05]], dtype=np.float32)
    )
    rear = smooth_step(strands, 0.2, 1.2) * (p[2] < tip + 10)
    fluid = CSF - 420 * rear * partial_volume(depth - 2, voxel)
    fluid = fluid + (CORD - fluid) * partial_volume(cord, voxel) * smooth_step(p[2], tip - 2, tip + 12)
    sleeve = partial_volume(depth + 3.5, voxel)
    here = signal[near] * (1 - sleeve) + FAT * sleeve
    part = partial_volume(depth, voxel)
    signal[near] = here * (1 - part) + fluid * part


def _soft(rng: np.random.Generator, points: Points, voxel: float) -> Field:
    """Abdomen in front, muscles beside and behind, fat under the skin, air behind the back."""
    x, y, z = points
    waves = RandomWaves.draw(rng, wavelengths_mm=[70, 48, 36, 26], sd=1.0)(points)
    fibre = RandomWaves.draw(rng, wavelengths_mm=[18, 12, 9, 7], sd=1.0)
    streak = fibre(points * np.array([[1], [1], [0.25]], dtype=np.float32))
    front = FAT * 0.8 - 360 * smooth_step(waves, -0.1, 0.5) + 190 * smooth_step(waves * np.sin(z / 14), 0.5, 1.1)
    back = MUSCLE + 14 * streak + 400 * np.exp(-((streak / 0.16) ** 2)) * smooth_step(-y, 30, 70)
    psoas = partial_volume(20 - np.hypot((np.abs(x) - 38) / 1.0, (y + 4) / 1.2), voxel)
    signal = front + (back - front) * np.maximum(smooth_step(-y, 10, 26), psoas)
    for place, radius in (((-4, 30), 9.0), ((17, 27), 10.5)):
        course = np.hypot(x - place[0] - 4 * np.sin(z / 60), y - place[1] - z * z / 2600)
        split = partial_volume(radius - course, voxel) * smooth_step(z, -75, -55)
        signal = signal + (VESSEL - signal) * split
    skin = 93 + 3 * np.float32(rng.normal()) + 3 * np.sin(z / 55) + x * x / 500
    fascia = y + skin - np.float32(rng.uniform(8, 13)) - 3.5 * np.exp(-((x / 9) ** 2))
    signal = signal + (FAT + 10 * streak - signal) * partial_volume(-fascia, voxel)
    return np.asarray(signal * partial_volume(y + skin, voxel), dtype=np.float32)


def coil_bias(rng: np.random.Generator, geometry: Geometry) -> Field:
    """Logarithm of the sensitivity of a coil under the back: high near the skin, uneven along it."""
    back, down, side = np.meshgrid(
        *[np.linspace(-1, 1, n, dtype=np.float32) for n in geometry.shape], indexing="ij", sparse=True
    )
    a, b, c = (np.float32(v) for v in rng.normal(0, (0.05, 0.12, 0.08)))
    return np.asarray((0.38 + a) * back + b * down + c * side - 0.25 * down**4, dtype=np.float32)
