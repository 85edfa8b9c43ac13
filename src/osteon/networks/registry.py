"""The networks that a plan may name. A new one is one file and one row."""

from __future__ import annotations

from torch import nn

from osteon.networks.unet import UNet
from osteon.planning.plan import Network, Plan


def build_network(plan: Plan, *, fresh: bool = False) -> nn.Module:
    """The network of a plan, with random weights from torch's global generator.

    Args:
        plan: Its sections network, grid, patch, channels and structures decide.
        fresh: For a training that begins: a pre-trained encoder gets its weights. Otherwise they are about to be
            loaded, and nothing is looked for.
    """
    if isinstance(plan.network, Network):
        return UNet(plan.network, plan.grid.dimensions, len(plan.channels), outputs(plan))
    raise NotImplementedError(plan.network.name, fresh)


def outputs(plan: Plan) -> int:
    """Channels of the network's output: one for each structure, and the background first where they exclude."""
    return len(plan.structures) + (0 if plan.overlapping else 1)
