"""The networks that a plan may name. A new one is one file and one row."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from osteon.networks.unet import UNet
from osteon.planning.plan import Network, Plan

NETWORKS: dict[str, Callable[[Network, int, int, int], nn.Module]] = {"unet": UNet}
"""Name → (section of the plan, dimensions, image channels, outputs) → network."""


def build_network(plan: Plan) -> nn.Module:
    """The network of a plan, with fresh weights from torch's global generator."""
    build = NETWORKS[plan.network.name]
    return build(plan.network, plan.grid.dimensions, len(plan.channels), outputs(plan))


def outputs(plan: Plan) -> int:
    """Channels of the network's output: one for each structure, and the background first where they exclude."""
    return len(plan.structures) + (0 if plan.overlapping else 1)
