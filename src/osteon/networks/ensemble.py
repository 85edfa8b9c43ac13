"""An ensemble of networks of one plan: the mean of their logits, as nnU-Net averages its folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

MEMBER_PREFIX = "members."


class Ensemble(nn.Module):
    """The mean of the members' finest logits.

    Args:
        members: Networks with the same inputs and outputs, in the order of their folds.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """`[batch, output, i, j, k]` logits, alone in a list, of `[batch, channel, i, j, k]`."""
        first, *others = self.members
        total = first(image)[0]
        for member in others:
            total = total + member(image)[0]
        return [total / len(self.members)]


def count_members(state: Mapping[str, torch.Tensor]) -> int:
    """How many members' tensors a state dict holds; 0 where it is a single network's."""
    numbers = {int(name.split(".")[1]) for name in state if name.startswith(MEMBER_PREFIX)}
    return max(numbers) + 1 if numbers else 0


def first_member(network: nn.Module) -> nn.Module:
    """The first member of an ensemble; any other network as it is."""
    if not isinstance(network, Ensemble):
        return network
    return network.members[0]
