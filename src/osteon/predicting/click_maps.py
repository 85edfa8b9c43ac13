"""What a network that answers clicks sees beside the scan: spots where was clicked, and the mask so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from osteon.core.clicks import Click
from osteon.plan.schema import Plan


def click_plan(plan: Plan) -> Plan:
    """The plan whose output is the one structure that is pointed at: a class beside the background."""
    return plan.model_copy(update={"overlapping": False})


def click_channels(
    clicks: Sequence[Click],
    mask: torch.Tensor,
    plan: Plan,
    *,
    first: Sequence[int] = (0, 0, 0),
) -> torch.Tensor:
    """The channels `[3, i, j, k]` float32: clicks inside, clicks outside, the mask so far.

    Args:
        clicks: On the plan's grid; those far outside the part have no part in it.
        mask: `[i, j, k]` bool, where the network computes.
        plan: How large spots are, and voxels.
        first: The voxel of the grid at which `mask` begins.
    """
    if plan.clicks is None:
        raise ValueError("the plan has no section `clicks`")
    channels = torch.zeros((3, *mask.shape), device=mask.device)
    channels[2] = mask
    for click in clicks:
        spot = torch.ones((), device=mask.device)
        for axis, size in enumerate(mask.shape):
            away = torch.arange(size, device=mask.device) + (first[axis] - click.at[axis])
            along = torch.exp(-0.5 * (away * (plan.grid.spacing_mm[axis] / plan.clicks.radius)) ** 2)
            spot = spot[..., None] * along
        number = 0 if click.positive else 1
        channels[number] = torch.maximum(channels[number], spot)
    return channels
