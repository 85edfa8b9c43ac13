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
from osteon.plan.schema import Plan
from osteon.predicting.region import seen_by, worthwhile
from osteon.predicting.speed import BALANCED, Speed

GAUSSIAN_SIGMA = 1 / 8
"""Width of a patch's weights, as a part of its size: what lies near the edge counts little (nnU-Net's value)."""
SURE = 15.0
"""Logits of this size leave a probability of less than a millionth to the others."""
AT_ONCE = 16
"""Planes that are given on at a time."""
AIR_HU = -800.0
"""Between air and lungs."""
AIR_NOISE = 0.001
"""A part of the voxels of air may be above that: noise."""
WHOLE = 1.5
"""An image of up to this many times a patch's voxels goes through the network at once."""


@torch.inference_mode()
def probabilities(network: nn.Module, image: torch.Tensor, plan: Plan, *, speed: Speed = BALANCED) -> torch.Tensor:
    """What the network says of every voxel, as a whole; arguments as for `stream`.

    Returns:
        `[output, i, j, k]` float32 on the CPU: softmax with the background first, or a sigmoid for each structure.
    """
    parts = list(stream(network, image, plan, speed=speed))
    return torch.cat([part.shares for part in parts], dim=1 + parts[0].axis)


@dataclass(frozen=True)
class Slab:
    """A part of an image that has been decided: some planes across one axis.

    Attributes:
        axis: 0, 1 or 2; the same for all slabs of an image.
        first: Number of the first plane.
        shares: `[output, i, j, k]` float32 on the CPU: softmax with the background first, or a sigmoid for each
            structure; for a model of nnU-Net's the softmax's logarithm, or logits.
    """

    axis: int
    first: int
    shares: torch.Tensor


def stream(
    network: nn.Module, image: torch.Tensor, plan: Plan, *, speed: Speed = BALANCED, region: bool = False
) -> Iterator[Slab]:
    """What the network says of every voxel, slab by slab from one end to the other; only one row of tiles is held.

    Args:
        network: In eval mode, on any device.
        image: `[channel, i, j, k]` float32 on the plan's grid, on the CPU.
        plan: Patch, strides and the kind of output.
        speed: How densely patches lie, and whether the mirror images that the plan's augmentation allows are averaged
            (sides swap back).
        region: 3D: look with patches side by side first where that costs little beside the rest, and then only where
            something was seen.
    """
    if plan.grid.dimensions == 3:
        for axis, first, logits in _logits(network, image[None], plan, speed, region=region):
            yield Slab(axis, first, _shares(logits, plan)[0])
        return
    for start in range(0, image.shape[3], plan.patch.batch):
        batch = image[..., start : start + plan.patch.batch].permute(3, 0, 1, 2)[..., None]
        rows = [(axis, logits) for axis, _, logits in _logits(network, batch, plan, speed)]
        logits = torch.cat([part for _, part in rows], dim=2 + rows[0][0])
        yield Slab(2, start, _shares(logits, plan)[..., 0].permute(1, 2, 3, 0).contiguous())


def whole_size(shape: Sequence[int], plan: Plan) -> tuple[int, ...] | None:
    """The size at which an image `[i, j, k]` goes through the network at once; None where it is cut into patches."""
    size = _size(shape, plan)
    fits = plan.grid.dimensions == 3 and all(n <= s for n, s in zip(shape, size, strict=True))
    return tuple(size) if fits else None


def look_together(network: nn.Module, images: Sequence[torch.Tensor], plan: Plan, *, speed: Speed) -> list[Slab]:
    """What the network says of several images of one `whole_size`, each `[channel, i, j, k]`, in one pass."""
    filled = [_filled(image[None], _size(image.shape[1:], plan), plan) for image in images]
    logits = _mirrored(network, torch.cat([batch for batch, _ in filled]), plan, mirror=speed.mirror)
    parts = (logits[number : number + 1][(..., *inner)] for number, (_, inner) in enumerate(filled))
    return [Slab(0, 0, _shares(part.clone(), plan)[0]) for part in parts]


