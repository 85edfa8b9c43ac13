"""Changes of intensities: each on the patches that it was drawn for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from osteon.plan.schema import Plan
from osteon.training.augmenting.parameters import AugmentationParameters, Floats
from osteon.training.augmenting.smooth import expand_field, legendre_bases
from osteon.training.host_to_device import send_like


def augment_intensities(image: torch.Tensor, parameters: AugmentationParameters, plan: Plan) -> torch.Tensor:
    """Change the intensities of `image` `[batch, channel, i, j, k]`, in place."""

    def blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return _blur(x, sigma, math.ceil(3 * max(parameters.largest_blur, np.nanmax(parameters.blur))))

    def noise(x: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator(device=image.device).manual_seed(parameters.seed)
        before, count = parameters.noise_before, len(x)
        shape = (before + count + parameters.noise_after, *x.shape[1:])
        drawn = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + std * drawn[before : before + count]

    _apply_bias_field(image, parameters, plan)
    steps: list[tuple[Floats, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = [
        (parameters.noise, noise),
        (parameters.blur, blur),
        (parameters.brightness, lambda x, factor: x * factor),
        (parameters.offset, lambda x, amount: x + amount),
        (parameters.contrast, _contrast),
        (parameters.low_resolution, lambda x, _: _lower_resolution(x, parameters.low_resolution)),
        (parameters.gamma_inverted, lambda x, power: -_gamma(-x, power)),
        (parameters.gamma, _gamma),
    ]
    for values, change in steps:
        patches = np.flatnonzero(~np.isnan(values))
        if len(patches):
            rows = send_like(patches, image)
            amount = send_like(values[patches], image).reshape(-1, 1, 1, 1, 1)
            image[rows] = change(image[rows], amount)
    return image


def _apply_bias_field(image: torch.Tensor, parameters: AugmentationParameters, plan: Plan) -> None:
    """Brighten MR channels here and darken them there by exp(f), whose greatest |f| was drawn.

    Normalised intensities have no zero of their own: the patch's darkest voxel stands for no signal.
    """
    patches = np.flatnonzero(~np.isnan(parameters.bias))
    channels = [number for number, channel in enumerate(plan.channels) if channel.modality == "mr"]
    if not len(patches) or not channels:
        return
    weights = send_like(parameters.bias_terms[patches], image)[:, None]
    field = expand_field(weights, legendre_bases(plan.patch.size, plan.grid.spacing_mm))
    greatest = send_like(parameters.bias[patches], image).reshape(-1, 1, 1, 1, 1)
    factor = (field * (greatest / field.abs().amax((2, 3, 4), True).clamp_min(1e-6))).exp()
    rows = send_like(patches, image)[:, None]
    columns = send_like(np.array(channels), image)
    values = image[rows, columns]
    low = values.amin((2, 3, 4), True)
    image[rows, columns] = (values - low) * factor + low


def _blur(x: torch.Tensor, sigma: torch.Tensor, most: int) -> torch.Tensor:
    """Gaussian blur by `sigma` voxels along every axis of more than one voxel, out to `most` voxels."""
    reach = torch.arange(-most, most + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (reach / sigma.reshape(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    for axis in (2, 3, 4):
        if x.shape[axis] == 1:
            continue
        padding = [0] * 6
        padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = most
        wide = F.pad(x, padding, mode="replicate")
        weights = kernel.T[:, :, None, None, None, None]
        x = sum(
            (wide.narrow(axis, step, x.shape[axis]) * weights[step] for step in range(len(reach))),
            start=torch.zeros_like(x),
        )
    return x


def _contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    low, high, mean = x.amin((2, 3, 4), True), x.amax((2, 3, 4), True), x.mean((2, 3, 4), True)
    return ((x - mean) * factor + mean).clamp(low, high)


def _lower_resolution(x: torch.Tensor, factors: Floats) -> torch.Tensor:
    """Fewer voxels and back. `nearest` would take each coarse voxel's first, and move the image off its labels."""
    parts = []
    for patch, part in zip(x.split(1), factors[~np.isnan(factors)].tolist(), strict=True):
        small = [max(1, round(n * part)) for n in patch.shape[2:]]
        coarse = F.interpolate(patch, small, mode="nearest-exact")
        parts.append(F.interpolate(coarse, patch.shape[2:], mode="trilinear"))
    return torch.cat(parts)


def _gamma(x: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    low, high = x.amin((2, 3, 4), True), x.amax((2, 3, 4), True)
    span = (high - low).clamp_min(1e-6)
    return ((x - low) / span).pow(power) * span + low
