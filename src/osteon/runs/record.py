"""What a run was begun with: run.yaml, plan.yaml and splits.yaml, written once and compared ever after."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from osteon.core.errors import PlanError, UsageError
from osteon.core.files import read_yaml, write_yaml
from osteon.core.locks import lock_folder
from osteon.core.records import read_record
from osteon.core.schema_versions import SCHEMAS, migrate
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import GroupBy, group_cases
from osteon.dataset.manifest import Manifest
from osteon.networks.registry import find_network
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan, write_plan
from osteon.predicting.records import LAST, SPLITS, read_splits
from osteon.runs.initialising import init_sha256
from osteon.runs.options import DEFAULTS, PLACE, TrainOptions
from osteon.runs.resuming import describe_differences, restore_resumable, resumable_differences
from osteon.runs.update_files import finished_folder
from osteon.training.losses import find_loss

logger = logging.getLogger(__name__)
RUN = "run.yaml"
_OTHER_KEYS = ("schema", "init_sha256", "plan", "plan_file", "osteon", "torch", "changes")
"""Keys of run.yaml beside the options."""


def hold_run(run: Path, *, restart: bool) -> AbstractContextManager[None]:
    """Hold a run for one training alone; a finished one is only read. Raises UsageError where another works in it."""
    if finished_folder(run) is not None and not restart:
        return nullcontext()
    return lock_folder(run, "another training", "wait until it has ended, or give this training its own folder")


def record_options(run: Path, plan: Plan, options: TrainOptions, *, started: bool) -> None:
    """Write the plan and the options into the run, or check that they are those it was begun with.

    Nothing is begun before there is a checkpoint: whoever is told to choose other options can do so. Later too a plan
    may change in what costs memory and leaves the weights' shapes (`resuming`); run.yaml lists such changes.

    An option or a key of the plan that the version which began the run did not have counts as its default now.
    """
    recorded = {key: value for key, value in asdict(options).items() if key not in PLACE}
    digest = init_sha256(options.begins_with, needed=not started)
    if digest is not None:
        recorded["init_sha256"] = digest
    path = run / RUN
    if started:
        recorded_options, defaults = _read_record(path), asdict(DEFAULTS)
        finished = finished_folder(run) is not None
        changed = [
            key for key, value in recorded.items() if recorded_options.get(key, defaults.get(key, value)) != value
        ]
        if changed in (["init"], ["update"]) and digest is not None and digest == recorded_options.get("init_sha256"):
            changed = []  # the model was moved
        differences = {}
        if "precision" in changed and not finished:
            changed.remove("precision")
            differences["--precision"] = (recorded_options.get("precision"), options.precision)
        if recorded_options.get("plan") != plan_hash(plan):
            old = read_plan(run / PLAN)
            differences |= resumable_differences(old, plan)
            # The hash is the version's that began the run; where plan.yaml is still its own, that is compared as read.
            is_edited = recorded_options.get("plan_file") not in (
                None,
                _digest(read_yaml(run / PLAN, "the run's plan")),
            )
            recorded_hash = recorded_options.get("plan") if is_edited else plan_hash(old)
            if plan_hash(restore_resumable(plan, old)) != recorded_hash or (
                finished and plan_hash(plan) != recorded_hash
            ):
                changed.append("plan")
        if changed:
            raise UsageError(
                f"{run}: was started with other choices: {', '.join(changed)}",
                hint="give the same options to continue, another folder, or --restart to delete this run",
            )
        if differences:
            logger.info(describe_differences(differences))
            changes = [*recorded_options.get("changes", []), {key: list(pair) for key, pair in differences.items()}]
            write_yaml(path, recorded_options | recorded | _plan_hashes(plan) | {"changes": changes})
            write_plan(run / PLAN, plan)
        return
    write_plan(run / PLAN, plan)
    versions = {"osteon": __version__, "torch": str(torch.__version__)}
    write_yaml(path, {"schema": SCHEMAS["run"].version} | recorded | _plan_hashes(plan) | versions)


def _plan_hashes(plan: Plan) -> dict[str, str]:
    """The keys of run.yaml about the plan: its hash, and that of the file `write_plan` writes."""
    return {"plan": plan_hash(plan), "plan_file": _digest(plan.model_dump(mode="json", exclude_none=True))}


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _read_record(path: Path) -> dict[str, Any]:
    """The content of run.yaml. Raises UsageError where it has keys that this version does not know."""
    hint = "restore it from a copy of the run, or --restart to delete this run"
    recorded_options: dict[str, Any] = migrate("run", read_record(path, "the run's record", dict[str, Any], hint), path)
    if unknown_keys := [key for key in recorded_options if key not in (*asdict(DEFAULTS), *_OTHER_KEYS)]:
        version = f", osteon {recorded_options['osteon']}" if "osteon" in recorded_options else ""
        raise UsageError(
            f"{path}: was started by another version{version}, with choices that osteon {__version__} does not know: "
            f"{', '.join(unknown_keys)}",
            hint="continue with that version, or --restart to delete this run",
        )
    return recorded_options


def recorded_splits(run: Path, manifest: Manifest, by: GroupBy) -> dict[str, list[str]] | None:
    """The parts of the cases that a run was begun with; None where it has not written them.

    A run keeps them however folds are made by now: what was validated on so far must never be trained on.

    Args:
        run: Its folder.
        manifest: The cases as they are now.
        by: What a split keeps together.

    Raises:
        UsageError: These are not the dataset's cases any more, or some that belong together are parted.
    """
    path = run / SPLITS
    if not path.is_file():
        return None
    splits = read_splits(run)
    part_of = {case: part for part, cases in splits.items() for case in cases}
    groups = group_cases(manifest.trainable, by=by)
    is_split = any(len({part_of.get(case) for case in group}) > 1 for group in groups)
    if is_split or set(part_of) != {case for group in groups for case in group}:
        raise UsageError(
            f"{run}: was started with other cases, or other groups of them, than the dataset has now",
            hint="restore dataset.yaml to continue, or give another folder, or --restart to delete this run",
        )
    return splits


def plan_hash(plan: Plan) -> str:
    """Of what decides a training; not of reasons, forecasts and the file's version, which always counts as 1."""
    parts = plan.model_dump(mode="json", exclude={"forecast"}) | {"osteon": 1}
    for section in (*parts.values(), *parts["intensities"]):
        if isinstance(section, dict):
            section.pop("why", None)
    return _digest(parts)


