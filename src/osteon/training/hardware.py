"""How a training uses its device: Lightning's arguments for it, and the numbers it computes in."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch

from osteon.core.devices import device_kind
from osteon.core.platform import has_bf16
from osteon.plan.schema import Plan, Precision

logger = logging.getLogger(__name__)


def lightning_device(device: str) -> dict[str, Any]:
    """Lightning's `accelerator` and `devices` for a resolved device."""
    kind = device_kind(device)
    if kind == "cuda":
        return {"accelerator": "gpu", "devices": [torch.device(device).index or 0]}
    return {"accelerator": kind, "devices": 1}


def lightning_precision(precision: Precision | None, plan: Plan, device: str) -> Literal["bf16-mixed", "32-true"]:
    """The precision that was asked for; else the plan's, where it was chosen for such a device; else bf16 on CUDA.

    A plan may come from another machine: a CPU that only emulates bf16, a hundred times as slowly, trains in fp32.
    """
    kind, planned_for = device_kind(device), plan.forecast.device
    if precision is None and planned_for and device_kind(planned_for) != kind:
        precision = "bf16" if kind == "cuda" else "fp32"
    if precision is None and kind == "cpu" and plan.training.precision == "bf16" and not has_bf16():
        logger.info("in fp32: the plan says bf16, which this processor does not compute in")
        precision = "fp32"
    return "bf16-mixed" if (precision or plan.training.precision) == "bf16" else "32-true"


def enable_fast_cuda(device: str, *, deterministic: bool) -> None:
    """On CUDA, compute what stays fp32 with TF32's 10 bits of mantissa, and try out cuDNN's algorithms.

    Args:
        device: Elsewhere nothing is changed.
        deterministic: Try nothing: the fastest algorithm need not be the same each time.
    """
    if device_kind(device) == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = not deterministic
