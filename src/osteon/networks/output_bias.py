"""The initial output bias of a network of overlapping structures: nearly sure that a voxel belongs to none of them.

With sigmoids that begin at a half, the first hundreds of iterations go into pushing all outputs down, and small
structures are pushed out of sight with them (Lin et al., ICCV 2017, begin in the same way).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from osteon.networks.transfer import output_tensors
from osteon.plan.schema import Plan

PRIOR = 0.01
"""The probability of each structure in every voxel at first."""


def init_output_bias(network: nn.Module, plan: Plan) -> None:
    """Set the biases of the output layers of a new network; nothing where structures exclude one another."""
    if not plan.overlapping:
        return
    tensors = network.state_dict()
    with torch.no_grad():
        for name in output_tensors(plan, tensors):
            if name.endswith("bias"):
                tensors[name].fill_(math.log(PRIOR / (1 - PRIOR)))
