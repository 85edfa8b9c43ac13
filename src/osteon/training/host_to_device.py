"""Small arrays of the host where the network computes, without the host waiting for it."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch


def send_like(array: npt.NDArray[Any] | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """An array on a tensor's device, floats in its precision.

    A plain copy to a GPU waits until all work that was given to it before is done. One from pinned memory does not.
    """
    made = torch.as_tensor(array)
    if made.is_floating_point():
        made = made.to(like.dtype)
    return (made.pin_memory() if like.is_cuda else made).to(like.device, non_blocking=True)
