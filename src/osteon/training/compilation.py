"""torch.compile for training: whether it pays, and the way back where it fails."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Callable

import torch
from torch import nn

from osteon.core.devices import device_kind

logger = logging.getLogger(__name__)
Forward = Callable[[torch.Tensor], list[torch.Tensor]]
MIN_TRAINING_S = 600.0
"""A shorter training does not win back the minute or so that compiling takes."""


def is_worth_compiling(device: str, left_s: float | None, *, deterministic: bool) -> bool:
    """Whether a training is to be compiled.

    Args:
        device: What it runs on; only for CUDA was compiling meant so far.
        left_s: Seconds it will take; None: nobody knows.
        deterministic: Compiled kernels add up in an order of their own: then never.
    """
    return device_kind(device) == "cuda" and not deterministic and left_s is not None and left_s >= MIN_TRAINING_S


def compile_forward(network: nn.Module, backend: str = "inductor") -> Forward | None:
    """The network's forward, compiled when it is first called; None, with a note, where nothing can compile it.

    Where compiling fails, it goes on as it is, with a note.

    The network itself stays what it was: its weights keep their names, and validation does not compile for its shapes.
    """
    from torch._dynamo.exc import TorchDynamoException  # a second, which other trainings need not spend

    if backend == "inductor" and (missing := _missing_tool()):
        _warn(missing)
        return None
    current: Forward = torch.compile(network.forward, dynamic=False, backend=backend)

    def forward(image: torch.Tensor) -> list[torch.Tensor]:
        nonlocal current
        try:
            return current(image)
        except TorchDynamoException as error:
            if current is network:
                raise
            _warn(" ".join(str(error).split("\n")[:2]))
            current = network
            return current(image)

    return forward


def _missing_tool() -> str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return "" if any(shutil.which(name) for name in ("cc", "gcc", "clang")) else "there is no C compiler"


def _warn(reason: str) -> None:
    logger.warning(f"not compiled: {reason}")
