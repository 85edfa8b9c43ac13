"""A network of two convolutions."""

from __future__ import annotations

import torch
from torch import nn

from osteon.networks.registry import NetworkEntry
from osteon.plan.network_sections import Network


class Thin(nn.Module):
    """`[batch, channel, i, j, k]` → logits `[batch, output, i, j, k]` in a list of one, without deep supervision."""

    def __init__(self, section: Network, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        kernel = (3, 3, 3) if dimensions == 3 else (3, 3, 1)
        self.hidden = nn.Conv3d(channels, section.features[0], kernel, padding="same")
        self.head = nn.Conv3d(section.features[0], outputs, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of a patch."""
        return [self.head(torch.relu(self.hidden(image)))]


THIN = NetworkEntry(
    "thin", Network, (2, 3), "bones-extra", "Apache-2.0", "none: random start", "an example", build=Thin
)
