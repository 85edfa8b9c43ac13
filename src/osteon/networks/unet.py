"""The U-Net, in 2D and 3D by one code (Ronneberger et al., MICCAI 2015; Çiçek et al., MICCAI 2016)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from osteon.planning.plan import Network

Triple = tuple[int, int, int]


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
        kinds = _KINDS[dimensions]
        features = network.features
        sizes = list(zip([channels, *features], features, network.kernels, network.strides, strict=False))
        block = _residual_stage if network.residual else _stage
        self.encoder = nn.ModuleList(
            block(kinds, before, after, kernel[:dimensions], stride[:dimensions], network.convolutions)
            for before, after, kernel, stride in sizes
        )
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.heads = nn.ModuleList()
        for stage, (fine, coarse) in reversed(list(enumerate(pairwise(features)))):
            step = network.strides[stage + 1][:dimensions]
            self.up.append(kinds.transposed(coarse, fine, step, step))
            kernel = network.kernels[stage][:dimensions]
            self.decoder.append(_stage(kinds, 2 * fine, fine, kernel, (1,) * dimensions, network.convolutions))
            self.heads.append(kinds.convolution(fine, outputs, 1))
        supervised = min(network.deep_supervision, len(self.heads))
        for number in range(len(self.heads) - supervised):
            self.heads[number] = nn.Identity()  # its output is never looked at, so it has no weights
        self.supervised = supervised

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]` of the supervised stages, the finest first; in eval mode only that."""
        x = image[..., 0] if self.dimensions == 2 else image
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


@dataclass(frozen=True)
class _Kinds:
    """The layers of one dimensionality."""

    convolution: Callable[..., nn.Module]
    transposed: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]


_KINDS = {
    2: _Kinds(nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d),
    3: _Kinds(nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d),
}


def _convolve(
    kinds: _Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], *, active: bool = True
) -> nn.Sequential:
    layers = [
        kinds.convolution(before, after, kernel, stride, tuple(k // 2 for k in kernel), bias=False),
        kinds.norm(after, affine=True),
    ]
    return nn.Sequential(*layers, *([nn.LeakyReLU(0.01, inplace=True)] if active else []))


def _stage(
    kinds: _Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    still = (1,) * len(stride)
    first = _convolve(kinds, before, after, kernel, stride)
    return nn.Sequential(first, *(_convolve(kinds, after, after, kernel, still) for _ in range(count - 1)))


def _residual_stage(
    kinds: _Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    still = (1,) * len(stride)
    blocks = [_Residual(kinds, before, after, kernel, stride)]
    blocks += [_Residual(kinds, after, after, kernel, still) for _ in range((count - 1) // 2)]
    return nn.Sequential(*blocks)


class _Residual(nn.Module):
    """Two convolutions and a way round them (He et al., CVPR 2016)."""

    def __init__(
        self, kinds: _Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        still = (1,) * len(stride)
        self.path = nn.Sequential(
            _convolve(kinds, before, after, kernel, stride),
            _convolve(kinds, after, after, kernel, still, active=False),
        )
        same = before == after and set(stride) == {1}
        one = tuple(1 for _ in kernel)
        self.round = nn.Identity() if same else _convolve(kinds, before, after, one, stride, active=False)
        self.act = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.path(x) + self.round(x))
