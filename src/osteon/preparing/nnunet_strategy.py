"""nnU-Net's way onto a grid and back. Its models need just that: what they saw in training.

The scan is cropped to what is not 0 and normalised on its own grid, then resampled by splines. On the way back
log-probabilities (logits where structures overlap) are interpolated, not probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial, reduce

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.boxes import Box, Index3
from osteon.core.volume import Volume
from osteon.plan.schema import Intensity, Plan
from osteon.preparing.grid_strategy import GridStrategy, GridTransform, Prepared, gaussian
from osteon.preparing.nonzero import nonzero_box, nonzero_mask
from osteon.preparing.normalisation import normalise, resolve_intensity
from osteon.preparing.spline_resampling import SplineResampling, find_separate_axis

FLOAT_BYTES = 4


class NnUNetStrategy(GridStrategy):
    """As nnU-Net v2 prepares scans and exports predictions (Isensee et al., Nature Methods 18, 2021)."""

    padding = "constant"
    skips_empty_patches = False
    threshold = 0.0
    has_client = False

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if plan.grid.nnunet is None:
            raise ValueError("the plan has no section grid.nnunet")
        self.resampling = plan.grid.nnunet

    def _resampled_shape(self, shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> Index3:
        """Rounded in nnU-Net's order of operations."""
        i, j, k = (max(1, round(s / t * n)) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True))
        return i, j, k

    def prepare(self, volume: Volume) -> Prepared:
        """Normalise on the scan's own grid, then resample."""
        transform = self.transform(volume.geometry)
        array = transform.permutation.apply(volume.array)
        mask = nonzero_mask(array) if any(section.inside for section in self.plan.intensities) else None
        splines = self.onto_grid(transform)
        image = np.empty((len(array), *transform.shape), dtype=np.float32)
        intensities = []
        for number, section in enumerate(self.plan.intensities):
            inside = mask if section.inside else None
            values = volume.array[number] if inside is None else array[number][inside]
            intensities.append(resolve_intensity(values, section))
            planes = partial(_normalised_planes, array[number], inside, intensities[-1])
            image[number] = splines.resample(transform.reoriented.shape, planes)
        return image, intensities

    def tile_weights(self, size: Sequence[int]) -> torch.Tensor:
        """A Gaussian with its top on the voxel after the middle, tenfold, in half precision."""
        weights = (10 * gaussian(size, [count // 2 for count in size])).half().float()
        return weights.clamp_min(float(weights[weights > 0].min()))

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Logarithms of the softmax; where structures overlap the logits themselves."""
        return logits if self.plan.overlapping else logits.sub_(logits.logsumexp(1, keepdim=True))

    def to_probability(self, values: torch.Tensor) -> torch.Tensor:
        """By a sigmoid for each structure, or the exponential."""
        return values.float().sigmoid_() if self.plan.overlapping else values.float().exp_()

    def crop_box(self, array: npt.NDArray[np.generic]) -> Box | None:
        """What is not 0."""
        return nonzero_box(array)

    def restore_weights(self, transform: GridTransform) -> list[torch.Tensor] | None:
        """Those of nnU-Net's resampling of probabilities."""
        rule, scan = self.resampling, transform.reoriented
        axis = find_separate_axis(self._spacing(transform), scan.spacing_mm, rule.back_apart)
        return SplineResampling.make(scan.shape, axis, rule.back, rule.back_across).weights(transform.shape)

    def log_normaliser(self, outputs: Iterable[torch.Tensor]) -> torch.Tensor | None:
        """The logarithm of the sum: interpolated logarithms are not normalised any more."""
        if self.plan.overlapping:
            return None
        return reduce(torch.logaddexp, outputs)

    def prepare_bytes(self, scan_voxels: int, image_bytes: int) -> int:
        """The mask and its holes, and the spline's result beside the image."""
        return 2 * scan_voxels + image_bytes

    def restore_bytes(self, scan_voxels: int) -> int:
        """The sum, and an output that is added."""
        return 0 if self.plan.overlapping else 2 * scan_voxels * FLOAT_BYTES

    def onto_grid(self, transform: GridTransform, order: int | None = None) -> SplineResampling:
        """From the reoriented scan onto the plan's grid; `order` instead of the plan's own."""
        rule = self.resampling
        axis = find_separate_axis(transform.reoriented.spacing_mm, self._spacing(transform), rule.apart)
        return SplineResampling.make(transform.shape, axis, rule.order if order is None else order, rule.order_across)

    def _spacing(self, transform: GridTransform) -> tuple[float, float, float]:
        """Voxel edges on the plan's grid, of which slices that are not resampled keep theirs."""
        i, j, k = self.plan.grid.spacing_mm
        return i, j, k if self.plan.grid.resample_last else transform.reoriented.spacing_mm[2]


def _normalised_planes(
    channel: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_] | None, section: Intensity, planes: slice
) -> npt.NDArray[np.float32]:
    """Some planes of a scan's channel, normalised, where there is a mask inside it."""
    part = np.array(channel[planes], dtype=np.float32)
    if inside is None:
        return normalise(part, section)
    np.copyto(part, normalise(part, section), where=inside[planes])
    return part
