"""`--init`: a training that begins with the weights of another model."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import BaseModel

from osteon.core.errors import FileError, ModelError
from osteon.core.files import write_json
from osteon.core.records import read_record
from osteon.networks.ensemble import Ensemble, first_member
from osteon.networks.registry import build_network
from osteon.networks.transfer import init_output_bias, transfer
from osteon.networks.weight_cache import sha256_of
from osteon.plan.schema import Plan
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import WEIGHTS, find_model_folder
from osteon.predicting.training_cases import KEY

logger = logging.getLogger(__name__)
TRANSFER = "transfer.json"


def init_sha256(init: str | None, *, needed: bool) -> str | None:
    """The SHA-256 of the weights a training begins with; None where there are none to look at.

    Args:
        init: As the user gave it.
        needed: A training that goes on does not need them any more.

    Raises:
        ModelError: They are needed, and not there.
    """
    if init is None:
        return None
    try:
        return sha256_of(find_model_folder(init) / WEIGHTS)
    except (ModelError, FileError):
        if needed:
            raise
        return None


def initial_weights(plan: Plan, init: str, seed: int, run: Path) -> dict[str, torch.Tensor]:
    """The state a network begins with; run/transfer.json says what became of each tensor, the console in a line.

    Args:
        plan: Of the new network.
        init: A run or a model folder.
        seed: Of what keeps its random start.
        run: The run's folder.

    Raises:
        ModelError: The folder lacks a file, or its weights are damaged.
        UsageError: The model is another architecture, or of another number of dimensions.
    """
    folder = find_model_folder(init)
    model = load_model(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(plan)
    init_output_bias(network, plan)
    source = {"folder": str(init), "sha256": model.sha256, "dataset": model.plan.dataset}
    report = transfer(network, plan, first_member(model.network), model.plan, named=source)
    write_json(run / TRANSFER, asdict(report) | {KEY: {**model.seen.before, **model.seen.training}})
    many = len(model.network.members) if isinstance(model.network, Ensemble) else 1
    first = "" if many == 1 else f"the first of its {many} members is taken; "
    logger.info(f"from {init}: {first}{report.describe()}; each tensor: {run / TRANSFER}")
    return network.state_dict()


def seen_before(run: Path) -> dict[str, str]:
    """The scans that the weights a run began with had been trained on: id → hash, empty where it is not known.

    Raises:
        FileError: The run's record of it is damaged.
    """
    path = run / TRANSFER
    if not path.is_file():
        return {}
    record = read_record(
        path, "what the run started from", _TransferRecord, "restore it, or --restart to delete this run"
    )
    return dict(record.get(KEY, {}))


class _TransferRecord(BaseModel):
    seen: dict[str, str] = {}
