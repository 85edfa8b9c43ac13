"""What happens to each patch of a batch: drawn from (seed, iteration, rank) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.random_streams import Stream, generator
from osteon.plan.schema import Plan
from osteon.training import ranks
from osteon.training.augmenting.smooth import POLYNOMIALS, count_control_points

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AugmentationParameters:
    """What happens to each patch of a batch; NaN where something does not happen.

    Attributes:
        mirror: `[batch, 3]` bool.
        affine: `[batch, 3, 4]`: from the changed patch to the given one, in parts of half a patch along i, j, k.
        elastic_mm: `[batch]`: greatest displacement of the points of a smooth deformation, along each axis.
        elastic: `[batch, 3, a, b, c]`: these points' displacements along i, j, k, −1 … 1.
        noise, blur, brightness, offset, contrast, low_resolution, gamma, gamma_inverted: `[batch]`.
        bias: `[batch]`: greatest logarithm of a smooth factor on the intensities.
        bias_terms: `[batch, 4, 4, 4]`: weights of its polynomials along i, j, k.
        seed: Of the noise.
        crop: Along the axis of the plan's sequence: what is left of the patch, for the whole batch; None: all of it.
        noise_before, noise_after: How many patches of other ranks get noise, before and after these.
        largest_blur: Of the patches of all ranks; 0: as these have it.
    """

    mirror: npt.NDArray[np.bool_]
    affine: Floats
    elastic_mm: Floats
    elastic: Floats
    noise: Floats
    blur: Floats
    brightness: Floats
    offset: Floats
    contrast: Floats
    low_resolution: Floats
    gamma: Floats
    gamma_inverted: Floats
    bias: Floats
    bias_terms: Floats
    seed: int
    crop: slice | None = None
    noise_before: int = 0
    noise_after: int = 0
    largest_blur: float = 0.0

    def part(self, rows: slice) -> AugmentationParameters:
        """Those of some of the batch's patches, which then become what they become in the whole batch."""
        changed: dict[str, Any] = {
            field.name: value[rows]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        noisy, blurred = ~np.isnan(self.noise), self.blur[~np.isnan(self.blur)]
        changed |= {"noise_before": int(noisy[: rows.start].sum()), "noise_after": int(noisy[rows.stop :].sum())}
        return replace(self, **changed, largest_blur=float(blurred.max(initial=0.0)))


def draw_parameters(plan: Plan, seed: int, iteration: int) -> AugmentationParameters:
    """Draw the parameters of one iteration; the same seed, iteration and rank give the same ones."""
    whole = _draw_batch(ranks.whole_batch(plan), seed, iteration)
    return whole if ranks.world_size() == 1 else whole.part(ranks.own_rows(plan))


def _draw_batch(plan: Plan, seed: int, iteration: int) -> AugmentationParameters:
    rng = generator(seed, Stream.AUGMENTATION, iteration)
    augmentation = plan.augmentation
    count = plan.patch.batch

    def maybe(chance: float, low: float, high: float, *, ratio: bool = False) -> Floats:
        """A number from the range, evenly (a ratio: evenly in its logarithm), with the given chance."""
        value = np.exp(rng.uniform(np.log(low), np.log(high), count)) if ratio else rng.uniform(low, high, count)
        return np.where(rng.random(count) < chance, value, np.nan)

    mirror = rng.random((count, 3)) < 0.5
    mirror[:, [axis for axis in range(3) if axis not in augmentation.mirror_axes]] = False
    return AugmentationParameters(
        mirror=mirror,
        affine=_draw_affine(plan, rng),
        noise=maybe(augmentation.noise_p, 0, augmentation.noise_std),
        blur=maybe(augmentation.blur_p, *augmentation.blur_sigma),
        brightness=maybe(augmentation.brightness_p, *augmentation.brightness),
        offset=maybe(augmentation.offset_p, *augmentation.offset),
        contrast=maybe(augmentation.contrast_p, *augmentation.contrast),
        low_resolution=maybe(augmentation.low_resolution_p, *augmentation.low_resolution),
        gamma=maybe(augmentation.gamma_p, *augmentation.gamma, ratio=True),
        gamma_inverted=maybe(augmentation.gamma_inverted_p, *augmentation.gamma, ratio=True),
        seed=int(rng.integers(2**62)),
        bias=maybe(augmentation.bias_p, *augmentation.bias),
        bias_terms=_draw_bias(plan, rng),
        elastic_mm=maybe(augmentation.elastic_p, *augmentation.elastic_mm),
        elastic=_draw_elastic(plan, rng),
        crop=_draw_crop(plan, seed, iteration),
    )


def _draw_crop(plan: Plan, seed: int, iteration: int) -> slice | None:
    """A length that the network's strides divide; half of the crops end where the patch does."""
    augmentation, sequence = plan.augmentation, plan.sequence
    if not augmentation.crop_p or sequence is None:
        return None
    rng = generator(seed, Stream.CROP, iteration)
    if rng.random() >= augmentation.crop_p:
        return None
    step, size = plan.downsampling[sequence.axis], plan.patch.size[sequence.axis]
    least = math.ceil(augmentation.crop * size / step)
    length = int(rng.integers(least, size // step + 1)) * step
    first = int(rng.choice([0, size - length]) if rng.random() < 0.5 else rng.integers(size - length + 1))
    return slice(first, first + length)


def _draw_affine(plan: Plan, rng: np.random.Generator) -> Floats:
    """`[batch, 3, 4]` rotation and zoom about the patch's centre, rigid in millimetres, and a shift."""
    augmentation = plan.augmentation
    affine = np.zeros((plan.patch.batch, 3, 4))
    half = np.array(plan.patch.size) * np.array(plan.grid.spacing_mm) / 2
    flat = plan.grid.dimensions == 2
    for number in range(plan.patch.batch):
        angles = np.radians(rng.uniform(-1, 1, 3) * augmentation.rotate_degrees)
        zoom = np.exp(rng.uniform(np.log(augmentation.scale[0]), np.log(augmentation.scale[1]), 3))
        shift = rng.uniform(-2, 2, 3) * augmentation.shift
        if rng.random() >= augmentation.affine_p:
            angles, zoom, shift = np.zeros(3), np.ones(3), np.zeros(3)
        if flat:
            zoom[2], shift[2] = 1, 0
        turn = rotation(angles) @ np.diag(zoom)
        affine[number, :, :3] = turn * half[None, :] / half[:, None]
        affine[number, :, 3] = shift
    return affine


def rotation(angles: Floats) -> Floats:
    """`[3, 3]` rotation about the axes i, j, k in turn, by angles in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ step
    return matrix


def _draw_elastic(plan: Plan, rng: np.random.Generator) -> Floats:
    """`[batch, 3, a, b, c]` displacements, −1 … 1; none through a slice's plane, nor different across it."""
    if not plan.augmentation.elastic_p:
        return np.zeros((plan.patch.batch, 3, 1, 1, 1))
    points = count_control_points(plan.patch.size, plan.grid.spacing_mm, plan.augmentation.elastic_grain_mm)
    drawn = rng.uniform(-1, 1, (plan.patch.batch, 3, *points))
    if plan.grid.dimensions == 2:
        drawn[:, 2] = 0
    return drawn


def _draw_bias(plan: Plan, rng: np.random.Generator) -> Floats:
    """`[batch, 4, 4, 4]` weights of the polynomials up to the third degree; the constant one has none."""
    drawn = rng.normal(size=(plan.patch.batch, *(POLYNOMIALS,) * 3))
    degree = np.indices(drawn.shape[1:]).sum(0)
    thin = np.array([size == 1 for size in plan.patch.size])
    useless = (degree == 0) | (degree >= POLYNOMIALS) | (np.indices(drawn.shape[1:]) * thin[:, None, None, None]).any(0)
    drawn[:, useless] = 0
    return drawn
