"""A 3D U-Net whose encoder is inflated from 2D."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from osteon.core.errors import PlanError
from osteon.networks.blocks import LAYER_TYPES, plain_stage
from osteon.networks.encoder_registry import get_encoder
from osteon.networks.encoders import check_encoder
from osteon.networks.inflate import inflate
from osteon.plan.schema import Pretrained

DECODER = (256, 128, 64, 32, 16)
"""Features of the decoder's stages, from the coarsest: smp's, in 2D."""


class InflatedUNet(nn.Module):
    """A U-Net over `[batch, channel, i, j, k]`: an inflated encoder, and a decoder of 3D convolutions.

    Args:
        encoder: Inflated; gives the image and the features after each of five halvings.
        steps: Each halving's stride along the three axes, the finest first.
        features: Of the decoder's stages, from the coarsest.
        outputs: Classes or structures.
    """

    def __init__(
        self, encoder: nn.Module, steps: list[tuple[int, int, int]], features: list[int], outputs: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.steps = steps[::-1]
        before = [encoder.out_channels[-1], *features]  # type: ignore[index]
        skips = [*encoder.out_channels[-2:0:-1], 0]  # type: ignore[index]
        self.decoder = nn.ModuleList(
            plain_stage(LAYER_TYPES[3], coarse + skip, fine, _kernel(step), (1, 1, 1), 2)
            for coarse, skip, fine, step in zip(before, skips, features, self.steps, strict=False)
        )
        self.head = nn.Conv3d(features[-1], outputs, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]`, alone in a list."""
        _, *skips, x = self.encoder(image)
        for decode, step, skip in zip(self.decoder, self.steps, [*skips[::-1], None], strict=True):
            x = F.interpolate(x, scale_factor=[float(s) for s in step], mode="nearest")
            x = decode(x if skip is None else torch.cat((x, skip), dim=1))
        return [self.head(x)]


def _kernel(step: tuple[int, int, int]) -> tuple[int, int, int]:
    """3, or 1 along an axis that is not halved, as the encoder's layers of that stage have it."""
    i, j, k = (3 if s > 1 else 1 for s in step)
    return i, j, k


def build_encoder(section: Pretrained, channels: int) -> nn.Module:
    """The 2D encoder with random weights. Raises PlanError where it does not exist or has no 3D form."""
    check_encoder(section.encoder)
    if section.name != "unet":
        raise PlanError(
            f"network.name: {section.name} has no 3D form",
            hint="in 3D a pre-trained encoder goes with unet; or plan with --dimensions 2",
        )
    return get_encoder(section.encoder, channels)


def inflate_network(section: Pretrained, encoder: nn.Module, outputs: int) -> InflatedUNet:
    """The 3D network around a 2D encoder, whose weights it keeps."""
    steps = []
    for halving in range(1, 6):
        step = [2, 2, 2]
        if halving <= section.thick_stages:
            step[section.through_axis] = 1
        steps.append((step[0], step[1], step[2]))
    inflated = inflate(encoder, section.through_axis, section.thick_stages)
    return InflatedUNet(inflated, steps, list(section.decoder_features or DECODER), outputs)


@torch.no_grad()
def recalibrate(network: nn.Module, images: Iterable[torch.Tensor]) -> int:
    """Set the running statistics of all BatchNorm layers to those of some batches; nothing is learnt.

    The mean of a filter's copies along a new axis lets less noise through than one copy did, so that activations are
    smaller than the statistics that came with 2D weights say.

    Args:
        network: Its other layers are left in the mode they are in.
        images: Batches `[batch, channel, i, j, k]`; a few are enough. They are brought to the network's device.

    Returns:
        The number of layers that were set.
    """
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [layer for layer in network.modules() if isinstance(layer, kinds) and layer.track_running_stats]
    if not norms:
        return 0
    device = next(network.parameters()).device
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    try:
        for image in images:
            network(image.to(device))
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)
    return len(norms)
