"""What a network says of a scan beside its prediction: features, and how far several looks at the scan agree.

The looks are those of a model's folds where it has several (Beluch et al., CVPR 2018: ensembles know their errors
better than other estimates of uncertainty). A single network looks at the scan and at its mirror image where the plan
allows one, else at the scan with noise (test-time augmentation: Wang et al., Neurocomputing 338, 2019). Both follow
from one pass with patches side by side, which costs a part of a prediction.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import torch
from torch import nn

from osteon.core.text import significant
from osteon.networks.ensemble import Ensemble, first_member
from osteon.networks.registry import input_channels
from osteon.plan.outputs import output_layout
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.speed import SpeedPreset
from osteon.predicting.tiles import predicted_labels, stream_probabilities

SIDE_BY_SIDE = SpeedPreset("side by side", step=1.0, mirror=False, region=False)
NOISE = 0.1
"""Standard deviation beside the image's own of 1, where a plan mirrors along no axis."""

Look = Literal["fold", "mirror", "noise"]


@dataclass(frozen=True)
class NetworkSignals:
    """What was measured of a scan.

    Attributes:
        features: The mean of each channel at the network's coarsest stage; empty where it has no convolution there.
        agreement: Mean Dice between any two looks, of each structure; None for one that no look has found.
        look: In what looks differ.
        looks: How many there were.
    """

    features: list[float]
    agreement: dict[str, float | None]
    look: Look
    looks: int


class ScanProbe(nn.Module):
    """A model's network that measures what passes through it, one scan at a time.

    Args:
        model: With its own network, not an engine's.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.plan, network = model, model.plan, model.network
        self.members = network.members if isinstance(network, Ensemble) else nn.ModuleList([network])
        self.axes = self.plan.augmentation.mirror_axes
        self.look: Look = "fold" if len(self.members) > 1 else "mirror" if self.axes else "noise"
        self.layout = output_layout(self.plan)
        self._coarsest: nn.Module | None = coarsest_convolution(network, self.plan)
        self._begin()

    def _begin(self) -> None:
        self._features, self._patches = torch.zeros(0), 0
        self._noise = torch.Generator().manual_seed(0)
        self._counts: dict[tuple[int, int], torch.Tensor] = {}

    def measure(self, prepared: PreparedScan) -> NetworkSignals:
        """Measure one scan."""
        self._begin()
        image = self.model.network_input(prepared, speed=SIDE_BY_SIDE)
        hook = None if self._coarsest is None else self._coarsest.register_forward_hook(self._add_features)
        try:
            for _ in stream_probabilities(self, image, self.plan, speed=SIDE_BY_SIDE):
                pass
        finally:
            if hook is not None:
                hook.remove()
        features = [significant(value, 5) for value in (self._features / max(1, self._patches)).tolist()]
        return NetworkSignals(features, self._agreement(), self.look, max(2, len(self.members)))

    def _add_features(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        total = output.float().flatten(2).mean(2).sum(0).cpu()
        self._features = self._features + total if self._patches else total
        self._patches += len(output)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The first look's logits, as `build_network` has them; all looks are compared."""
        logits = self.members[0](image)[0]
        others = [member(image)[0] for member in self.members[1:]] or [self._second_look(image)]
        labels = [predicted_labels(each, self.plan) for each in (logits, *others)]
        for pair in itertools.combinations(range(len(labels)), 2):
            counts = self._count(labels[pair[0]], labels[pair[1]])
            self._counts[pair] = self._counts[pair] + counts if pair in self._counts else counts
        return [logits]

    def _second_look(self, image: torch.Tensor) -> torch.Tensor:
        if not self.axes:
            noise = torch.randn(image.shape, generator=self._noise).to(image.device)
            return self._logits(image + NOISE * noise)
        dims = [axis - 3 for axis in self.axes]
        logits = self._logits(image.flip(dims)).flip(dims)
        sideways = self.plan.grid.left_right_axis in self.axes
        return logits[:, self.layout.mirror_partners(self.plan)] if sideways else logits

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.members[0](image)[0]
        return logits

    def _count(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """`[class, 3]` voxels in both looks, in the first, in the second; by class, or by structure where multi-hot."""
        if self.plan.overlapping:
            return torch.stack([mask.sum((0, 2, 3, 4)) for mask in (first & second, first, second)], 1).cpu()
        classes = self.layout.classes
        joint = torch.bincount((first * classes + second).flatten(), minlength=classes * classes)
        table = joint.reshape(classes, classes)
        return torch.stack([table.diagonal(), table.sum(1), table.sum(0)], 1).cpu()

    def _agreement(self) -> dict[str, float | None]:
        """By structure; bodies that are one class to the network are one entry, called after the row's ends."""
        row = self.plan.sequence.names if self.plan.sequence is not None else [""]
        result: dict[str, float | None] = {}
        for number, (structure, place) in enumerate(zip(self.plan.structures, self.layout.class_of, strict=True)):
            counts = [table[place].tolist() for table in self._counts.values()]
            dices = [2 * both / (first + second) for both, first, second in counts if first + second]
            name = f"{row[0]}…{row[-1]}" if number in self.layout.members else structure.name
            result[name] = round(fmean(dices), 4) if dices else None
        return result


@torch.inference_mode()
def coarsest_convolution(network: nn.Module, plan: Plan) -> nn.Module | None:
    """The last convolution at the network's coarsest stage, of an ensemble's first member; None where it has none.

    A convolution's result and not a stage's: after a norm each channel's mean is the same for every scan. What has
    only one voxel (the gate of a squeeze-and-excitation block) is no stage.
    """
    network = first_member(network)
    sizes: dict[nn.Module, int] = {}

    def note(module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        sizes.pop(module, None)
        sizes[module] = math.prod(output.shape[2:])

    kinds = (nn.Conv2d, nn.Conv3d)
    handles = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, kinds)]
    device = next(network.parameters()).device
    network(torch.zeros((1, input_channels(plan), *plan.patch.size), device=device))
    for handle in handles:
        handle.remove()
    stages = [module for module, size in sizes.items() if size > 1]
    return min(reversed(stages), key=lambda module: sizes[module], default=None)
