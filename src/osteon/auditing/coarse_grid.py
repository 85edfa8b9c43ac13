"""A case on a coarser grid, where borders are compared cheaply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure

WIDEST_STEP_MM = 2.0
STEPS_ACROSS = 100
"""Where images are small, a step is this part of the median field of view."""


@dataclass(frozen=True, eq=False)
class CoarseCase:
    """A case whose axes run along R, A, S, on voxels of about one step.

    Attributes:
        image: `[i, j, k]` float32, means over blocks.
        labels: Index map `[i, j, k]` or multi-hot, single voxels of the blocks.
        structures: What `labels` may hold.
        strides: Voxels of the image's own grid in a block, along each axis.
        fine_shape: The image's own grid.
        edges: `[3]` edges of the image's own voxels, in its unit.
        step: What is moved and read by, in the unit.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.integer]
    structures: tuple[Structure, ...]
    strides: tuple[int, int, int]
    fine_shape: tuple[int, int, int]
    edges: npt.NDArray[np.float64]
    step: float

    def mask(self, structure: Structure) -> npt.NDArray[np.bool_]:
        """`[i, j, k]` bool: one structure."""
        if self.labels.ndim == 4:
            return np.asarray(self.labels[self.structures.index(structure)] > 0)
        return np.asarray(self.labels == structure.value)

    @cached_property
    def free(self) -> npt.NDArray[np.bool_]:
        """`[i, j, k]` bool: where no structure is."""
        return np.asarray(~self.labels.any(axis=0) if self.labels.ndim == 4 else self.labels == 0)

    def to_fine(self, index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Positions `[n, 3]` on the image's own grid of voxels `[n, 3]` of `labels`."""
        strides = np.array(self.strides)
        return index * strides + strides // 2

    def to_blocks(self, fine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Fractional positions `[n, 3]` in `image` of positions `[n, 3]` on the image's own grid."""
        strides = np.array(self.strides)
        return np.asarray((fine - (strides - 1) / 2) / strides)


def choose_step(geometries: Sequence[Geometry]) -> float:
    """One step for all cases: 2 mm, less where images are small, and about the size of a voxel at least.

    Args:
        geometries: The cases' grids; at least one.

    Returns:
        The step in the grids' unit, with one significant digit, so that another case does not change it.
    """
    longest = np.median([max(n * e for n, e in zip(g.shape, g.spacing_mm, strict=True)) for g in geometries])
    finest = np.median([min(g.spacing_mm) for g in geometries])
    step = max(float(longest) / STEPS_ACROSS, float(finest))
    if geometries[0].unit == "mm":
        step = min(step, WIDEST_STEP_MM)
    return float(f"{step:.1g}")


def coarsen(
    image: npt.NDArray[np.generic],
    segmentation: Segmentation,
    edges: Sequence[float],
    step: float,
) -> CoarseCase:
    """Blocks of an image, and the labels in their middle.

    Args:
        image: `[i, j, k]` along R, A, S.
        segmentation: On the same grid.
        edges: Edges of a voxel.
        step: See `CoarseCase`.
    """
    shape = image.shape
    i, j, k = (max(1, min(int(step / edge + 1e-6), size)) for edge, size in zip(edges, shape, strict=True))
    a, b, c = shape[0] // i, shape[1] // j, shape[2] // k
    blocks = image[: a * i, : b * j, : c * k].reshape(a, i, b, j, c, k)
    where = (slice(i // 2, a * i, i), slice(j // 2, b * j, j), slice(k // 2, c * k, k))
    labels = segmentation.array[(..., *where)]
    return CoarseCase(
        blocks.mean(axis=(1, 3, 5), dtype=np.float32),
        np.ascontiguousarray(labels),
        segmentation.structures,
        (i, j, k),
        (shape[0], shape[1], shape[2]),
        np.asarray(edges, dtype=np.float64),
        step,
    )
