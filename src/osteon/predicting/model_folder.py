"""A model's folder: plain files, none of which can run code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError

from osteon.core.errors import ModelError, summarise_error
from osteon.core.files import write_json, write_text
from osteon.networks.ensemble import Ensemble, count_members
from osteon.networks.registry import build_network
from osteon.networks.weights import load_checked, save_tensors
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import NnUNet, Plan, read_plan, write_plan
from osteon.predicting.model import Model
from osteon.predicting.model_names import FIRST, HUB, VALIDATION, WEIGHTS
from osteon.predicting.postprocessing import FILE_NAME as POSTPROCESSING
from osteon.predicting.postprocessing import NONE, read_postprocessing, write_postprocessing
from osteon.predicting.quantised import quantised_file
from osteon.predicting.records import find_model_folder, read_validation
from osteon.predicting.reference_statistics import FILE_NAME as REFERENCE
from osteon.predicting.reference_statistics import read_reference, write_reference
from osteon.predicting.training_cases import read_seen_scans


def save_model(folder: Path, model: Model, card: str) -> None:
    """Write a model folder; the weights last, so that a folder with weights is complete.

    The first model of a cascade has a folder of its own there: it is written by itself, before.
    """
    write_plan(folder / PLAN, model.plan)
    write_json(folder / VALIDATION, model.validation)
    write_postprocessing(folder / POSTPROCESSING, model.postprocessing)
    write_reference(folder / REFERENCE, list(model.reference))
    write_text(folder / "card.md", card)
    save_tensors(folder / WEIGHTS, model.network.state_dict())


def load_model(folder: Path | str, *, device: str = "cpu") -> Model:
    """Load a model folder, or a run's, or one of the hub (`hf:ORGANISATION/NAME@COMMIT`). No file in it can run code.

    Raises:
        ModelError: The folder lacks a file, or the weights are damaged or not those of the plan.
        PlanError: Its plan makes no sense.
        FileError: A record in it (validation.json, reference.json, postprocessing.yaml) is damaged, or splits.yaml of
            its run.
    """
    folder = find_model_folder(folder) if str(folder).startswith(HUB) else Path(folder)
    inner = folder / "model"
    if not (folder / WEIGHTS).is_file() and (inner / WEIGHTS).is_file():
        folder = inner
    missing = [name for name in (WEIGHTS, PLAN, VALIDATION) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder}: not a whole model folder: {', '.join(missing)} missing",
            hint="give the folder `model` of a finished run; copy it whole",
        )
    plan, validation = read_plan(folder / PLAN), read_validation(folder)
    path = folder / WEIGHTS
    try:
        state = load_checked(path)
        network = _network(plan, state)
        network.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{path}: the weights are damaged, or not those of the plan beside them ({summarise_error(error)})",
            hint="copy the model folder again, whole",
        ) from error
    network.to(device).eval()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    first = None
    if isinstance(plan.network, NnUNet) and plan.network.before:
        first = load_model(folder / FIRST, device=device)
        digest = hashlib.sha256((digest + first.sha256).encode()).hexdigest()
    steps, quantised = folder / POSTPROCESSING, quantised_file(folder, digest)
    return Model(
        network,
        plan,
        validation,
        digest,
        read_postprocessing(steps, plan.structures) if steps.is_file() else NONE,
        read_reference(folder / REFERENCE),
        quantised if quantised.is_file() else None,
        first,
        read_seen_scans(folder, validation),
    )


def _network(plan: Plan, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The network that a state dict is of: one of the plan's, or several of them as one."""
    count = count_members(state)
    return Ensemble([build_network(plan) for _ in range(count)]) if count else build_network(plan)
