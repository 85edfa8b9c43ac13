"""Checkpoints that hold tensors and JSON only, written whole or not at all; the newest complete one wins."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from osteon.core.errors import FileError, UsageError
from osteon.networks.weights import save_tensors

LAST = "last.safetensors"
BEST = "best.safetensors"


@dataclass
class State:
    """Where a training stands.

    Attributes:
        iteration: Iterations done.
        elapsed_s: Seconds spent, over all starts.
        best_dice: Best mean validation Dice so far, and the iteration it was reached at.
        history: One row for each epoch, as in metrics.csv.
        losses: Of the iterations since the last epoch's end.
        epoch_open: The epoch's iterations are done, its validation is not.
        finished: Why the training ended; empty while it goes on.
        validation_cases: How many of the validation cases, in their order, the training looks at on its way; None: all,
            or not known yet.
    """

    iteration: int = 0
    elapsed_s: float = 0.0
    best_dice: float | None = None
    best_iteration: int = 0
    history: list[dict[str, float | int | None]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    epoch_open: bool = False
    finished: str = ""
    validation_cases: int | None = None


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], state: State) -> None:
    """Write tensors and state to one safetensors file. Raises FileError where the disk is full."""
    save_tensors(path, tensors, metadata={"osteon": json.dumps(vars(state))})


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], State]:
    """Read what `save_checkpoint` wrote.

    Raises:
        FileError: The file is not one of those, or damaged.
        UsageError: A newer version wrote it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads(file.metadata()["osteon"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        strange = set(metadata) - {field.name for field in fields(State)}
        if strange and "iteration" in metadata:
            raise UsageError(
                f"{path}: was written by a newer version of osteon: it says {', '.join(sorted(strange))}",
                hint="go on with that version, or --restart to throw this run away",
            )
        return tensors, State(**metadata)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{path}: not a checkpoint that can be read ({error})",
            hint="remove it and run the same command: training begins anew",
        ) from error


def pack_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimiser's state as named tensors: `optimiser.<parameter's number>.<key>`."""
    packed = {}
    for number, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            packed[f"optimiser.{number}.{key}"] = torch.as_tensor(value)
    return packed


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `pack_optimiser` gave."""
    whole = optimiser.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = tensor
    whole["state"] = state
    optimiser.load_state_dict(whole)
