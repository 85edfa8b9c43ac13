"""From a prepared image to probabilities on the plan's grid: whole where it fits, else overlapping patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from osteon.core.boxes import Box
from osteon.plan.outputs import output_layout
from osteon.plan.schema import Plan
from osteon.predicting.region import is_region_pass_cheaper, regions_of_interest
from osteon.predicting.speed import BALANCED, SpeedPreset
from osteon.preparing.strategies import grid_strategy

BACKGROUND_LOGIT = 15.0
"""Logits of this size leave a probability of less than a millionth to the others."""
CHUNK_PLANES = 16
"""Planes that are given on at a time."""
AIR_HU = -800.0
"""Between air and lungs."""
MAX_AIR_NOISE = 0.001
"""A part of the voxels of air may be above that: noise."""
MAX_WHOLE = 1.5
"""An image of up to this many times a patch's voxels goes through the network at once."""


@torch.inference_mode()
def predict_probabilities(
    network: nn.Module, image: torch.Tensor, plan: Plan, *, speed: SpeedPreset = BALANCED
) -> torch.Tensor:
    """The network's probabilities for a whole image; arguments as for `stream_probabilities`.

    Returns:
        `[output, i, j, k]` float32 on the CPU, as `GridStrategy.activate` gives them.
    """
    slabs = list(stream_probabilities(network, image, plan, speed=speed))
    return torch.cat([slab.probabilities for slab in slabs], dim=1 + slabs[0].axis)


@dataclass(frozen=True)
class Slab:
    """A finished part of an image: some planes across one axis.

    Attributes:
        axis: 0, 1 or 2; the same for all slabs of an image.
        first: Index of the first plane.
        probabilities: `[output, i, j, k]` float32 on the CPU, as `GridStrategy.activate` gives them.
    """

    axis: int
    first: int
    probabilities: torch.Tensor


def stream_probabilities(
    network: nn.Module, image: torch.Tensor, plan: Plan, *, speed: SpeedPreset = BALANCED, region: bool = False
) -> Iterator[Slab]:
    """The network's probabilities, slab by slab from one end to the other; only one row of tiles is held.

    Args:
        network: In eval mode, on any device.
        image: `[channel, i, j, k]` float32 on the plan's grid, on the CPU.
        plan: Patch, strides and the kind of output.
        speed: How densely patches lie, and whether the mirror images that the plan's augmentation allows are averaged
            (sides swap back).
        region: 3D: predict with patches side by side first where that costs little beside the rest, and then only
            where something was found.
    """
    activate = grid_strategy(plan).activate
    if plan.grid.dimensions == 3:
        for axis, first, logits in _logits(network, image[None], plan, speed, region=region):
            yield Slab(axis, first, activate(logits)[0])
        return
    for start in range(0, image.shape[3], plan.patch.batch):
        batch = image[..., start : start + plan.patch.batch].permute(3, 0, 1, 2)[..., None]
        rows = [(axis, logits) for axis, _, logits in _logits(network, batch, plan, speed)]
        logits = torch.cat([part for _, part in rows], dim=2 + rows[0][0])
        yield Slab(2, start, activate(logits)[..., 0].permute(1, 2, 3, 0).contiguous())


def whole_size(shape: Sequence[int], plan: Plan) -> tuple[int, ...] | None:
    """The size at which an image `[i, j, k]` goes through the network at once; None where it is cut into patches."""
    size = _pass_size(shape, plan)
    fits = plan.grid.dimensions == 3 and all(n <= s for n, s in zip(shape, size, strict=True))
    return tuple(size) if fits else None


def predict_batch(network: nn.Module, images: Sequence[torch.Tensor], plan: Plan, *, speed: SpeedPreset) -> list[Slab]:
    """Probabilities of several images of one `whole_size`, each `[channel, i, j, k]`, in one pass of the network."""
    padded = [_pad(image[None], _pass_size(image.shape[1:], plan), plan) for image in images]
    logits = _mean_over_mirrors(network, torch.cat([batch for batch, _ in padded]), plan, mirror=speed.mirror)
    parts = (logits[number : number + 1][(..., *inner)] for number, (_, inner) in enumerate(padded))
    return [Slab(0, 0, grid_strategy(plan).activate(part.clone())[0]) for part in parts]


