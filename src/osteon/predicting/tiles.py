"""From a prepared image to probabilities on the plan's grid: whole where it fits, else overlapping patches."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from osteon.planning.plan import Plan, Pretrained

STEP = 0.5
"""Patches follow one another by this part of their size."""
GAUSSIAN_SIGMA = 1 / 8
"""Width of a patch's weights, as a part of its size: what lies near the edge counts little (nnU-Net's value)."""
WHOLE = 1.5
"""An image of up to this many times a patch's voxels goes through the network at once."""


@torch.inference_mode()
def probabilities(network: nn.Module, image: torch.Tensor, plan: Plan, *, mirror: bool = False) -> torch.Tensor:
    """What the network says of every voxel.

    Args:
        network: In eval mode, on any device.
        image: `[channel, i, j, k]` float32 on the plan's grid, on the CPU.
        plan: Patch, strides and the kind of output.
        mirror: Average over the mirror images that the plan's augmentation allows (sides swap back).

    Returns:
        `[output, i, j, k]` float32 on the CPU: softmax with the background first, or a sigmoid for each structure.
    """
    flat = plan.grid.dimensions == 2
    batch = image.permute(3, 0, 1, 2)[..., None] if flat else image[None]
    parts = [_logits(network, part, plan, mirror=mirror) for part in batch.split(plan.patch.batch if flat else 1)]
    logits = torch.cat(parts)
    logits = logits.sigmoid_() if plan.overlapping else _softmax_(logits)
    return logits[..., 0].permute(1, 2, 3, 0).contiguous() if flat else logits[0]


def _softmax_(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over axis 1 in place: a second copy of all outputs would double the memory."""
    logits.sub_(logits.amax(1, keepdim=True)).exp_()
    return logits.div_(logits.sum(1, keepdim=True))


def _logits(network: nn.Module, batch: torch.Tensor, plan: Plan, *, mirror: bool) -> torch.Tensor:
    """`[batch, output, i, j, k]` of `[batch, channel, i, j, k]`."""
    shape = batch.shape[2:]
    patch = plan.patch.size
    # As in training, what is smaller than a patch is filled up to one: the network's norms depend on it.
    room = [max(s, math.ceil(n / m) * m) for n, m, s in zip(shape, plan.downsampling, patch, strict=True)]
    fixed = isinstance(plan.network, Pretrained) and plan.network.fixed_size
    size = list(patch) if fixed or math.prod(room) > WHOLE * math.prod(patch) else room
    before = [max(0, s - n) // 2 for s, n in zip(size, shape, strict=True)]
    after = [max(0, s - n) - b for s, n, b in zip(size, shape, before, strict=True)]
    margins = [p for b, a in zip(before[::-1], after[::-1], strict=True) for p in (b, a)]
    padded = nn.functional.pad(batch, margins, mode="replicate")  # as in training
    starts = [tile_starts(n, s) for n, s in zip(padded.shape[2:], size, strict=True)]
    if all(len(s) == 1 for s in starts):
        total = _mirrored(network, padded, plan, mirror=mirror)
    else:
        total = _tiled(network, padded, size, starts, plan, mirror=mirror)
    inner = (slice(None), slice(None), *(slice(b, b + n) for b, n in zip(before, shape, strict=True)))
    return total[inner]


def _tiled(
    network: nn.Module, batch: torch.Tensor, size: list[int], starts: list[list[int]], plan: Plan, *, mirror: bool
) -> torch.Tensor:
    weights = gaussian_weights(size)
    total: torch.Tensor | None = None
    seen = torch.zeros(batch.shape[2:])
    for corner in itertools.product(*starts):
        where = (slice(None), slice(None), *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))
        logits = _mirrored(network, batch[where], plan, mirror=mirror)
        if total is None:
            total = torch.zeros((len(batch), logits.shape[1], *batch.shape[2:]))
        total[where] += logits * weights
        seen[where[2:]] += weights
    if total is None:
        raise ValueError("an image without a voxel")
    return total.div_(seen)


def _mirrored(network: nn.Module, batch: torch.Tensor, plan: Plan, *, mirror: bool) -> torch.Tensor:
    """The network's logits, averaged over mirror images where asked."""
    device = next(network.parameters()).device
    axes = plan.augmentation.mirror_axes if mirror else []
    sideways = plan.grid.axes.index("R")
    partners = plan.mirror_partners if plan.overlapping else [0, *(p + 1 for p in plan.mirror_partners)]
    subsets = [subset for count in range(len(axes) + 1) for subset in itertools.combinations(axes, count)]
    total = torch.zeros(())
    for subset in subsets:
        dims = [axis - 3 for axis in subset]
        logits = network(batch.flip(dims).to(device))[0].float().cpu().flip(dims)
        total = total + (logits[:, partners] if sideways in subset else logits)
    return total / len(subsets)


def tile_starts(length: int, size: int) -> list[int]:
    """First voxels of tiles that cover `length`, evenly spread, at most STEP of a tile apart."""
    if length <= size:
        return [0]
    count = math.ceil((length - size) / (size * STEP)) + 1
    return [round(number * (length - size) / (count - 1)) for number in range(count)]


def gaussian_weights(size: list[int]) -> torch.Tensor:
    """`size` weights that fall from 1 at a patch's centre; nowhere below a thousandth, so that no sum vanishes."""
    weights = torch.ones(())
    for axis, count in enumerate(size):
        place = (torch.arange(count) - (count - 1) / 2) / (count * GAUSSIAN_SIGMA)
        along = torch.exp(-0.5 * place**2)
        weights = weights[..., None] * along if axis else along
    return weights.clamp_min(1e-3)
