"""A child's legs and pelvis in a coronal T1-weighted MR: marrow as bright as fat, cortex as dark as air."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import AxisPermutation, Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.formats.nifti import write_nifti
from osteon.phantoms.grid import acquire_image, correlated_noise, oblique_grid, voxel_centres
from osteon.phantoms.legs import Leg, draw_leg, pelvis
from osteon.phantoms.limb_dicom import write_series
from osteon.phantoms.record import SOURCE, CaseTruth, CohortRequest, PhantomKind, write_truth
from osteon.phantoms.shapes import Field, Points, RandomWaves, ellipsoid, partial_volume, smooth_step, smooth_union

STRUCTURES = make_structures(
    ["pelvis", "femur_left", "femur_right", "tibia_left", "tibia_right", "fibula_left", "fibula_right"]
)
FIELD_MM = (320.0, 614.4, 160.0)
"""Columns, rows, slices: from the iliac crests to the ankles of a child of about five to eight years."""
MARROW, RED_MARROW, CORTEX, PHYSIS, CARTILAGE = 620.0, 430.0, 70.0, 230.0, 330.0
FAT, MUSCLE, SKIN, VESSEL, AIR = 680.0, 240.0, 320.0, 60.0, 0.0


def make_limb(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one series and its masks.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    growth = rng.uniform(0.62, 0.74)
    geometry = _draw_grid(rng, request.size, growth)
    legs = [draw_leg(rng, lateral, growth) for lateral in (-1, 1)]
    signal, labels = _tissues(rng, geometry, legs, growth)
    image = acquire_image(signal, _bias(rng, signal.shape), rng.uniform(12, 20), rng)
    segmentation = Segmentation(labels, geometry, STRUCTURES)
    case = f"L{number + 1:03d}"
    place = folder / SOURCE / case
    localizer = ("none", "own series", "same series")[number % 3]
    write_series(place / "mr", image, geometry, rng, number=number, localizer=localizer)
    absent = {2: "pelvis", 5: "fibula_left"}.get(number % 6)
    # Masks from NIfTI tools: the same places in the world, the axes of the arrays turned about.
    turn = AxisPermutation((0, 1, 2), ((False,) * 3, (False, True, True), (True, True, False))[number % 3])
    for structure in STRUCTURES:
        if structure.name != absent:
            mask = turn.apply(segmentation.mask(structure)).astype(np.uint8)
            write_nifti(place / "masks" / f"{structure.name}.nii.gz", Volume(mask[None], turn.geometry(geometry)))
    annotated = [s.name for s in STRUCTURES if s.name != absent]
    return write_truth(folder, case, segmentation, annotated=annotated, localizer=localizer)


def _draw_grid(rng: np.random.Generator, size: int, growth: float) -> Geometry:
    """Columns to the patient's left, rows to the feet, slices to the back, all a little oblique."""
    row = FIELD_MM[1] / size
    top = 150 * growth + rng.uniform(-8, 12)
    centre = (rng.uniform(-8, 8), rng.uniform(-14, -4), top - FIELD_MM[1] / 2)
    axes = np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]])
    return oblique_grid(rng, axes, FIELD_MM, (row, row, 5.0 * max(row / 3.2, 0.5)), centre, degrees=4)


def _tissues(
    rng: np.random.Generator, geometry: Geometry, legs: list[Leg], growth: float
) -> tuple[Field, npt.NDArray[np.uint8]]:
    """What each voxel would send, and what it belongs to, both `[i, j, k]`."""
    points = voxel_centres(geometry)
    voxel = float(np.cbrt(geometry.voxel_volume_mm3))
    signal, septa = _soft(rng, points, legs, growth, voxel)
    uneven = correlated_noise(rng, geometry.shape)
    labels = np.zeros(points.shape[1], dtype=np.uint8)
    best = np.zeros(points.shape[1], dtype=np.float32)
    values = {s.name: s.value for s in STRUCTURES}

    def put(name: str, where: npt.NDArray[np.intp], depth: Field, plate: Field, shaft: Field) -> None:
        signal[where] = _bone(signal[where], depth, plate, shaft, uneven[where], septa[where], voxel)
        wins = depth > best[where]
        labels[where[wins]] = values.get(name, 0)
        best[where[wins]] = depth[wins]

    near = np.flatnonzero(points[2] > -90 * growth)
    depth = -pelvis(points[:, near], growth)
    flat = np.full(len(near), 99, dtype=np.float32)
    put("pelvis", near, depth, flat, flat * 0)
    for leg, side in zip(legs, ("left", "right"), strict=True):
        near = np.flatnonzero(points[0] * leg.lateral > -5)
        own = leg.to_local(points[:, near])
        for name in ("femur", "tibia", "fibula", "unnamed"):
            depth = -getattr(leg, name)(own) * np.float32(growth)
            here = np.flatnonzero(depth > -4 - voxel)
            plate = (leg.plates(own[:, here]) if name != "unnamed" else np.full(len(here), 99)) * np.float32(growth)
            ends = np.minimum.reduce([np.abs(own[2, here] - z) for z in (0, leg.knee, leg.ankle)])
            put(f"{name}_{side}", near[here], depth[here], plate.astype(np.float32), smooth_step(ends, 35, 90))
    return signal.reshape(geometry.shape), labels.reshape(geometry.shape)


