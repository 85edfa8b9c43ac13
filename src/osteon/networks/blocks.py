"""Blocks of the networks of this package, in 2D and 3D by one code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from osteon.networks.fused_norm import NormAct

LEAKY_SLOPE = 0.01
"""Of the leaky ReLU below zero (nnU-Net's value)."""


@dataclass(frozen=True)
class LayerTypes:
    """The layers of one dimensionality."""

    convolution: Callable[..., nn.Module]
    transposed: Callable[..., nn.Module]


LAYER_TYPES = {
    2: LayerTypes(nn.Conv2d, nn.ConvTranspose2d),
    3: LayerTypes(nn.Conv3d, nn.ConvTranspose3d),
}


def conv_norm_act(
    layers: LayerTypes,
    before: int,
    after: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    active: bool = True,
) -> nn.Sequential:
    """A convolution, its norm, and (`active`) its activation."""
    return nn.Sequential(
        layers.convolution(before, after, kernel, stride, tuple(k // 2 for k in kernel), bias=False),
        NormAct(after, LEAKY_SLOPE if active else 1.0),
    )


def plain_stage(
    layers: LayerTypes, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    """`count` convolutions, the first of them with the stride."""
    still = (1,) * len(stride)
    first = conv_norm_act(layers, before, after, kernel, stride)
    return nn.Sequential(first, *(conv_norm_act(layers, after, after, kernel, still) for _ in range(count - 1)))


def residual_stage(
    layers: LayerTypes, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    """`count` convolutions in residual blocks of two, one block at least; the first with the stride."""
    still = (1,) * len(stride)
    blocks = [ResidualBlock(layers, before, after, kernel, stride)]
    blocks += [ResidualBlock(layers, after, after, kernel, still) for _ in range((count - 1) // 2)]
    return nn.Sequential(*blocks)


class ResidualBlock(nn.Module):
    """Two convolutions with a skip connection (He et al., CVPR 2016)."""

    def __init__(
        self, layers: LayerTypes, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        still = (1,) * len(stride)
        self.path = nn.Sequential(
            conv_norm_act(layers, before, after, kernel, stride),
            conv_norm_act(layers, after, after, kernel, still, active=False),
        )
        same = before == after and set(stride) == {1}
        one = tuple(1 for _ in kernel)
        self.round = nn.Identity() if same else conv_norm_act(layers, before, after, one, stride, active=False)
        self.act = nn.LeakyReLU(LEAKY_SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, after, …]` of `[batch, before, …]`."""
        return self.act(self.path(x) + self.round(x))
