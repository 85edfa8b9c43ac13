"""Devices to compute on: the names that a user may give, and the device that each means on this machine."""

from __future__ import annotations

import re
from typing import Literal

from osteon.core.errors import UsageError

DEVICE_CHOICES = "auto|cpu|cuda|cuda:N|mps"
"""As `--help` shows them."""
DeviceKind = Literal["cpu", "cuda", "mps"]
_DEVICE = re.compile(r"auto|cpu|mps|cuda(?::(\d+))?")


def check_device(wanted: str) -> str:
    """`wanted` itself. Raises UsageError where it names no device; torch is not asked which there are."""
    if _DEVICE.fullmatch(wanted) is None:
        raise UsageError(f"there is no device {wanted}", hint=f"one of {DEVICE_CHOICES.replace('|', ', ')} (N from 0)")
    return wanted


def resolve_device(wanted: str) -> str:
    """The device to work on, as torch names it.

    Args:
        wanted: One of `DEVICE_CHOICES`; auto: the first CUDA device, else the CPU. Apple's GPU (mps) is taken only
            when it is asked for: osteon was never tried on one.

    Raises:
        UsageError: It names no device, or one that this machine, or this build of torch, does not have.
    """
    import torch

    check_device(wanted)
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UsageError("there is no Apple GPU that torch can use (mps)", hint=_INSTEAD)
    if wanted.startswith("cuda"):
        _check_cuda(wanted)
    return wanted


_INSTEAD = "leave out --device, or use --device cpu"


def _check_cuda(wanted: str) -> None:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        raise UsageError(
            f"there is no CUDA device that torch can use: torch {torch.__version__} is built for the CPU",
            hint=f"install torch's CUDA build; or {_INSTEAD}",
        )
    if not torch.cuda.is_available():
        raise UsageError("there is no CUDA device that torch can use: no GPU, or no driver for it", hint=_INSTEAD)
    count = torch.cuda.device_count()
    if int(wanted.partition(":")[2] or 0) >= count:
        raise UsageError(
            f"there is no {wanted}: torch sees {count} GPU{'s' * (count != 1)}",
            hint=f"--device cuda:0 … cuda:{count - 1}" if count > 1 else "--device cuda",
        )


def device_kind(device: str) -> DeviceKind:
    """What kind of device a resolved one is."""
    return "cuda" if device.startswith("cuda") else "mps" if device == "mps" else "cpu"


def sizing_kind(device: str) -> Literal["cpu", "cuda"]:
    """The kind of device whose sizes a plan takes: those for CUDA were never tried on Apple's GPUs."""
    return "cuda" if device_kind(device) == "cuda" else "cpu"
