"""nnU-Net's checkpoints, read without running what is in them.

They are pickles, written by `torch.save`. torch's own reader for weights alone (`weights_only=True`) builds tensors,
containers, strings and numbers, and refuses every other name in the pickle before it is looked up, so that a file
which holds more cannot run it. nnU-Net keeps its record of the training beside the weights, with NumPy's numbers in it;
for these two more names are let through:

- `numpy…multiarray.scalar`, which makes a number of a dtype and its bytes;
- `numpy.dtype` (and the classes of the number types, such as `numpy.dtypes.Float32DType`), which describes a type.

Neither imports, opens or calls anything. All but the weights, the configuration's and the trainer's names and the
mirror axes is thrown away.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar

from osteon.core.errors import ModelError, summarise_error

_KINDS = ("Bool", *(f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)), "Float16", "Float32")
SAFE_GLOBALS: list[Any] = [
    (scalar, "numpy.core.multiarray.scalar"),  # as NumPy 1 called it
    (scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(getattr(np.dtypes, f"{kind}DType") for kind in (*_KINDS, "Float64")),
]
"""Names that a checkpoint may hold besides those that torch allows."""
DUPLICATES = (".all_modules.", "decoder.encoder.")
"""Parts of names under which a checkpoint lists a tensor a second time."""
WRAPPER = "module."
"""Before every name where a training over several GPUs kept it."""
COMPILED = "_orig_mod."
"""The same, where torch.compile did."""


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a checkpoint that are used.

    Attributes:
        path: The file.
        weights: Tensors by name, each once.
        configuration: Which of the plans' configurations it was trained with: `3d_fullres` …
        trainer: The class that trained it.
        mirror_axes: Along which patches were mirrored; axes of the network's input.
        sha256: Of the file.
    """

    path: Path
    weights: dict[str, torch.Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]
    sha256: str

    @property
    def batch_norms(self) -> bool:
        """Whether its norms keep means and variances of the training."""
        return any(name.endswith(".norm.running_mean") for name in self.weights)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is run.

    Raises:
        ModelError: It is damaged, holds more than weights and numbers, or is no checkpoint of nnU-Net v2.
    """
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: is damaged, or holds more than weights and numbers, so that loading it could run code",
            hint="copy it again; save the checkpoint of a changed trainer with the keys of nnU-Net's own",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ModelError(
            f"{path}: cannot be read; it is damaged or cut off ({summarise_error(error)})",
            hint="copy it again from its source",
        ) from error
    return _parse(path, data)


def _parse(path: Path, data: Any) -> Checkpoint:
    weights = data.get("network_weights") if isinstance(data, Mapping) else None
    init = data.get("init_args") if isinstance(data, Mapping) else None
    configuration = init.get("configuration") if isinstance(init, Mapping) else None
    if not isinstance(weights, Mapping) or not isinstance(configuration, str):
        lacks = "network_weights" if not isinstance(weights, Mapping) else "init_args.configuration"
        raise ModelError(
            f"{path}: is no checkpoint of nnU-Net v2: it has no {lacks}",
            hint="give a folder with checkpoint_final.pth as nnU-Net v2 writes it",
        )
    axes = data.get("inference_allowed_mirroring_axes") or ()
    if not all(isinstance(axis, int | np.integer) for axis in axes):
        raise ModelError(f"{path}: its mirror axes are no whole numbers", hint="axes are whole numbers from 0")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    trainer = str(data.get("trainer_name") or "")
    return Checkpoint(path, _without_duplicates(weights), configuration, trainer, tuple(map(int, axes)), digest)


def _without_duplicates(weights: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """Each tensor under one name: nnU-Net's layers stand in two lists, and its decoder holds the encoder too."""
    named = {str(name).removeprefix(WRAPPER).removeprefix(COMPILED): tensor for name, tensor in weights.items()}
    once = {name: tensor for name, tensor in named.items() if not any(part in f".{name}" for part in DUPLICATES)}
    return {name: tensor for name, tensor in once.items() if isinstance(tensor, torch.Tensor)}
