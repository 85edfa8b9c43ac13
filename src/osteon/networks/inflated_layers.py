"""The layers of an inflated encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class RepeatedEdgeConv3d(nn.Conv3d):
    """A convolution before which the volume is padded: with its outermost slices along one axis, else with zeros.

    Args:
        place: That axis among the three.
        through: Voxels before and after, along it.
        in_plane: The other two axes' margins, last axis first: `(before, after, before, after)`.
    """

    def __init__(
        self, *sizes: Any, place: int, through: tuple[int, int], in_plane: tuple[int, int, int, int], **options: Any
    ) -> None:
        super().__init__(*sizes, **options)
        margins = [in_plane[2:], in_plane[:2]]
        margins.insert(place, (0, 0))
        even = all(before == after for before, after in margins)
        if even:
            self.padding = tuple(before for before, _ in margins)
        self.zeros = () if even else tuple(n for margin in margins[::-1] for n in margin)
        repeated = [(0, 0)] * 3
        repeated[place] = through
        self.repeated = tuple(n for margin in repeated[::-1] for n in margin) if any(through) else ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, out, i, j, k]` of `[batch, in, i, j, k]`."""
        if self.repeated:
            x = F.pad(x, self.repeated, mode="replicate")
        if self.zeros:
            x = F.pad(x, self.zeros)
        return super().forward(x)


class MBConv3d(nn.Module):
    """EfficientNet's inverted bottleneck (Tan and Le, ICML 2019), whose 2D code pools in 2D.

    Args:
        block: smp's, its layers 3D already.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        steps = [block._expand_conv, block._bn0, block._swish] if block._has_expansion else []
        self.expand = nn.Sequential(*steps, block._depthwise_conv, block._bn1, block._swish)
        self.squeeze = nn.Sequential()
        if block._has_se:
            self.squeeze = nn.Sequential(
                nn.AdaptiveAvgPool3d(1), block._se_reduce, block._swish, block._se_expand, nn.Sigmoid()
            )
        self.project = nn.Sequential(block._project_conv, block._bn2)
        self.skips = block._has_drop_connect

    def forward(self, inputs: torch.Tensor, drop_connect_rate: float | None = None) -> torch.Tensor:
        """`[batch, out, i, j, k]`; in training the block is left out of some images with the rate given."""
        x = self.expand(inputs)
        if len(self.squeeze):
            x = x * self.squeeze(x)
        x = self.project(x)
        if not self.skips:
            return x
        if self.training and drop_connect_rate:
            kept = torch.rand((len(x), 1, 1, 1, 1), dtype=x.dtype, device=x.device) >= drop_connect_rate
            x = x / (1 - drop_connect_rate) * kept
        return x + inputs
