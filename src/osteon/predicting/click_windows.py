"""A network that answers clicks, on the plan's grid: it looks at a window around them, and no further than it must."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from osteon.core.boxes import Box, Index3, bounding_box
from osteon.core.clicks import Click, Mask, places_of
from osteon.plan.schema import Plan
from osteon.predicting.click_maps import click_channels, click_plan
from osteon.predicting.speed import FAST
from osteon.predicting.tiles import predict_probabilities

MAX_WINDOWS = 3
"""As many patches' voxels are looked at for a click at most; a larger structure is corrected around the click alone."""
MAX_GROWTH = 3
"""How often a window grows after a structure that reaches its border."""
MARGIN = 0.125
"""Around the mask so far, as a part of the patch."""


def answer_click(
    network: nn.Module, image: torch.Tensor, plan: Plan, clicks: Sequence[Click], probability: torch.Tensor
) -> Box:
    """Answer the newest click.

    Args:
        network: In eval mode.
        image: `[channel, i, j, k]` float32 on the plan's grid, normalised.
        plan: With its section `clicks`.
        clicks: All so far, on the plan's grid, the newest last; at least one.
        probability: `[i, j, k]` float32: the answer so far, or 0 and 1 of a mask that is there. Changed in place.

    Returns:
        The part of the grid that was looked at; nothing else has changed.
    """
    shape = _index3(probability.shape)
    newest = _point_box(clicks[-1].at)
    box = _window(probability, newest, plan, clicks)
    for _ in range(MAX_GROWTH):
        before = probability[box.slices] > 0.5
        part = _predict(network, image, plan, clicks, before, box)
        part *= torch.from_numpy(_connected(part.numpy() > 0.5, before.numpy(), clicks, box))
        larger = _grown(box, part.numpy() > 0.5, plan, shape)
        probability[box.slices] = part
        if larger == box or math.prod(larger.shape) > MAX_WINDOWS * math.prod(plan.patch.size):
            break
        box = larger
    return box


def _window(probability: torch.Tensor, newest: Box, plan: Plan, clicks: Sequence[Click]) -> Box:
    """Around the mask and the click, or where that is too large around the click."""
    shape = _index3(probability.shape)
    size = plan.patch.size
    tight = bounding_box((probability > 0.5).numpy())
    around = newest
    for click in clicks:
        around = around.union(_point_box(click.at))
    around = around if tight is None else tight.union(around)
    margin = [round(MARGIN * n) if n > 1 else 0 for n in size]
    whole = around.expand(margin, shape).grow_to(size, shape)
    return whole if math.prod(whole.shape) <= MAX_WINDOWS * math.prod(size) else newest.grow_to(size, shape)


def _predict(
    network: nn.Module, image: torch.Tensor, plan: Plan, clicks: Sequence[Click], before: torch.Tensor, box: Box
) -> torch.Tensor:
    """`[i, j, k]` probabilities in a box; an array of its own, which may be changed."""
    seen = torch.cat((image[(slice(None), *box.slices)], click_channels(clicks, before, plan, first=box.first)))
    return predict_probabilities(network, seen, click_plan(plan), speed=FAST)[1].clone()  # no inference tensor


def _connected(found: Mask, before: Mask, clicks: Sequence[Click], box: Box) -> Mask:
    """What hangs together with a click inside, or with the mask so far; all where neither is there."""
    from scipy import ndimage

    keep = before & found
    inside, _ = places_of(clicks)
    for point in inside - box.first:
        if (point >= 0).all() and (point < box.shape).all():
            keep[tuple(point)] = True
    if not (keep & found).any():
        return np.ones_like(found)
    return np.asarray(ndimage.binary_propagation(keep & found, mask=found) | ~found)


def _grown(box: Box, found: Mask, plan: Plan, shape: Index3) -> Box:
    """The box, by half a patch larger where the structure reaches a side that is not the image's own."""
    first, stop = list(box.first), list(box.stop)
    for axis, size in enumerate(plan.patch.size):
        if size == 1:  # a 2D plan's slice
            continue
        ends = np.take(found, [0, -1], axis)
        if ends.take(0, axis).any():
            first[axis] = max(0, first[axis] - size // 2)
        if ends.take(1, axis).any():
            stop[axis] = min(shape[axis], stop[axis] + size // 2)
    return Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))


def _point_box(at: Index3) -> Box:
    i, j, k = at
    return Box(at, (i + 1, j + 1, k + 1))


def _index3(values: Sequence[int]) -> Index3:
    i, j, k = values
    return int(i), int(j), int(k)