def check_plan_names(plan: Plan) -> None:
    """Whether there are the network and the loss that a plan names. Raises PlanError with the key and what is near."""
    if plan.grid.monai is not None:
        raise PlanError(
            "grid.monai: a bundle of MONAI's predicts, and is not trained further",
            hint="train a model of your own with `osteon plan DATASET`",
        )
    key = "network.name"
    try:
        find_network(plan.network.name, type(plan.network))
        key = "training.loss"
        find_loss(plan.training.loss)
    except PlanError as error:
        raise PlanError(f"{key}: {error.message}", hint=error.hint) from None


def check_plan_fits(dataset: Dataset, plan: Plan) -> None:
    """Whether a plan was made for this dataset. Raises PlanError, which names the keys that do not."""
    check_plan_names(plan)
    manifest = dataset.manifest
    if plan.grid.axes[0] in "ijk":
        raise PlanError(
            f"grid.axes: {', '.join(plan.grid.axes)} are a file's own axes; a training needs to know how they lie",
            hint="start from the model itself, `osteon train DATASET RUN --init MODEL`, which names them",
        )
    differing = []
    if {s.name for s in plan.structures} - {s.name for s in manifest.structures}:
        differing.append("structures")
    if [(c.name, c.modality) for c in plan.channels] != [(c.name, c.modality) for c in manifest.channels]:
        differing.append("channels")
    if plan.overlapping != manifest.overlapping:
        differing.append("overlapping")
    if differing:
        raise PlanError(
            f"{dataset.folder}: the plan was made for other data: {', '.join(differing)} are not those of dataset.yaml",
            hint="make a new plan with `osteon plan DATASET --force`, or give the plan that belongs to the dataset",
        )


def has_started(run: Path) -> bool:
    """Whether a run has done anything that other choices would throw away."""
    return (run / "checkpoints" / LAST).is_file() or finished_folder(run) is not None
