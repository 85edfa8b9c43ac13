"""The U-Nets of nnU-Net, as they are in its checkpoints: the same layers under the same names.

Layers and their order follow Isensee et al., Nature Methods 18 (2021) and, for residual encoders, MICCAI 2024; blocks
are those of He et al., CVPR 2019 (ResNet-D: the skip connection of a block with a stride averages, then convolves).
Names of tensors are those that github.com/MIC-DKFZ/dynamic-network-architectures gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from osteon.networks.blocks import LAYER_TYPES, LayerTypes
from osteon.networks.fused_norm import NormAct, to_fast_layout
from osteon.plan.schema import NnUNet

POOLS = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
Size = Sequence[int]


class _BatchNormAct(nn.modules.batchnorm._BatchNorm):
    """`[batch, channel, …]` normalised by what the training saw (Ioffe and Szegedy, 2015), then a leaky ReLU."""

    def __init__(self, channels: int, slope: float, eps: float) -> None:
        super().__init__(channels, eps)
        self.slope = slope

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x = super().forward(x)
        return x if self.slope == 1 else F.leaky_relu_(x, self.slope)


NORMS = {"instance": NormAct, "batch": _BatchNormAct}


@dataclass(frozen=True)
class _LayerFactory:
    """Makes layers by the plan's section."""

    layers: LayerTypes
    pool: type[nn.Module]
    section: NnUNet

    def conv_layer(self, before: int, after: int, kernel: Size, stride: Size, *, active: bool = True) -> ConvLayer:
        return ConvLayer(self, before, after, kernel, stride, bias=self.section.bias, active=active)


class ConvLayer(nn.Module):
    """A convolution, its norm, and (`active`) a leaky ReLU, which may come before the norm."""

    def __init__(
        self, factory: _LayerFactory, before: int, after: int, kernel: Size, stride: Size, *, bias: bool, active: bool
    ) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.conv = factory.layers.convolution(before, after, tuple(kernel), tuple(stride), padding, bias=bias)
        slope = factory.section.slope if active else 1.0
        self.slope_before = slope if factory.section.norm_last else 1.0
        self.norm = NORMS[factory.section.norm](after, 1.0 if factory.section.norm_last else slope, factory.section.eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, after, …]` of `[batch, before, …]`."""
        x = self.conv(x)
        y: torch.Tensor = self.norm(x if self.slope_before == 1 else F.leaky_relu_(x, self.slope_before))
        return y


class ConvStage(nn.Module):
    """Convolutions one after the other, the first with the stride."""

    def __init__(self, factory: _LayerFactory, before: int, after: int, kernel: Size, stride: Size, count: int) -> None:
        super().__init__()
        still = (1,) * len(stride)
        first = factory.conv_layer(before, after, kernel, stride)
        self.convs = nn.Sequential(first, *(factory.conv_layer(after, after, kernel, still) for _ in range(count - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, after, …]` of `[batch, before, …]`."""
        y: torch.Tensor = self.convs(x)
        return y


class ResidualBlock(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, factory: _LayerFactory, before: int, after: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        still = (1,) * len(stride)
        self.conv1 = factory.conv_layer(before, after, kernel, stride)
        self.conv2 = factory.conv_layer(after, after, kernel, still, active=False)
        skip: list[nn.Module] = [] if set(stride) == {1} else [factory.pool(tuple(stride), tuple(stride))]
        if before != after:
            skip.append(ConvLayer(factory, before, after, still, still, bias=False, active=False))
        self.skip = nn.Sequential(*skip)
        self.act = nn.LeakyReLU(factory.section.slope, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, after, …]` of `[batch, before, …]`."""
        y: torch.Tensor = self.act(self.conv2(self.conv1(x)) + self.skip(x))
        return y


class ResidualStage(nn.Module):
    """Residual blocks one after the other, the first with the stride."""

    def __init__(self, factory: _LayerFactory, before: int, after: int, kernel: Size, stride: Size, count: int) -> None:
        super().__init__()
        still = (1,) * len(stride)
        first = ResidualBlock(factory, before, after, kernel, stride)
        self.blocks = nn.Sequential(
            first, *(ResidualBlock(factory, after, after, kernel, still) for _ in range(count - 1))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, after, …]` of `[batch, before, …]`."""
        y: torch.Tensor = self.blocks(x)
        return y


class Encoder(nn.Module):
    """The stages' features, the finest first."""

    def __init__(self, factory: _LayerFactory, channels: int, dimensions: int) -> None:
        super().__init__()
        section = factory.section
        stages: list[nn.Module] = []
        self.stem = None
        if section.name == "nnunet-residual":
            still = (1,) * dimensions
            stem = section.stem or section.features[0]
            self.stem = ConvStage(factory, channels, stem, section.kernels[0][:dimensions], still, 1)
            channels = stem
        rows = zip(section.features, section.kernels, section.strides, section.depths, strict=True)
        for after, kernel, stride, depth in rows:
            sizes = (channels, after, kernel[:dimensions], stride[:dimensions], depth)
            stages.append(
                nn.Sequential(ConvStage(factory, *sizes)) if self.stem is None else ResidualStage(factory, *sizes)
            )
            channels = after
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits of `[batch, channel, …]`, the finest first."""
        if self.stem is not None:
            x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the features back to logits; each stage has an output layer, the last of which counts."""

    def __init__(self, factory: _LayerFactory, outputs: int, dimensions: int) -> None:
        super().__init__()
        section, still = factory.section, (1,) * dimensions
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for number, depth in enumerate(section.decoder_depths, 2):
            coarse, fine = section.features[1 - number], section.features[-number]
            step = section.strides[1 - number][:dimensions]
            kernel = section.kernels[-number][:dimensions]
            self.transpconvs.append(factory.layers.transposed(coarse, fine, step, step, bias=section.bias))
            self.stages.append(ConvStage(factory, 2 * fine, fine, kernel, still, depth))
            self.seg_layers.append(factory.layers.convolution(fine, outputs, 1))

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits, the finest first; in eval mode that alone."""
        x, logits = features[-1], []
        for number, (up, stage, head) in enumerate(zip(self.transpconvs, self.stages, self.seg_layers, strict=True), 2):
            x = stage(torch.cat((up(x), features[-number]), 1))
            if self.training or number == len(features):
                logits.append(head(x))
        return logits[::-1]


class NnUNetNetwork(nn.Module):
    """A network of nnU-Net over `[batch, channel, i, j, k]`; in 2D the last axis has one voxel.

    Args:
        section: Its stages.
        dimensions: 2 or 3.
        channels: Of the image, and those of the model before.
        outputs: Classes (index) or structures (multi-hot).
    """

    def __init__(self, section: NnUNet, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        factory = _LayerFactory(LAYER_TYPES[dimensions], POOLS[dimensions], section)
        self.encoder = Encoder(factory, channels, dimensions)
        self.decoder = Decoder(factory, outputs, dimensions)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]` of all stages, the finest first; in eval mode only that."""
        logits: list[torch.Tensor] = self.decoder(self.encoder(to_fast_layout(image, self.dimensions)))
        return [part[..., None] for part in logits] if self.dimensions == 2 else logits
