"""The U-Net, in 2D and 3D by one code (Ronneberger et al., MICCAI 2015; Çiçek et al., MICCAI 2016)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from osteon.networks.blocks import LAYER_TYPES, plain_stage, residual_stage
from osteon.networks.fused_norm import to_fast_layout
from osteon.plan.schema import Network


class UNet(nn.Module):
    """A U-Net over `[batch, channel, i, j, k]`; in 2D the last axis has one voxel and is taken away inside.

    Args:
        network: Stages, from the finest to the coarsest.
        dimensions: 2 or 3.
        channels: Image channels.
        outputs: Classes (index) or structures (multi-hot).
    """

    def __init__(self, network: Network, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        layers = LAYER_TYPES[dimensions]
        features = network.features
        sizes = list(zip([channels, *features], features, network.kernels, network.strides, strict=False))
        block = residual_stage if network.residual else plain_stage
        self.encoder = nn.ModuleList(
            block(layers, before, after, kernel[:dimensions], stride[:dimensions], network.convolutions)
            for before, after, kernel, stride in sizes
        )
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.heads = nn.ModuleList()
        for stage, (fine, coarse) in reversed(list(enumerate(pairwise(features)))):
            step = network.strides[stage + 1][:dimensions]
            self.up.append(layers.transposed(coarse, fine, step, step))
            kernel = network.kernels[stage][:dimensions]
            self.decoder.append(plain_stage(layers, 2 * fine, fine, kernel, (1,) * dimensions, network.convolutions))
            self.heads.append(layers.convolution(fine, outputs, 1))
        supervised = min(network.deep_supervision, len(self.heads))
        for number in range(len(self.heads) - supervised):
            self.heads[number] = nn.Identity()  # its output is never looked at, so it has no weights
        self.supervised = supervised

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]` of the supervised stages, the finest first; in eval mode only that."""
        x = to_fast_layout(image, self.dimensions)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        logits = []
        last = len(self.decoder) - 1
        for number, (up, decode, head) in enumerate(zip(self.up, self.decoder, self.heads, strict=True)):
            x = decode(torch.cat((up(x), skips[-2 - number]), dim=1))
            if number == last or (self.training and number > last - self.supervised):
                logits.append(head(x))
        if self.dimensions == 2:
            logits = [part[..., None] for part in logits]
        return logits[::-1]
