"""Convolutions of maps that are smaller than their kernel, in bf16 on a CPU.

oneDNN's bf16 weight gradient of a convolution with padding takes in memory that nothing wrote where an axis of the map
has fewer voxels than the kernel (torch 2.13 on a processor with AVX-512 BF16: 3 × 3 × 3 on 2 × 2 × 2, as at the
coarsest stage of small patches and of encoders that halve five times). The gradient is then huge or no number, and
where it is clipped nothing is learned; with an axis of 1 it also writes beyond its memory. Neither the result nor the
gradient of the map is concerned, nor a kernel with gaps (dilation), and in fp32 none of it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {torch.conv2d: 2, torch.conv3d: 3}


def small_maps_in_fp32(device: torch.device) -> AbstractContextManager[Any]:
    """Within this, with bf16 on a CPU, the convolutions that bf16 spoils run in fp32: few voxels, little time."""
    return _SmallMapsInFp32() if device.type == "cpu" and torch.is_autocast_enabled("cpu") else nullcontext()


class _SmallMapsInFp32(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        dimensions = _CONVOLUTIONS.get(func)
        if dimensions is None or not _is_small(args[0], args[1], dimensions):
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            converted = [arg.float() if torch.is_tensor(arg) else arg for arg in args]
            return func(*converted, **(kwargs or {})).to(torch.get_autocast_dtype("cpu"))


def _is_small(image: torch.Tensor, weight: torch.Tensor, dimensions: int) -> bool:
    sizes = zip(image.shape[-dimensions:], weight.shape[-dimensions:], strict=True)
    return any(size < kernel for size, kernel in sizes)