def _bone(under: Field, depth: Field, plate: Field, shaft: Field, uneven: Field, patches: Field, voxel: float) -> Field:
    """Signal of bone at `depth` mm: cortex (thick where `shaft` is 1), marrow, growth plates; cartilage about ends."""
    thickness = np.float32(0.9) + np.float32(2.0) * shaft
    red = smooth_step(18 - plate, 0, 14) * (plate < 40) + 0.4 * smooth_step(patches, 0.2, 1.5)
    marrow = MARROW - (MARROW - RED_MARROW) * np.clip(red, 0, 1) + 28 * uneven
    sheet = np.clip((plate - 1.2) / np.float32(voxel / 2) + 0.5, 0, 1)
    marrow = PHYSIS * (1 - sheet) + marrow * sheet
    deep, inside = partial_volume(depth - thickness, voxel), partial_volume(depth, voxel)
    rim = partial_volume(depth + 2.4, voxel) * (1 - smooth_step(shaft, 0.0, 0.3))
    around = under * (1 - rim) + CARTILAGE * rim
    return np.asarray(around * (1 - inside) + (CORTEX * (1 - deep) + marrow * deep) * inside, dtype=np.float32)


def _soft(
    rng: np.random.Generator, points: Points, legs: list[Leg], growth: float, voxel: float
) -> tuple[Field, Field]:
    """Air, skin, fat, muscle with fatty septa and vessels; and the septa's waves, which serve the marrow's patches."""
    skins = []
    vessels = np.full(points.shape[1], 99, dtype=np.float32)
    for leg in legs:
        own = leg.to_local(points)
        skins.append(leg.skin(own) * np.float32(growth))
        course = np.hypot(own[0] - 72 - 10 * np.sin(own[2] / 60), own[1] + 8 - 18 * np.cos(own[2] / 140))
        vessels = np.minimum(vessels, np.where(own[2] < 0, course, 99) * np.float32(growth))
    trunk = ellipsoid(points, (0, -12 * growth, 130 * growth), (168 * growth, 104 * growth, 190 * growth))
    depth = -smooth_union(np.minimum(*skins), trunk, 20)
    fat = np.float32(rng.uniform(6, 13)) * (0.45 + 0.55 * smooth_step(points[2], -480 * growth, -100 * growth))
    waves = RandomWaves.draw(rng, wavelengths_mm=[70, 52, 38, 30], sd=1.0)
    septa = waves(points * np.array([[1], [1], [0.2]], dtype=np.float32))
    fibre = RandomWaves.draw(rng, wavelengths_mm=[16, 11, 8], sd=1.0)(
        points * np.array([[1], [1], [0.3]], dtype=np.float32)
    )
    muscle = MUSCLE + 16 * fibre + (FAT - MUSCLE) * 0.75 * np.exp(-((septa / 0.11) ** 2))
    bowel = smooth_step(points[2], 25 * growth, 60 * growth) * smooth_step(
        -np.hypot(points[0] / 95, (points[1] - 25) / 70), -growth, -0.6 * growth
    )
    muscle += bowel * (150 * np.tanh(2 * fibre + septa) - 20)
    muscle = muscle + (VESSEL - muscle) * partial_volume(3.4 - vessels, voxel)
    deep, under, inside = (
        partial_volume(depth - fat, voxel),
        partial_volume(depth - 1.8, voxel),
        partial_volume(depth, voxel),
    )
    body = SKIN * (1 - under) + under * ((FAT + 12 * fibre) * (1 - deep) + muscle * deep)
    return np.asarray(AIR * (1 - inside) + body * inside, dtype=np.float32), septa


def _bias(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Logarithm of the coils' sensitivity: uneven, and less towards head and feet."""
    x, z, y = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    a, b, c, d = (np.float32(v) for v in rng.normal(0, (0.12, 0.1, 0.1, 0.16)))
    return np.asarray(a * x + b * y + c * z + d * z * z - np.float32(0.22) * z**4, dtype=np.float32)


KIND = PhantomKind(
    name="limb",
    what="coronal MR series (DICOM) of children's legs, and one binary NIfTI mask for each bone",
    size=192,
    make=make_limb,
    options="--modality mr",
)
