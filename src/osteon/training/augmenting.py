"""Random changes to a batch: all parameters are drawn first, then applied to the whole batch where it lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from osteon.planning.plan import Plan

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Changes:
    """What happens to each patch of a batch; NaN where something does not happen.

    Attributes:
        mirror: `[batch, 3]` bool.
        affine: `[batch, 3, 4]`: from the changed patch to the given one, in parts of half a patch along i, j, k.
        noise, blur, brightness, offset, contrast, low_resolution, gamma, gamma_inverted: `[batch]`.
        seed: Of the noise.
    """

    mirror: npt.NDArray[np.bool_]
    affine: Floats
    noise: Floats
    blur: Floats
    brightness: Floats
    offset: Floats
    contrast: Floats
    low_resolution: Floats
    gamma: Floats
    gamma_inverted: Floats
    seed: int


def draw_changes(plan: Plan, seed: int, iteration: int) -> Changes:
    """Draw the changes of one iteration; the same seed and iteration give the same changes."""
    rng = np.random.default_rng((seed, 3, iteration))
    how = plan.augmentation
    count = plan.patch.batch

    def maybe(chance: float, low: float, high: float, *, ratio: bool = False) -> Floats:
        """A number from the range, evenly (a ratio: evenly in its logarithm), with the given chance."""
        value = np.exp(rng.uniform(np.log(low), np.log(high), count)) if ratio else rng.uniform(low, high, count)
        return np.where(rng.random(count) < chance, value, np.nan)

    mirror = rng.random((count, 3)) < 0.5
    mirror[:, [axis for axis in range(3) if axis not in how.mirror_axes]] = False
    return Changes(
        mirror=mirror,
        affine=_draw_affine(plan, rng),
        noise=maybe(how.noise_p, 0, how.noise_std),
        blur=maybe(how.blur_p, *how.blur_sigma),
        brightness=maybe(how.brightness_p, *how.brightness),
        offset=maybe(how.offset_p, *how.offset),
        contrast=maybe(how.contrast_p, *how.contrast),
        low_resolution=maybe(how.low_resolution_p, *how.low_resolution),
        gamma=maybe(how.gamma_p, *how.gamma, ratio=True),
        gamma_inverted=maybe(how.gamma_inverted_p, *how.gamma, ratio=True),
        seed=int(rng.integers(2**62)),
    )


def _draw_affine(plan: Plan, rng: np.random.Generator) -> Floats:
    """`[batch, 3, 4]` rotation and zoom about the patch's centre, rigid in millimetres, and a shift."""
    how = plan.augmentation
    made = np.zeros((plan.patch.batch, 3, 4))
    half = np.array(plan.patch.size) * np.array(plan.grid.spacing_mm) / 2
    flat = plan.grid.dimensions == 2
    for number in range(plan.patch.batch):
        angles = np.radians(rng.uniform(-1, 1, 3) * how.rotate_degrees)
        zoom = np.exp(rng.uniform(np.log(how.scale[0]), np.log(how.scale[1]), 3))
        shift = rng.uniform(-2, 2, 3) * how.shift
        if rng.random() >= how.affine_p:
            angles, zoom, shift = np.zeros(3), np.ones(3), np.zeros(3)
        if flat:
            zoom[2], shift[2] = 1, 0
        turn = rotation(angles) @ np.diag(zoom)
        made[number, :, :3] = turn * half[None, :] / half[:, None]
        made[number, :, 3] = shift
    return made


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


