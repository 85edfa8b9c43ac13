"""What the networks of this package are made of, in 2D and 3D by one code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from osteon.networks.fused_norm import NormAct

SLOPE = 0.01
"""Of the leaky ReLU below zero (nnU-Net's value)."""


@dataclass(frozen=True)
class Kinds:
    """The layers of one dimensionality."""

    convolution: Callable[..., nn.Module]
    transposed: Callable[..., nn.Module]


KINDS = {
    2: Kinds(nn.Conv2d, nn.ConvTranspose2d),
    3: Kinds(nn.Conv3d, nn.ConvTranspose3d),
}


def convolve(
    kinds: Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], *, active: bool = True
) -> nn.Sequential:
    """A convolution, its norm, and (`active`) its activation."""
    return nn.Sequential(
        kinds.convolution(before, after, kernel, stride, tuple(k // 2 for k in kernel), bias=False),
        NormAct(after, SLOPE if active else 1.0),
    )


def plain_stage(
    kinds: Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    """`count` convolutions, the first of them with the stride."""
    still = (1,) * len(stride)
    first = convolve(kinds, before, after, kernel, stride)
    return nn.Sequential(first, *(convolve(kinds, after, after, kernel, still) for _ in range(count - 1)))


def residual_stage(
    kinds: Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    """`count` convolutions in residual blocks of two, one block at least; the first with the stride."""
    still = (1,) * len(stride)
    blocks = [Residual(kinds, before, after, kernel, stride)]
    blocks += [Residual(kinds, after, after, kernel, still) for _ in range((count - 1) // 2)]
    return nn.Sequential(*blocks)


class Residual(nn.Module):
    """Two convolutions and a way round them (He et al., CVPR 2016)."""

    def __init__(self, kinds: Kinds, before: int, after: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        still = (1,) * len(stride)
        self.path = nn.Sequential(
            convolve(kinds, before, after, kernel, stride),
            convolve(kinds, after, after, kernel, still, active=False),
        )
        same = before == after and set(stride) == {1}
        one = tuple(1 for _ in kernel)
        self.round = nn.Identity() if same else convolve(kinds, before, after, one, stride, active=False)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, after, …]` of `[batch, before, …]`."""
        return self.act(self.path(x) + self.round(x))