def _shares(logits: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Probabilities of logits `[batch, output, i, j, k]`, in place: a second copy would double the memory."""
    if plan.grid.nnunet is not None:
        return logits if plan.overlapping else logits.sub_(logits.logsumexp(1, keepdim=True))
    if plan.overlapping:
        return logits.sigmoid_()
    logits.sub_(logits.amax(1, keepdim=True)).exp_()
    return logits.div_(logits.sum(1, keepdim=True))


Rows = Iterator[tuple[int, int, torch.Tensor]]
"""Axis, first plane, and logits `[batch, output, i, j, k]` of the planes from there on."""


@torch.inference_mode()
def _first(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return network(batch)[0].float().cpu()


def _logits(network: nn.Module, batch: torch.Tensor, plan: Plan, speed: Speed, *, region: bool = False) -> Rows:
    """Of `[batch, channel, i, j, k]`."""
    size = _size(batch.shape[2:], plan)
    padded, inner = _filled(batch, size, plan)
    starts = [tile_starts(n, s, speed.step) for n, s in zip(padded.shape[2:], size, strict=True)]
    if all(len(s) == 1 for s in starts):
        yield 0, 0, _mirrored(network, padded, plan, mirror=speed.mirror)[(..., *inner)]
        return
    # An axis with several tiles is nowhere filled up, so its planes are the image's own.
    axis = max(range(3), key=lambda a: len(starts[a]))
    inner[axis] = slice(None)
    boxes = None
    side_by_side = [tile_starts(n, s, 1.0) for n, s in zip(padded.shape[2:], size, strict=True)]
    if region and worthwhile(starts, side_by_side):

        def look(patch: torch.Tensor) -> torch.Tensor:
            return _shares(_asked(network, patch, plan, mirror=False), plan)

        boxes = seen_by(look, padded, size, side_by_side, plan)
    for first, logits in _rows(network, padded, size, starts, axis, plan, boxes, mirror=speed.mirror):
        yield axis, first, logits[(..., *inner)]


def _size(shape: Sequence[int], plan: Plan) -> list[int]:
    """What goes through the network at a time: the image as a whole, where it is not much larger than a patch.

    As in training, what is smaller than a patch is filled up to one: the network's norms depend on it.
    """
    patch = plan.patch.size
    room = [max(s, math.ceil(n / m) * m) for n, m, s in zip(shape, plan.downsampling, patch, strict=True)]
    return list(patch) if plan.fixed_patch or math.prod(room) > WHOLE * math.prod(patch) else room


def _filled(batch: torch.Tensor, size: list[int], plan: Plan) -> tuple[torch.Tensor, list[Any]]:
    """`[batch, channel, i, j, k]`, filled up to a size on both sides, and where it lies in that."""
    shape = batch.shape[2:]
    before = [max(0, s - n) // 2 for s, n in zip(size, shape, strict=True)]
    after = [max(0, s - n) - b for s, n, b in zip(size, shape, before, strict=True)]
    margins = [p for b, a in zip(before[::-1], after[::-1], strict=True) for p in (b, a)]
    filling = "replicate" if plan.grid.nnunet is None else "constant"  # as in training; a constant is 0
    inner = [slice(b, b + n) for b, n in zip(before, shape, strict=True)]
    return nn.functional.pad(batch, margins, mode=filling) if any(margins) else batch.contiguous(), inner


def _rows(
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
    """Tiles in rows across one axis: what no later row touches is done, and is given on.

    With `boxes`, only tiles that meet one of them are looked at.
    """
    weights = gaussian_weights(size) if plan.grid.nnunet is None else nnunet_weights(size)
    shape = [size[axis] if a == axis else n for a, n in enumerate(batch.shape[2:])]
    total = torch.zeros(())
    seen = torch.zeros(shape)
    others = [[0] if a == axis else corners for a, corners in enumerate(starts)]
    for row, first in enumerate(starts[axis]):
        slab = batch.narrow(2 + axis, first, size[axis])
        for corner in itertools.product(*others):
            where: tuple[Any, ...] = (..., *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))
            patch = slab[where]
            place = [first if a == axis else c for a, c in enumerate(corner)]
            wanted = boxes is None or any(_tile(place, size).meets(box) for box in boxes)
            logits = _asked(network, patch, plan, mirror=mirror) if wanted else _nothing(patch, plan)
            if not total.ndim:
                total = torch.zeros((*logits.shape[:2], *shape))
            total[where] += logits.mul_(weights)
            seen[where] += weights
        last = row + 1 == len(starts[axis])
        done = size[axis] if last else starts[axis][row + 1] - first
        for plane in range(0, done, AT_ONCE):
            count = min(AT_ONCE, done - plane)
            yield first + plane, total.narrow(2 + axis, plane, count) / seen.narrow(axis, plane, count)
        _move_up(total, 2 + axis, done)
        _move_up(seen, axis, done)


def _tile(place: list[int], size: list[int]) -> Box:
    """The voxels of a tile."""
    (a, b, c), (i, j, k) = place, size
    return Box((a, b, c), (a + i, b + j, c + k))


def _asked(network: nn.Module, patch: torch.Tensor, plan: Plan, *, mirror: bool) -> torch.Tensor:
    """What the network says of a patch, or, where that is empty, that nothing is there (not for nnU-Net)."""
    empty = plan.grid.nnunet is None and _is_empty(patch, plan)
    return _nothing(patch, plan) if empty else _mirrored(network, patch, plan, mirror=mirror)


def _move_up(part: torch.Tensor, axis: int, done: int) -> None:
    """Move all planes after the first `done` to the front, in place, and clear the rest."""
    length = part.shape[axis]
    for place in range(0, length, done):
        count = min(done, max(0, length - place - done))
        if count:
            part.narrow(axis, place, count).copy_(part.narrow(axis, place + done, count))
        rest = min(done, length - place) - count
        part.narrow(axis, place + count, rest).zero_()


def _is_empty(patch: torch.Tensor, plan: Plan) -> bool:
    """Whether nothing is in `[batch, channel, i, j, k]`: one value all over, as clipped air round a body is, or CT air.

    Such a patch tells nothing, and a network's norms would make noise of it.
    """
    low, high = patch.aminmax(dim=-1)
    if (low.amin((2, 3)) == high.amax((2, 3))).all():
        return True
    how = plan.intensities[0]
    if len(plan.channels) != 1 or plan.channels[0].modality != "ct" or how.mean is None or how.std is None:
        return False
    return float((patch > (AIR_HU - how.mean) / how.std).float().mean()) < AIR_NOISE


def _nothing(patch: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Logits that are sure of no structure `[batch, output, i, j, k]`."""
    count = len(plan.structures) + (0 if plan.overlapping else 1)
    logits = torch.full((len(patch), count, *patch.shape[2:]), -SURE if plan.overlapping else 0.0)
    if not plan.overlapping:
        logits[:, 0] = SURE
    return logits


def _mirrored(network: nn.Module, batch: torch.Tensor, plan: Plan, *, mirror: bool) -> torch.Tensor:
    """The network's logits, averaged over mirror images where asked."""
    device = next(network.parameters()).device
    axes = plan.augmentation.mirror_axes if mirror else []
    sideways = plan.grid.left_right_axis
    partners = plan.mirror_partners if plan.overlapping else [0, *(p + 1 for p in plan.mirror_partners)]
    subsets = [subset for count in range(len(axes) + 1) for subset in itertools.combinations(axes, count)]
    total = _first(network, batch.to(device)).clone()  # an array of its own, which may be changed
    for subset in subsets[1:]:
        dims = [axis - 3 for axis in subset]
        logits = _first(network, batch.flip(dims).to(device)).flip(dims)
        total.add_(logits[:, partners] if sideways in subset else logits)
        del logits  # the next pass needs its memory
    return total.div_(len(subsets)) if len(subsets) > 1 else total


def tile_starts(length: int, size: int, step: float = BALANCED.step) -> list[int]:
    """First voxels of tiles that cover `length`, evenly spread, at most `step` of a tile apart."""
    if length <= size:
        return [0]
    count = math.ceil((length - size) / (size * step)) + 1
    return [round(number * (length - size) / (count - 1)) for number in range(count)]


def gaussian_weights(size: list[int]) -> torch.Tensor:
    """`size` weights that fall from 1 at a patch's centre; nowhere below a thousandth, so that no sum vanishes."""
    return _bell(size, [(count - 1) / 2 for count in size]).clamp_min(1e-3)


def nnunet_weights(size: list[int]) -> torch.Tensor:
    """The same as nnU-Net has it: the top on the voxel after the middle, tenfold, in half precision."""
    weights = (10 * _bell(size, [count // 2 for count in size])).half().float()
    return weights.clamp_min(float(weights[weights > 0].min()))


def _bell(size: list[int], centre: Sequence[float]) -> torch.Tensor:
    weights = torch.ones(())
    for axis, count in enumerate(size):
        place = (torch.arange(count) - centre[axis]) / (count * GAUSSIAN_SIGMA)
        along = torch.exp(-0.5 * place**2)
        weights = weights[..., None] * along if axis else along
    return weights