def apply_changes(
    image: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor, changes: Changes, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Apply drawn changes.

    Args:
        image: `[batch, channel, i, j, k]` float; may be changed in place.
        labels: Index `[batch, i, j, k]` int64 or multi-hot `[batch, structure, i, j, k]` float.
        annotated: `[batch, structure]` bool; sides swap with their structures.
        changes: From `draw_changes`.
        plan: Says which structures swap when left and right do.

    Returns:
        Image, labels and annotated, changed, on the same device.
    """
    image, labels, annotated = _mirror(image, labels, annotated, changes.mirror, plan)
    image, labels = _transform(image, labels, changes.affine)
    return _change_intensities(image, changes), labels, annotated


def _mirror(
    image: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor, mirror: npt.NDArray[np.bool_], plan: Plan
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    partners = plan.mirror_partners
    swap = torch.tensor([0, *(partner + 1 for partner in partners)], device=labels.device)
    sideways = plan.grid.axes.index("R")
    for number, axes in enumerate(mirror):
        dims = [int(axis) - 3 for axis in np.flatnonzero(axes)]
        if not dims:
            continue
        image[number] = image[number].flip(dims)
        labels[number] = labels[number].flip(dims)
        if axes[sideways]:
            labels[number] = labels[number][partners] if plan.overlapping else swap[labels[number]]
            annotated[number] = annotated[number][partners]
    return image, labels, annotated


def _transform(image: torch.Tensor, labels: torch.Tensor, affine: Floats) -> tuple[torch.Tensor, torch.Tensor]:
    """Resample image (linear) and labels (nearest) through `affine`; beyond the edge the outermost voxel repeats."""
    if np.allclose(affine[:, :, :3], np.eye(3)) and not affine[:, :, 3].any():
        return image, labels
    reverse = affine[:, ::-1, [2, 1, 0, 3]].copy()  # grid_sample counts x, y, z: the last array axis first
    theta = torch.from_numpy(reverse).to(image)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    image = _grid_sample(image, grid, "bilinear")
    if labels.is_floating_point():
        return image, _grid_sample(labels, grid, "nearest")
    return image, _grid_sample(labels[:, None].float(), grid, "nearest")[:, 0].long()


def _grid_sample(x: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """`grid_sample`, cut along i on a CPU, where torch works on different batch entries in parallel only."""
    batch, length = grid.shape[:2]
    pieces = torch.get_num_threads() if x.device.type == "cpu" else 1
    while pieces > 1 and (length % pieces or batch * pieces > 64):
        pieces -= 1
    cut = grid.reshape(batch * pieces, length // pieces, *grid.shape[2:])
    source = x[:, None].expand(batch, pieces, *x.shape[1:]).flatten(0, 1) if pieces > 1 else x
    out = F.grid_sample(source, cut, mode=mode, padding_mode="border", align_corners=False)
    return out.unflatten(0, (batch, pieces)).transpose(1, 2).flatten(2, 3)


def _change_intensities(image: torch.Tensor, changes: Changes) -> torch.Tensor:
    generator = torch.Generator(device=image.device).manual_seed(changes.seed)

    def noise(x: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        return x + std * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    steps: list[tuple[Floats, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = [
        (changes.noise, noise),
        (changes.blur, _blur),
        (changes.brightness, lambda x, factor: x * factor),
        (changes.offset, lambda x, amount: x + amount),
        (changes.contrast, _contrast),
        (changes.low_resolution, _coarsen),
        (changes.gamma_inverted, lambda x, power: -_gamma(-x, power)),
        (changes.gamma, _gamma),
    ]
    for values, change in steps:
        chosen = np.flatnonzero(~np.isnan(values))
        if len(chosen):
            amount = torch.from_numpy(values[chosen]).to(image).reshape(-1, 1, 1, 1, 1)
            image[chosen] = change(image[chosen], amount)
    return image


def _blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur by `sigma` voxels along every axis of more than one voxel."""
    reach = torch.arange(-3, 4, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (reach / sigma.reshape(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    for axis in (2, 3, 4):
        if x.shape[axis] == 1:
            continue
        padding = [0] * 6
        padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = 3
        wide = F.pad(x, padding, mode="replicate")
        weights = kernel.T[:, :, None, None, None, None]
        x = sum(
            (wide.narrow(axis, step, x.shape[axis]) * weights[step] for step in range(7)), start=torch.zeros_like(x)
        )
    return x


def _contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    low, high, mean = x.amin((2, 3, 4), True), x.amax((2, 3, 4), True), x.mean((2, 3, 4), True)
    return ((x - mean) * factor + mean).clamp(low, high)


def _coarsen(x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    parts = []
    for patch, part in zip(x.split(1), kept.flatten().tolist(), strict=True):
        small = [max(1, round(n * part)) for n in patch.shape[2:]]
        parts.append(F.interpolate(F.interpolate(patch, small, mode="nearest"), patch.shape[2:], mode="trilinear"))
    return torch.cat(parts)


def _gamma(x: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    low, high = x.amin((2, 3, 4), True), x.amax((2, 3, 4), True)
    span = (high - low).clamp_min(1e-6)
    return ((x - low) / span).pow(power) * span + low
