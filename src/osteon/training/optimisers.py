"""The optimisers that a plan may name, and groups of weights with rates of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from osteon.plan.schema import Plan, Pretrained, Training

ParameterGroups = list[dict[str, Any]]
RATE_FACTOR = "share"
"""A group's key: its learning rate, as a part of the plan's."""


OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def make_optimiser(network: nn.Module, encoder: nn.Module | None, training: Training) -> torch.optim.Optimizer:
    """The optimiser of a network.

    Args:
        network: All of its weights are trained.
        encoder: The part that has `encoder_rate`, in a group of its own after the others'.
        training: Names the optimiser and its numbers.
    """
    groups: ParameterGroups = [{"params": list(network.parameters()), RATE_FACTOR: 1.0}]
    if encoder is not None:
        known = {id(weight) for weight in encoder.parameters()}
        inside, outside = ([w for w in network.parameters() if (id(w) in known) == there] for there in (True, False))
        groups = [{"params": outside, RATE_FACTOR: 1.0}, {"params": inside, RATE_FACTOR: training.encoder_rate}]
    # One kernel for all weights. On a CPU fused steps round otherwise, and are a hundredth of an iteration.
    fused = True if all(w.is_cuda for w in network.parameters()) else None
    options: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay, "fused": fused}
    if training.optimiser == "sgd":  # Nesterov's momentum, as torch has it: it needs one above 0
        options |= {"momentum": training.momentum, "nesterov": training.momentum > 0}
    optimiser = OPTIMISERS[training.optimiser](groups, **options)
    set_rate(optimiser, training.learning_rate)
    return optimiser


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its part of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group[RATE_FACTOR]


def pretrained_encoder(network: nn.Module, plan: Plan, *, transferred: bool) -> nn.Module | None:
    """The network's encoder, where it begins with what another training has taught it; else nothing.

    Args:
        network: May have an `encoder`.
        plan: Says whether that one is pre-trained.
        transferred: The weights were taken from another model.
    """
    pretrained = isinstance(plan.network, Pretrained) and plan.network.weights != "none"
    encoder = getattr(network, "encoder", None)
    return encoder if isinstance(encoder, nn.Module) and (pretrained or transferred) else None
