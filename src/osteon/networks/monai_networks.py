"""MONAI's networks, in 2D and 3D."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from osteon.core.torchvision_ops import patch_torchvision_ops
from osteon.plan.schema import Monai


class MonaiNetwork(nn.Module):
    """A network of MONAI over `[batch, channel, i, j, k]`; in 2D the last axis has one voxel.

    Args:
        section: Of the plan.
        dimensions: 2 or 3.
        channels: Image channels.
        outputs: Classes or structures.
    """

    def __init__(self, section: Monai, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.network = _build(section, dimensions, channels, outputs)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]`, alone in a list."""
        if self.dimensions == 2:
            return [self.network(image[..., 0])[..., None]]
        return [self.network(image)]


def _build(section: Monai, dimensions: int, channels: int, outputs: int) -> nn.Module:
    patch_torchvision_ops()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of its own optional parts; five seconds, so only here
        from monai.networks.nets import SegResNet, SwinUNETR
    if section.name == "segresnet":
        return SegResNet(
            spatial_dims=dimensions, init_filters=section.features, in_channels=channels, out_channels=outputs
        )
    return SwinUNETR(spatial_dims=dimensions, feature_size=section.features, in_channels=channels, out_channels=outputs)
