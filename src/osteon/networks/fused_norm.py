"""The memory format of activations, and instance norm with leaky ReLU in either format.

On a CPU the convolutions of a 3D network run faster in fp32 when the channels of a voxel lie beside one another in
memory (channels last): on a processor without AVX-512 by a quarter, since oneDNN's weight gradient has no good code
for the other order there, with AVX-512 by a tenth. torch's own norms turn such an array round and back again, and
take longer than all that is won; the one here works on it as it lies. In bf16 the usual order is the faster one on a
CPU. Measured by benchmarks/step.py; on a GPU, where bf16 wants channels innermost, nothing was measured yet.

The order belongs to the machine that computes. It is taken up where a network begins to compute and is no part of its
weights; a network that is traced, to be written for another machine, is traced in the usual order.

In 2D the order makes no odds to the convolutions, and oneDNN's 1×1 convolutions with a step of 2 write beyond their
memory on a CPU without AVX-512 (torch 2.13; four channels do), so 2D networks keep the usual order.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_Result = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def uses_channels_last(image: torch.Tensor, dimensions: int) -> bool:
    """Whether a network's activations have their channels innermost, with this image on its device.

    Args:
        image: What the network is given.
        dimensions: The network's, 2 or 3.
    """
    if dimensions == 2 or torch.jit.is_tracing():
        return False
    device = image.device.type
    halved = device in ("cpu", "cuda") and torch.is_autocast_enabled(device)
    return is_channels_last_faster(device, halved or image.dtype == torch.bfloat16, torch.compiler.is_compiling())


def is_channels_last_faster(device: str, bf16: bool, compiled: bool) -> bool:
    """Whether a 3D network is best run with channels innermost on a kind of device.

    On a GPU only where it is compiled: a norm made of single operations would hold several copies of each activation.
    """
    return (device == "cpu" and not bf16) or (device == "cuda" and bf16 and compiled)


def to_fast_layout(image: torch.Tensor, dimensions: int) -> torch.Tensor:
    """`[batch, channel, i, j, k]`, in 2D `[batch, channel, i, j]`, in memory as the convolutions want it."""
    x = image[..., 0] if dimensions == 2 else image
    if not uses_channels_last(image, dimensions):
        return x.contiguous()
    x = x.contiguous(memory_format=torch.channels_last_3d)
    if x.shape[1] == 1:  # either order is the same one then: the strides tell a convolution which is meant
        x = x.as_strided(x.shape, (x.stride(0), 1, *x.stride()[2:]))
    return x


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
        if torch.jit.is_tracing():  # what is traced has a norm that every engine knows
            x = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        elif x.shape[1] > 1 and _is_channels_last(x):
            return self._channels_last_forward(x)
        else:  # a group for each channel is the same norm, in a third of the time on a CPU
            with _no_autocast(x):
                weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
                x = F.group_norm(x, x.shape[1], weight, bias, self.eps)
        return x if self.slope == 1 else F.leaky_relu_(x, self.slope)

    def _channels_last_forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling():
            if torch.is_grad_enabled():
                done: torch.Tensor = _Fused.apply(x, self.weight, self.bias, self.eps, self.slope)
                return done
            return _from_rows(_forward(_rows(x), self.weight, self.bias, self.eps, self.slope)[0], x.shape)
        with _no_autocast(x):
            rows = _rows(x).float()  # torch.compile makes one pass of what follows
            variance, mean = torch.var_mean(rows, 1, correction=0, keepdim=True)
            normed = torch.addcmul(self.bias, (rows - mean) * torch.rsqrt(variance + self.eps), self.weight)
            normed = normed if self.slope == 1 else F.leaky_relu(normed, self.slope)
            return _from_rows(normed.to(x.dtype), x.shape)


def _no_autocast(x: torch.Tensor) -> AbstractContextManager[Any]:
    """Autocast would norm in fp32, and give that on."""
    return nullcontext() if x.dtype == torch.float32 else torch.autocast(x.device.type, enabled=False)


def _is_channels_last(x: torch.Tensor) -> bool:
    return x.movedim(1, -1).is_contiguous()


def _rows(x: torch.Tensor) -> torch.Tensor:
    """`[batch, voxel, channel]` without a copy where channels lie innermost."""
    return x.movedim(1, -1).reshape(len(x), -1, x.shape[1])


def _from_rows(rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
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
        return _from_rows(done, x.shape)

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
        return _from_rows(down, ctx.shape), along.sum((0, 1)), total.sum((0, 1)), None, None