Rows = Iterator[tuple[int, int, torch.Tensor]]
"""Axis, first plane, and logits `[batch, output, i, j, k]` of the planes from there on."""


@torch.inference_mode()
def _finest_logits(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return network(batch)[0].float().cpu()


def _logits(network: nn.Module, batch: torch.Tensor, plan: Plan, speed: SpeedPreset, *, region: bool = False) -> Rows:
    """Of `[batch, channel, i, j, k]`."""
    size = _pass_size(batch.shape[2:], plan)
    padded, inner = _pad(batch, size, plan)
    strategy = grid_strategy(plan)
    starts = [
        strategy.tile_starts(n, s) or tile_starts(n, s, speed.step) for n, s in zip(padded.shape[2:], size, strict=True)
    ]
    if all(len(s) == 1 for s in starts):
        yield 0, 0, _mean_over_mirrors(network, padded, plan, mirror=speed.mirror)[(..., *inner)]
        return
    # An axis with several tiles is nowhere padded, so its planes are the image's own.
    axis = max(range(3), key=lambda a: len(starts[a]))
    inner[axis] = slice(None)
    boxes = None
    side_by_side = [tile_starts(n, s, 1.0) for n, s in zip(padded.shape[2:], size, strict=True)]
    if region and is_region_pass_cheaper(starts, side_by_side):
        activate = grid_strategy(plan).activate
        boxes = regions_of_interest(
            lambda patch: activate(_predict_patch(network, patch, plan, mirror=False)), padded, size, side_by_side, plan
        )
    for first, logits in _tile_rows(network, padded, size, starts, axis, plan, boxes, mirror=speed.mirror):
        yield axis, first, logits[(..., *inner)]


def _pass_size(shape: Sequence[int], plan: Plan) -> list[int]:
    """What goes through the network at a time: the image as a whole, where it is not much larger than a patch.

    As in training, what is smaller than a patch is padded to one: the network's norms depend on it.
    """
    patch = plan.patch.size
    whole = [max(s, math.ceil(n / m) * m) for n, m, s in zip(shape, plan.downsampling, patch, strict=True)]
    return list(patch) if plan.fixed_patch or math.prod(whole) > MAX_WHOLE * math.prod(patch) else whole


def _pad(batch: torch.Tensor, size: list[int], plan: Plan) -> tuple[torch.Tensor, list[Any]]:
    """`[batch, channel, i, j, k]`, padded to a size on both sides, and where it lies in that."""
    shape = batch.shape[2:]
    before = [max(0, s - n) // 2 for s, n in zip(size, shape, strict=True)]
    after = [max(0, s - n) - b for s, n, b in zip(size, shape, before, strict=True)]
    margins = [p for b, a in zip(before[::-1], after[::-1], strict=True) for p in (b, a)]
    inner = [slice(b, b + n) for b, n in zip(before, shape, strict=True)]
    padding = grid_strategy(plan).padding  # as in training; a constant is 0
    return nn.functional.pad(batch, margins, mode=padding) if any(margins) else batch.contiguous(), inner


def _tile_rows(
    network: nn.Module,
    batch: torch.Tensor,
    size: list[int],
    starts: list[list[int]],
    axis: int,
    plan: Plan,
    boxes: list[Box] | None,
    *,
    mirror: bool,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Tiles in rows across one axis: planes that no later row touches are finished, and given on.

    With `boxes`, only tiles that meet one of them are predicted.
    """
    weights = grid_strategy(plan).tile_weights(size)
    shape = [size[axis] if a == axis else n for a, n in enumerate(batch.shape[2:])]
    total = torch.zeros(())
    total_weights = torch.zeros(shape)
    others = [[0] if a == axis else corners for a, corners in enumerate(starts)]
    for row, first in enumerate(starts[axis]):
        slab = batch.narrow(2 + axis, first, size[axis])
        for corner in itertools.product(*others):
            where: tuple[Any, ...] = (..., *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))
            patch = slab[where]
            origin = [first if a == axis else c for a, c in enumerate(corner)]
            wanted = boxes is None or any(_tile_box(origin, size).intersects(box) for box in boxes)
            logits = _predict_patch(network, patch, plan, mirror=mirror) if wanted else _background_logits(patch, plan)
            if not total.ndim:
                total = torch.zeros((*logits.shape[:2], *shape))
            total[where] += logits.mul_(weights)
            total_weights[where] += weights
        last = row + 1 == len(starts[axis])
        finished = size[axis] if last else starts[axis][row + 1] - first
        for plane in range(0, finished, CHUNK_PLANES):
            count = min(CHUNK_PLANES, finished - plane)
            yield first + plane, total.narrow(2 + axis, plane, count) / total_weights.narrow(axis, plane, count)
        _shift_planes(total, 2 + axis, finished)
        _shift_planes(total_weights, axis, finished)


def _tile_box(origin: list[int], size: list[int]) -> Box:
    (a, b, c), (i, j, k) = origin, size
    return Box((a, b, c), (a + i, b + j, c + k))


def _predict_patch(network: nn.Module, patch: torch.Tensor, plan: Plan, *, mirror: bool) -> torch.Tensor:
    """The network's logits of a patch, or those of the background where the patch is empty and may be skipped."""
    if grid_strategy(plan).skips_empty_patches and _is_empty(patch, plan):
        return _background_logits(patch, plan)
    return _mean_over_mirrors(network, patch, plan, mirror=mirror)


def _shift_planes(part: torch.Tensor, axis: int, count: int) -> None:
    """Move all planes after the first `count` to the front, in place, and clear the rest."""
    length = part.shape[axis]
    for place in range(0, length, count):
        kept = min(count, max(0, length - place - count))
        if kept:
            part.narrow(axis, place, kept).copy_(part.narrow(axis, place + count, kept))
        rest = min(count, length - place) - kept
        part.narrow(axis, place + kept, rest).zero_()


def _is_empty(patch: torch.Tensor, plan: Plan) -> bool:
    """Whether `[batch, channel, i, j, k]` shows nothing: one value all over, as clipped air round a body, or CT air.

    Such a patch tells nothing, and a network's norms would make noise of it.
    """
    low, high = patch.aminmax(dim=-1)
    if (low.amin((2, 3)) == high.amax((2, 3))).all():
        return True
    intensity = plan.intensities[0]
    if len(plan.channels) != 1 or plan.channels[0].modality != "ct" or intensity.mean is None or intensity.std is None:
        return False
    return float((patch > (AIR_HU - intensity.mean) / intensity.std).float().mean()) < MAX_AIR_NOISE


def _background_logits(patch: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Logits that are sure of no structure `[batch, output, i, j, k]`."""
    layout = output_layout(plan)
    logits = torch.full((len(patch), layout.total, *patch.shape[2:]), -BACKGROUND_LOGIT if plan.overlapping else 0.0)
    if not plan.overlapping:
        logits[:, 0] = BACKGROUND_LOGIT
    if layout.has_cores:
        logits[:, layout.core] = -BACKGROUND_LOGIT
    return logits


def _mean_over_mirrors(network: nn.Module, batch: torch.Tensor, plan: Plan, *, mirror: bool) -> torch.Tensor:
    """The network's logits, averaged over mirror images where asked."""
    device = next(network.parameters()).device
    axes = plan.augmentation.mirror_axes if mirror else []
    sideways = plan.grid.left_right_axis
    partners = output_layout(plan).mirror_partners(plan)
    subsets = [subset for count in range(len(axes) + 1) for subset in itertools.combinations(axes, count)]
    total = _finest_logits(network, batch.to(device)).clone()  # an array of its own, which may be changed
    for subset in subsets[1:]:
        dims = [axis - 3 for axis in subset]
        logits = _finest_logits(network, batch.flip(dims).to(device)).flip(dims)
        total.add_(logits[:, partners] if sideways in subset else logits)
        del logits  # the next pass needs its memory
    return total.div_(len(subsets)) if len(subsets) > 1 else total


def predicted_labels(logits: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Of logits `[batch, output, i, j, k]`: classes `[batch, i, j, k]`, or multi-hot `[batch, structure, i, j, k]`."""
    return logits > 0 if plan.overlapping else logits[:, : output_layout(plan).classes].argmax(1)


def tile_starts(length: int, size: int, step: float = BALANCED.step) -> list[int]:
    """First voxels of tiles that cover `length`, evenly spread, at most `step` of a tile apart."""
    if length <= size:
        return [0]
    count = math.ceil((length - size) / (size * step)) + 1
    return [round(number * (length - size) / (count - 1)) for number in range(count)]
