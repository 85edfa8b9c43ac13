"""Checkpoints that hold tensors and JSON only, written whole or not at all; the newest complete one wins."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from osteon.core.errors import FileError, UsageError, summarise_error
from osteon.core.files import link_or_copy
from osteon.networks.weights import load_checked, save_tensors
from osteon.predicting.records import LAST

logger = logging.getLogger(__name__)
PREVIOUS = "before-last.safetensors"
"""The one before the last, where that should be damaged."""
BEST = "best.safetensors"
SHA256 = "osteon-sha256"
"""Under which key a checkpoint has that of what it says of the training; that of the tensors is `networks.weights`'."""


@dataclass
class TrainingState:
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


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], state: TrainingState) -> None:
    """Write tensors and state to one safetensors file. Raises FileError where the disk is full."""
    metadata_json = json.dumps(vars(state))
    save_tensors(path, tensors, metadata={"osteon": metadata_json, SHA256: _sha256(metadata_json)})


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], TrainingState]:
    """Read what `save_checkpoint` wrote.

    Raises:
        FileError: The file is not one of those, or damaged: its checksum is another, too.
        UsageError: A newer version wrote it.
    """
    try:
        tensors = load_checked(path)
        with safe_open(path, framework="pt") as file:
            metadata_json = file.metadata()
        if metadata_json.get(SHA256) not in (None, _sha256(metadata_json["osteon"])):
            raise ValueError("what it says of the training is not what was written")
        metadata: dict[str, Any] = json.loads(metadata_json["osteon"])
        unknown_keys = set(metadata) - {field.name for field in fields(TrainingState)}
        if unknown_keys and "iteration" in metadata:
            raise UsageError(
                f"{path}: was written by a newer version of osteon: it says {', '.join(sorted(unknown_keys))}",
                hint="continue with that version, or --restart to delete this run",
            )
        return tensors, TrainingState(**metadata)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{path}: not a checkpoint that can be read ({summarise_error(error)})",
            hint="remove it and run the same command: training starts again",
        ) from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def keep_previous(folder: Path) -> None:
    """Before the last checkpoint is written anew: keep the one that is there, as a link where the disk has links."""
    if (folder / LAST).is_file():
        link_or_copy(folder / LAST, folder / PREVIOUS)


def read_last_state(folder: Path) -> TrainingState:
    """Where the last checkpoint stands; the one before takes its place where it is damaged, and that is told.

    Raises:
        FileError: Both are damaged.
        UsageError: A newer version wrote it.
    """
    last, before = folder / LAST, folder / PREVIOUS
    if not last.is_file():
        return TrainingState()
    try:
        return load_checkpoint(last)[1]
    except FileError as error:
        if not before.is_file():
            raise
        state = load_checkpoint(before)[1]
        logger.warning(f"{error.message}: the one before is used, of iteration {state.iteration}")
        before.replace(last)
        return state


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
