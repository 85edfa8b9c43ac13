"""What an MR scanner makes of tissues: an oblique grid, uneven coils, blur, and noise with Rice's distribution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.phantoms.shapes import Field, rotation


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
