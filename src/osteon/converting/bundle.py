"""A bundle of MONAI's as a model folder of osteon's: nothing in it is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from osteon.converting.bundle_config import HINT, BundleConfig, read_bundle
from osteon.converting.bundle_plan import bundle_plan
from osteon.core.errors import FileError, ModelError, PlanError
from osteon.core.files import is_file
from osteon.core.progress import status
from osteon.core.version import __version__
from osteon.networks.registry import build_network
from osteon.networks.weight_cache import sha256_of
from osteon.networks.weights import read_tensors
from osteon.plan.schema import Plan
from osteon.predicting.model import Model

MODELS = "models"
FILES = ("model.safetensors", "model.pt", "model.pth")
SCRIPT = "model.ts"


@status("reading the bundle")
def read_bundle_model(folder: Path) -> tuple[Model, str, list[str]]:
    """The model, its card, and what of the bundle is left out.

    Args:
        folder: With configs/inference.json, configs/metadata.json and models/model.pt.

    Raises:
        FileError: A file is missing, damaged, or holds more than tensors.
        ModelError: Something in it is not known here; the message names it.
    """
    config = read_bundle(folder)
    title = str(config.metadata.get("name") or folder.absolute().name).splitlines()[0]
    plan, notes = bundle_plan(config, title)
    path = _weights_file(folder)
    network = _load(plan, read_tensors(path), path)
    names = [structure.name for structure in plan.structures]
    model = Model(network, plan, {"dice": None, "structures": dict.fromkeys(names)}, "")
    return model, _card(plan, config, path, notes), notes


def _weights_file(folder: Path) -> Path:
    found = next((folder / MODELS / name for name in FILES if is_file(folder / MODELS / name)), None)
    if found is not None:
        return found
    if is_file(folder / MODELS / SCRIPT):
        raise ModelError(f"{folder / MODELS / SCRIPT}: is TorchScript, a program", hint=f"give {FILES[1]}, its weights")
    raise FileError(
        f"{folder / MODELS}: has no {' or '.join(FILES[:2])}", hint="fetch the bundle whole, with its large files"
    )


def _load(plan: Plan, weights: Mapping[str, torch.Tensor], path: Path) -> nn.Module:
    """The plan's network with these weights; their shapes are compared before memory is taken for it."""
    given = {f"network.{name.removeprefix('module.')}": tensor for name, tensor in weights.items()}
    try:
        with torch.device("meta"):
            expected = build_network(plan).state_dict()
        wrong = sorted(expected.keys() ^ given.keys()) or [
            name for name, tensor in expected.items() if tensor.shape != given[name].shape
        ]
        if wrong:
            raise ModelError(
                f"{path}: its weights are not those of {plan.network.description}: {wrong[0].removeprefix('network.')} "
                f"({len(wrong)} tensors differ)",
                hint="take the network_def that was written beside the weights",
            )
        network = build_network(plan)
        network.load_state_dict(given)
    except PlanError as error:
        raise ModelError(f"{path.parent.parent}: {error.message}", hint=error.hint or HINT) from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in given.values()):
        raise ModelError(f"{path}: weights are NaN or Inf", hint="fetch the bundle again")
    return network.eval()


def _card(plan: Plan, config: BundleConfig, path: Path, notes: list[str]) -> str:
    spacing = "×".join(f"{s:.3g}" for s in plan.grid.spacing_mm)
    about: list[tuple[str, Any]] = [
        (key, config.metadata.get(key)) for key in ("version", "authors", "copyright", "intended_use", "data_source")
    ]
    lines = [
        f"# {plan.dataset}",
        "",
        f"A 3D {plan.network.description}, a bundle of MONAI's taken over by osteon {__version__}. Research software, "
        "no medical device.",
        "",
        "## Data",
        "",
        f"- Channels: {', '.join(f'{c.name} ({c.modality})' for c in plan.channels)}",
        f"- Structures: {', '.join(s.name for s in plan.structures)}",
        f"- Grid: {spacing} {plan.unit} along {'-'.join(plan.grid.axes)}",
        "",
        "## Origin",
        "",
        *(f"- {key}: {' '.join(str(value).split())}" for key, value in about if value),
        f"- {path.name}, SHA-256 {sha256_of(path)}",
        *(f"- {note}" for note in notes),
        "",
        "## Licence",
        "",
        "MONAI's code is Apache-2.0. The bundle's LICENSE and docs say under which terms its weights may be used.",
    ]
    return "\n".join(lines) + "\n"
