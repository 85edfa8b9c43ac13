"""Filters fitted to another number of channels, or to another kernel, so that they answer alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def fit_channels(weight: torch.Tensor, there: Sequence[str], here: Sequence[str]) -> tuple[torch.Tensor, str]:
    """A filter's input channels for another list of channels.

    Channels that the source has by name keep its filters. Where one is missing there, each gets the sum over the
    source's channels divided by their new number, so that the answer to an image that is alike in all channels stays.

    Args:
        weight: `[out, len(there), …]`.
        there: Names of the source's channels.
        here: Names of the new ones.

    Returns:
        `[out, len(here), …]`, and what was done; empty where nothing was.
    """
    if list(there) == list(here) or len(there) == len(here) == 1:
        return weight, ""
    if set(here) <= set(there):
        return weight[:, [list(there).index(name) for name in here]], f"channels {', '.join(here)} of the model's"
    spread = weight.sum(1, keepdim=True) / len(here)
    return spread.repeat_interleave(len(here), 1), f"channels summed and spread, {len(there)} to {len(here)}"


def fit_kernel(weight: torch.Tensor, shape: torch.Size, *, transposed: bool) -> torch.Tensor | None:
    """A convolution's filter with another kernel, along axes where one of the two sizes is 1.

    From 1 to more: the filter stands in the middle of zeros, and the answer is the same. From more to 1: the sum, the
    same answer where the image does not change along the axis. A transposed convolution's kernel, which is its
    stride, is repeated, or its mean taken: the same answer again.

    Args:
        weight: `[out, in, kernel…]` (transposed: `[in, out, kernel…]`).
        shape: Wanted.
        transposed: Of a transposed convolution.

    Returns:
        The filter, or None where the shapes differ in more than this.
    """
    if weight.ndim != len(shape) or weight.ndim < 4 or weight.shape[:2] != shape[:2]:
        return None
    for axis in range(2, weight.ndim):
        before, after = weight.shape[axis], shape[axis]
        if before == after:
            continue
        if after == 1:
            weight = weight.mean(axis, keepdim=True) if transposed else weight.sum(axis, keepdim=True)
        elif before == 1 and transposed:
            weight = weight.repeat_interleave(after, axis)
        elif before == 1 and after % 2:
            wide = torch.zeros([*weight.shape[:axis], after, *weight.shape[axis + 1 :]])
            wide.narrow(axis, after // 2, 1).copy_(weight)
            weight = wide
        else:
            return None
    return weight
