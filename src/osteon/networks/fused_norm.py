"""Instance norm and leaky ReLU in one pass, for activations whose channels lie innermost.

On a CPU without AVX-512 the convolutions of a 3D network run a third faster when the channels of a voxel lie beside one
another in memory (channels last): oneDNN's weight gradient has no good code for the other order there. torch's own
instance norm turns such an array round and back again, and takes longer than all that is won. This one works on it as
it lies. Measured in benchmarks/layout.py.

In 2D the order of the channels makes no odds to the convolutions, and oneDNN's 1×1 convolutions with a step of 2 write
beyond their memory on such a CPU (torch 2.13, AVX2; four channels do), so 2D networks keep the usual order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_Result = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def channels_innermost() -> bool:
    """Whether 3D networks lay their channels innermost here: no GPU, and a CPU without AVX-512."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "DEFAULT") and not torch.cuda.is_available()


def layout_for(dimensions: int) -> torch.memory_format:
    """How a network's activations lie in memory here."""
    innermost = dimensions == 3 and channels_innermost()
    return torch.channels_last_3d if innermost else torch.contiguous_format


class NormAct(nn.Module):
    """`[batch, channel, …]` normalised for each patch and channel (Ulyanov et al., 2016), then a leaky ReLU.

    Args:
        channels: Channels.
        slope: Of the leaky ReLU below zero; 1 leaves it out.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, slope: float, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.slope, self.eps = slope, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape; channels lie innermost in the result where they do in `x`."""
        if x.dtype == torch.float32 and x.device.type == "cpu" and _innermost(x):
            if torch.is_grad_enabled():
                done: torch.Tensor = _Fused.apply(x, self.weight, self.bias, self.eps, self.slope)
                return done
            return _back(_forward(_rows(x), self.weight, self.bias, self.eps, self.slope)[0], x.shape)
        x = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return x if self.slope == 1 else F.leaky_relu_(x, self.slope)


def _innermost(x: torch.Tensor) -> bool:
    return x.movedim(1, -1).is_contiguous()


def _rows(x: torch.Tensor) -> torch.Tensor:
    """`[batch, voxel, channel]` without a copy where channels lie innermost."""
    return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


def _back(rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return rows.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def _forward(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float) -> _Result:
    """Result `[batch, voxel, channel]`, mean, reciprocal of the standard deviation, and that times the weight."""
    share = rows.new_full((len(rows), 1, rows.shape[1]), 1 / rows.shape[1])
    mean = torch.bmm(share, rows)  # `[batch, 1, channel]`; a matrix product sums with all lanes
    centred = rows - mean
    deviation = torch.bmm(share, centred * centred).add_(eps).rsqrt_()
    scale = deviation * weight
    done = centred.mul_(scale).add_(bias)
    if slope != 1:
        F.leaky_relu_(done, slope)
    return done, mean, deviation, scale


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
    ) -> torch.Tensor:
        rows = _rows(x)
        done, mean, deviation, scale = _forward(rows, weight, bias, eps, slope)
        ctx.save_for_backward(rows, mean, deviation, scale, done)
        ctx.slope, ctx.shape = slope, x.shape
        return _back(done, x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        rows, mean, deviation, scale, done = ctx.saved_tensors
        given = _rows(gradient)
        if ctx.slope != 1:
            given = torch.ops.aten.leaky_relu_backward(given, done, ctx.slope, True)
        ones = given.new_ones((len(given), 1, given.shape[1]))
        total = torch.bmm(ones, given)
        along = (torch.bmm(ones, given * rows) - mean * total) * deviation  # Σ of gradient × normalised value
        count = given.shape[1]
        slope = -scale * deviation * along / count
        offset = -scale * total / count - slope * mean
        down = torch.addcmul(offset, rows, slope).addcmul_(given, scale)
        return _back(down, ctx.shape), along.sum((0, 1)), total.sum((0, 1)), None, None
