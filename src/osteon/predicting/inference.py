"""Passes of a network over prepared images, and their probabilities on the plan's grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from osteon.networks.registry import output_channels
from osteon.plan.schema import Plan
from osteon.predicting.probabilities import Probabilities, collect
from osteon.predicting.sequence import name_sequence
from osteon.predicting.speed import SpeedPreset
from osteon.predicting.tiles import Slab, predict_batch, stream_probabilities


def infer(
    network: nn.Module,
    image: torch.Tensor,
    plan: Plan,
    *,
    speed: SpeedPreset,
    region: bool = False,
    folder: Path | None = None,
) -> Probabilities:
    """The network's probabilities for `[channel, i, j, k]`, with names in order.

    Args:
        network: In eval mode.
        image: On the plan's grid, normalised; with the first model's labels in a cascade.
        plan: Patch, structures, sequence.
        speed: How densely patches lie, and whether mirror images are averaged.
        region: Find the part of the scan with structures first (`stream_probabilities`).
        folder: Where probabilities go into a file; None keeps them in memory.
    """
    slabs = stream_probabilities(network, image, plan, speed=speed, region=region)
    return order_names(_collect(slabs, image, plan, folder), plan)


def infer_batch(
    network: nn.Module, images: Sequence[torch.Tensor], plan: Plan, *, speed: SpeedPreset
) -> list[Probabilities]:
    """As `infer`, of several small images of one `whole_size`, in one pass of the network."""
    slabs = predict_batch(network, images, plan, speed=speed)
    return [order_names(_collect([slab], image, plan), plan) for slab, image in zip(slabs, images, strict=True)]


def order_names(probabilities: Probabilities, plan: Plan, first: str | None = None) -> Probabilities:
    """Of structures, with the names of the plan's sequence in order; may be changed in place.

    As they are where the plan has no sequence. `first`: the name of the first body, where a person has said so.
    """
    if plan.sequence is None:
        return probabilities
    values, levels = name_sequence(probabilities.values, plan, first)
    return probabilities if plan.overlapping else probabilities.with_levels(values, levels)


def _collect(slabs: Iterable[Slab], image: torch.Tensor, plan: Plan, folder: Path | None = None) -> Probabilities:
    i, j, k = image.shape[1:]
    return collect(slabs, output_channels(plan), (i, j, k), plan, folder=folder)
