"""How scans come onto a plan's grid, and a network's outputs back onto the scan's: what plans do differently.

`strategies.grid_strategy` chooses between osteon's way, here, nnU-Net's and that of MONAI's bundles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.boxes import Box, Index3
from osteon.core.geometry import AxisPermutation, Geometry, closest_axes
from osteon.core.volume import Volume
from osteon.plan.grid_sections import WORLD_AXIS_NUMBERS
from osteon.plan.outputs import output_layout
from osteon.plan.schema import Grid, Intensity, Plan
from osteon.preparing.normalisation import normalise_channels, resolve_intensity
from osteon.preparing.resample import resample_image, resampled_shape

GAUSSIAN_SIGMA = 1 / 8
"""Width of a patch's weights, as a part of its size: what lies near the edge counts little (nnU-Net's value)."""
Prepared = tuple[npt.NDArray[np.float32], list[Intensity]]
"""`[channel, i, j, k]` on the plan's grid, normalised; and the plan's section `intensities` with numbers everywhere, so
that a crop of the scan can be normalised as the whole."""


@dataclass(frozen=True)
class GridTransform:
    """From a scan's own grid to the plan's, and back.

    Attributes:
        permutation: From the file's axes to the plan's.
        reoriented: The file's grid with the plan's axes.
        shape: Voxels on the plan's grid.
    """

    permutation: AxisPermutation
    reoriented: Geometry
    shape: Index3


class GridStrategy(ABC):
    """What depends on how a model's scans were prepared in training, and must be the same in predicting.

    Args:
        plan: Grid, intensities, and whether structures overlap.

    Attributes:
        padding: What lies beyond a scan's edge in patches: its outermost voxels again, or 0 (and background).
        skips_empty_patches: A patch in which nothing is has no structure, whatever the network makes of its noise.
        threshold: The value of `activate` that stands for a probability of a half, where structures overlap.
        has_client: Whether the Python client of an exported model prepares scans in this way.
    """

    padding: ClassVar[Literal["replicate", "constant"]]
    skips_empty_patches: ClassVar[bool]
    threshold: ClassVar[float]
    has_client: ClassVar[bool]

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def transform(self, geometry: Geometry) -> GridTransform:
        """How a scan of this geometry comes onto the plan's grid."""
        grid = self.plan.grid
        permutation = _axis_permutation(geometry, grid)
        reoriented = permutation.geometry(geometry)
        i, j, k = self._resampled_shape(reoriented.shape, reoriented.spacing_mm, grid.spacing_mm)
        return GridTransform(permutation, reoriented, (i, j, k if grid.resample_last else reoriented.shape[2]))

    @abstractmethod
    def _resampled_shape(
        self, shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]
    ) -> Index3: ...

    @abstractmethod
    def prepare(self, volume: Volume) -> Prepared:
        """A scan (or its `crop_box`) on the plan's grid, normalised."""

    @abstractmethod
    def tile_weights(self, size: Sequence[int]) -> torch.Tensor:
        """`[i, j, k]` weights of a patch of `size`, with which overlapping patches are averaged."""

    def tile_starts(self, length: int, size: int) -> list[int] | None:  # noqa: B027 (None)
        """First voxels of patches of `size` along `length`; None: as the speed has it."""

    @abstractmethod
    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """What is kept, and interpolated, of logits `[batch, output, i, j, k]`; in place, to hold no second copy."""

    @abstractmethod
    def to_probability(self, values: torch.Tensor) -> torch.Tensor:
        """Probabilities of values that `activate` gave."""

    def crop_box(self, array: npt.NDArray[np.generic]) -> Box | None:  # noqa: B027 (None)
        """The part of a scan `[channel, i, j, k]` that is prepared; None: all of it."""

    def restore_weights(self, transform: GridTransform) -> list[torch.Tensor] | None:  # noqa: B027 (None)
        """`[new, old]` for each axis, from the plan's grid to the reoriented scan's; None: linear interpolation."""

    def log_normaliser(self, outputs: Iterable[torch.Tensor]) -> torch.Tensor | None:  # noqa: B027 (None)
        """What to subtract from interpolated outputs, so that their probabilities sum to 1; None: they do."""

    def prepare_bytes(self, scan_voxels: int, image_bytes: int) -> int:  # noqa: ARG002 (for strategies that take some)
        """Memory that `prepare` takes beside the scan and the image that it makes."""
        return 0

    def restore_bytes(self, scan_voxels: int) -> int:  # noqa: ARG002 (the same)
        """Memory that `log_normaliser` takes."""
        return 0


class OsteonStrategy(GridStrategy):
    """Linear resampling with a filter against aliasing, then normalisation; probabilities are interpolated."""

    padding: ClassVar[Literal["replicate", "constant"]] = "replicate"
    skips_empty_patches = True
    threshold = 0.5
    has_client = True

    def _resampled_shape(self, shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> Index3:
        return resampled_shape(shape, spacing_mm, target_mm)

    def prepare(self, volume: Volume) -> Prepared:
        """Resample, then normalise."""
        transform = self.transform(volume.geometry)
        image = resample_image(transform.permutation.apply(volume.array), transform.shape)
        intensities = [resolve_intensity(*pair) for pair in zip(image, self.plan.intensities, strict=True)]
        return normalise_channels(image, intensities), intensities

    def tile_weights(self, size: Sequence[int]) -> torch.Tensor:
        """A Gaussian: 1 at a patch's centre; nowhere below a thousandth, so that no sum vanishes."""
        return gaussian(size, [(count - 1) / 2 for count in size]).clamp_min(1e-3)

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities: softmax with the background first, or a sigmoid for each structure; of further channels as
        `plan.outputs` has them.
        """
        if self.plan.overlapping:
            return logits.sigmoid_()
        layout = output_layout(self.plan)
        _softmax_in_place(logits[:, : layout.classes])
        if layout.has_cores:
            logits[:, layout.core].sigmoid_()
        if layout.levels:
            _softmax_in_place(logits[:, layout.first_level :])
        return logits

    def to_probability(self, values: torch.Tensor) -> torch.Tensor:
        """The values themselves."""
        return values


def _softmax_in_place(logits: torch.Tensor) -> None:
    logits.sub_(logits.amax(1, keepdim=True)).exp_()
    logits.div_(logits.sum(1, keepdim=True))


def gaussian(size: Sequence[int], centre: Sequence[float]) -> torch.Tensor:
    """An array of `size`: a Gaussian that is 1 at `centre`, of SD `GAUSSIAN_SIGMA` times each length."""
    weights = torch.ones(())
    for axis, count in enumerate(size):
        distance = (torch.arange(count) - centre[axis]) / (count * GAUSSIAN_SIGMA)
        along = torch.exp(-0.5 * distance**2)
        weights = weights[..., None] * along if axis else along
    return weights


def _axis_permutation(geometry: Geometry, grid: Grid) -> AxisPermutation:
    """From the file's axes to the plan's."""
    if grid.axes[0] in "ijk":
        return AxisPermutation(tuple("ijk".index(letter) for letter in grid.axes), (False, False, False))
    axes, signs = closest_axes(geometry.affine_ras)
    order = tuple(axes.index(WORLD_AXIS_NUMBERS[letter]) for letter in grid.axes)
    backwards = {WORLD_AXIS_NUMBERS[letter] for letter in grid.axes if letter in "LPI"}
    flipped = tuple((sign < 0) != (axis in backwards) for axis, sign in zip(axes, signs, strict=True))
    return AxisPermutation(order, flipped)
