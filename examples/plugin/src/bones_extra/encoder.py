"""An encoder of five convolutions, each of which halves."""

from __future__ import annotations

import torch
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import nn

from osteon.networks.encoder_registry import EncoderEntry


class Plain(nn.Module, EncoderMixin):
    """`[batch, channel, i, j]` → the image and the features after each halving, as smp's decoders take them.

    Args:
        depth: Halvings.
        output_stride: 32; smp calls `make_dilated` for a decoder that takes fewer halvings.
    """

    inflates = True
    """`forward` works in 3D as it does in 2D."""

    def __init__(self, depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        self._out_channels = [3, 8, 16, 32, 64, 64]
        self._depth, self._in_channels, self._output_stride = depth, 3, output_stride
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )
            for before, after in zip(self._out_channels, self._out_channels[1:], strict=False)
        )

    def get_stages(self) -> dict[int, list[nn.Module]]:
        """Output stride → the stage that ends there."""
        return {2 ** (number + 1): [stage] for number, stage in enumerate(self.stages)}

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features, from the finest to the coarsest."""
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


PLAIN = EncoderEntry("plain", Plain)
