"""MONAI's way onto a grid and back, as its bundles' transforms describe it: Orientation, Spacing, intensities.

Where the grid lies is asked of MONAI itself: it keeps the centre of an axis's first voxel in place, or on oblique
scans, where rounding decides, the middle. Interpolation is linear, there and, where a prediction is inverted, back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.boxes import Index3
from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.plan.schema import MonaiStep, Plan
from osteon.preparing.grid_strategy import GridTransform, OsteonStrategy, Prepared

FLOAT_BYTES = 4
MAX_SHEAR = 1e-3
"""In voxels for each voxel, as NIfTI's 32-bit affines leave."""


class MonaiStrategy(OsteonStrategy):
    """As a bundle's pre-processing and sliding window have it; probabilities are interpolated on the way back."""

    padding = "constant"
    skips_empty_patches = False
    has_client = False

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if plan.grid.monai is None:
            raise ValueError("the plan has no section grid.monai")
        self.preparation = plan.grid.monai

    def transform(self, geometry: Geometry) -> GridTransform:
        """As `GridStrategy.transform`. Raises GeometryError where a scan's axes are sheared: MONAI straightens them."""
        plain = super().transform(geometry)
        return replace(plain, shape=self._placement(plain.reoriented)[0])

    def prepare(self, volume: Volume) -> Prepared:
        """Intensities on the scan's own grid, resampling, intensities on the plan's."""
        transform = self.transform(volume.geometry)
        image = np.ascontiguousarray(transform.permutation.apply(volume.array), dtype=np.float32)
        image = _apply(self.preparation.before, image)
        if self.preparation.resample:
            shape, starts, ratios = self._placement(transform.reoriented)
            weights = list(map(linear_weights, transform.reoriented.shape, shape, starts, ratios))
            image = np.stack([_resample(channel, weights) for channel in image])
        return _apply(self.preparation.after, image), list(self.plan.intensities)

    def tile_weights(self, size: Sequence[int]) -> torch.Tensor:
        """MONAI's importance map."""
        return super().tile_weights(size) if self.preparation.blend == "gaussian" else torch.ones(tuple(size))

    def tile_starts(self, length: int, size: int) -> list[int]:
        """One after the other, the last moved back to the scan's edge."""
        step = max(1, int(size * (1 - self.preparation.overlap)))
        last = max(0, length - size)
        return [*range(0, last, step), last]

    def restore_weights(self, transform: GridTransform) -> list[torch.Tensor] | None:
        """From the plan's voxel centres to the scan's."""
        shape, starts, ratios = self._placement(transform.reoriented)
        back = [-start / ratio for start, ratio in zip(starts, ratios, strict=True)]
        return list(map(linear_weights, shape, transform.reoriented.shape, back, [1 / ratio for ratio in ratios]))

    def _placement(self, scan: Geometry) -> tuple[Index3, list[float], list[float]]:
        """Voxels of the grid; along each axis its first centre and its voxels' edge, in voxels of the scan."""
        if not self.preparation.resample:
            return scan.shape, [0.0] * 3, [1.0] * 3
        from monai.data.utils import compute_shape_offset, zoom_affine

        target = zoom_affine(scan.affine_ras, self.plan.grid.spacing_mm, diagonal=False)
        shape, offset = compute_shape_offset(scan.shape, scan.affine_ras, target)
        target[:3, 3] = offset
        between = np.linalg.solve(scan.affine_ras, target)
        ratios = np.diag(between)[:3]
        if np.abs(between[:3, :3] - np.diag(ratios)).max() > MAX_SHEAR:
            raise GeometryError(
                "the scan's axes are not at right angles; MONAI's bundles straighten them, and osteon does not",
                hint="resample the scan onto axes at right angles first",
            )
        i, j, k = (max(1, int(count)) for count in shape)
        return (i, j, k), between[:3, 3].tolist(), ratios.tolist()

    def prepare_bytes(self, scan_voxels: int, image_bytes: int) -> int:
        """The scan in single precision, what a transform makes of it, and steps between the grids."""
        return 2 * scan_voxels * FLOAT_BYTES * len(self.plan.channels) + image_bytes


def linear_weights(count: int, wanted: int, start: float, step: float) -> torch.Tensor:
    """`[wanted, count]` weights of linear interpolation at `start`, `start` + `step` … voxels; the edge is repeated."""
    places = (start + torch.arange(wanted, dtype=torch.float64) * step).clamp(0, count - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=count - 1)
    part = places - low
    weights = torch.zeros((wanted, count), dtype=torch.float64)
    rows = torch.arange(wanted)
    weights[rows, low] += 1 - part
    weights[rows, high] += part
    return weights.float()


def _resample(channel: npt.NDArray[np.float32], weights: Sequence[torch.Tensor]) -> npt.NDArray[np.float32]:
    """`[i, j, k]` by `[new, old]` weights along each axis."""
    part = torch.from_numpy(channel)
    for axis, along in enumerate(weights):
        part = torch.tensordot(part, along, dims=([axis], [1])).movedim(-1, axis)
    return part.contiguous().numpy()


def _apply(steps: Sequence[MonaiStep], image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """MONAI's own transforms of `[channel, i, j, k]`, one after the other."""
    if not steps:
        return image
    from monai import transforms

    for step in steps:
        image = np.asarray(getattr(transforms, step.name)(**step.arguments)(image), dtype=np.float32)
    return np.ascontiguousarray(image)
