"""The scanner's grid: where a made-up body lies in the world, the order of the axes, and what MR makes of tissues."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.geometry import AxisPermutation, Geometry, reorient_to_ras
from osteon.phantoms.shapes import Field, Points, rotation

AXES = ("LPS", "RAS", "LAS", "RPI", "PSL", "SAR")
"""What scanners, converters and viewers write: DICOM's order, NIfTI's, mirrored and permuted ones."""


def draw_grid(
    rng: np.random.Generator,
    lateral: float,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
    axes: str | None,
) -> tuple[Geometry, str]:
    """Draw a grid whose axes run along R, A, S, and the axes that its file shall have.

    Args:
        rng: Where all randomness comes from.
        lateral: +1 for a right arm, which lies on the patient's right, −1 for a left one.
        shape: Voxels along R, A, S.
        spacing_mm: Edges along R, A, S; drawn when None.
        axes: Drawn from `AXES` when None.
    """
    plane = rng.uniform(1.6, 2.2)
    edges = np.array([plane, plane, rng.uniform(2.0, 3.0)] if spacing_mm is None else spacing_mm)
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = np.array([lateral * 170, 10, -250]) + rng.uniform(-20, 20, 3) - edges * np.array(shape) / 2
    drawn = AXES[int(rng.integers(len(AXES)))]
    return Geometry(shape, affine), drawn if axes is None else axes


def file_grid(ras: Geometry, axes: str) -> tuple[AxisPermutation, Geometry]:
    """The file's geometry with `axes`, and the turn that leads from its arrays back to R, A, S.

    Raises:
        ValueError: `axes` does not name each of R/L, A/P, S/I once.
    """
    world = ["RAS".find(code) if code in "RAS" else "LPI".find(code) for code in axes]
    if sorted(world) != [0, 1, 2]:
        raise ValueError(f"axes name each of R/L, A/P and S/I once, as in LPS, not {axes}")
    affine = np.zeros((4, 4))
    affine[3] = ras.affine_ras[3]
    affine[:3, 3] = ras.affine_ras[:3, 3]
    for index, (axis, code) in enumerate(zip(world, axes, strict=True)):
        sign = 1 if code in "RAS" else -1
        affine[:3, index] = sign * ras.affine_ras[:3, axis]
        if sign < 0:
            affine[:3, 3] += ras.affine_ras[:3, axis] * (ras.shape[axis] - 1)
    i, j, k = (ras.shape[axis] for axis in world)
    geometry = Geometry((i, j, k), affine)
    return reorient_to_ras(geometry), geometry


def world_points(grid: Geometry, pose: npt.NDArray[np.float64], lateral: float, *, top_mm: float) -> Points:
    """Positions of all voxels in the bone's frame, `[3, n]` in C order.

    Args:
        grid: Axes along R, A, S.
        pose: `[3, 3]` rotation, bone → world.
        lateral: +1 where the bone's x runs to the patient's right, −1 where it is mirrored.
        top_mm: How far the head's centre lies below the grid's upper face.
    """
    size = np.array(grid.shape) * grid.spacing_mm
    along = [
        (np.arange(n) + 0.5) * edge - middle
        for n, edge, middle in zip(
            grid.shape, grid.spacing_mm, (size[0] / 2, size[1] / 2, size[2] - top_mm), strict=True
        )
    ]
    mesh = np.stack(np.meshgrid(*along, indexing="ij")).reshape(3, -1).astype(np.float32)
    mirror = np.diag([lateral, 1.0, 1.0])
    return np.asarray((mirror @ pose.T).astype(np.float32) @ mesh, dtype=np.float32)


def voxel_centres(geometry: Geometry) -> Points:
    """`[3, n]` RAS mm of all voxels, C order."""
    return np.ascontiguousarray(geometry.to_world(np.indices(geometry.shape).reshape(3, -1).T).T, dtype=np.float32)


def correlated_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float = 0.8) -> Field:
    """Correlated noise of unit deviation, flat: the unevenness of marrow."""
    values = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma).ravel()
    return np.asarray(values / values.std(), dtype=np.float32)


def oblique_grid(
    rng: np.random.Generator,
    axes: npt.ArrayLike,
    field_mm: npt.ArrayLike,
    spacing_mm: npt.ArrayLike,
    centre_mm: npt.ArrayLike,
    *,
    degrees: float,
) -> Geometry:
    """A grid about `centre_mm`, turned a little.

    Args:
        rng: Where the turn comes from.
        axes: `[3, 3]`: the world's directions of i, j, k in its columns, before the turn.
        field_mm: Extent along i, j, k.
        spacing_mm: Edges along i, j, k.
        centre_mm: Of the field, RAS.
        degrees: The highest angle of the turn about each axis.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    i, j, k = (max(round(float(n)), 8) for n in np.asarray(field_mm) / spacing)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng.uniform(-degrees, degrees, 3)) @ np.asarray(axes, dtype=np.float64) * spacing
    affine[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.array([i, j, k]) - 1) / 2)
    return Geometry((i, j, k), affine)


def acquire_image(signal: Field, bias: Field, noise_sd: float, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """The image `[i, j, k]` of `signal` seen by coils whose sensitivity is `exp(bias)`, in 12 bits."""
    sharp = ndimage.gaussian_filter(signal * np.exp(bias), 0.4, mode="nearest", truncate=3)
    real, imaginary = (rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(noise_sd) for _ in range(2))
    return np.rint(np.clip(np.hypot(sharp + real, imaginary), 0, 4095)).astype(np.uint16)
