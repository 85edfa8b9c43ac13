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
from osteon.core.locks import hold_folder
from osteon.core.records import read_record
from osteon.core.schema_versions import SCHEMAS, migrate
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import By, group_cases
from osteon.dataset.manifest import Manifest
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan, write_plan
from osteon.predicting.records import LAST, SPLITS, WEIGHTS, read_splits
from osteon.runs.initialising import init_sha256
from osteon.runs.options import DEFAULTS, TrainOptions
from osteon.runs.resuming import as_begun, resumable_differences, told_differences

logger = logging.getLogger(__name__)
RUN = "run.yaml"
_OTHERS = ("schema", "init_sha256", "plan", "plan_file", "osteon", "torch", "changes")
"""What run.yaml says beside the options."""


def hold_run(run: Path, *, restart: bool) -> AbstractContextManager[None]:
    """Hold a run for one training alone; a finished one is only read. Raises UsageError where another works in it."""
    if (run / "model" / WEIGHTS).is_file() and not restart:
        return nullcontext()
    return hold_folder(run, "another training", "wait until it has ended, or give this training a folder of its own")


def record_choices(run: Path, plan: Plan, options: TrainOptions, *, begun: bool) -> None:
    """Write the plan and the options into the run, or check that they are those it was begun with.

    Nothing is begun before there is a checkpoint: whoever is told to choose other options can do so. Later too a plan
    may change in what costs memory and leaves the weights' shapes (`resuming`); run.yaml lists such changes.

    An option or a key of the plan that the version which began the run did not have counts as its default now.
    """
    recorded = {key: value for key, value in asdict(options).items() if key != "workers"}
    digest = init_sha256(options.init, needed=not begun)
    if digest is not None:
        recorded["init_sha256"] = digest
    path = run / RUN
    if begun:
        before, usual = _record(path), asdict(DEFAULTS)
        finished = (run / "model" / WEIGHTS).is_file()
        changed = [key for key, value in recorded.items() if before.get(key, usual.get(key, value)) != value]
        if changed == ["init"] and digest is not None and digest == before.get("init_sha256"):
            changed = []  # the model was moved
        differences = {}
        if "precision" in changed and not finished:
            changed.remove("precision")
            differences["--precision"] = (before.get("precision"), options.precision)
        if before.get("plan") != plan_hash(plan):
            old = read_plan(run / PLAN)
            differences |= resumable_differences(old, plan)
            # The hash is the version's that began the run; where plan.yaml is still its own, that is compared as read.
            edited = before.get("plan_file") not in (None, _digest(read_yaml(run / PLAN, "the run's plan")))
            was = before.get("plan") if edited else plan_hash(old)
            if plan_hash(as_begun(plan, old)) != was or (finished and plan_hash(plan) != was):
                changed.append("plan")
        if changed:
            raise UsageError(
                f"{run}: was begun with other choices: {', '.join(changed)}",
                hint="give the same options to go on, another folder, or --restart to throw this run away",
            )
        if differences:
            logger.info(told_differences(differences))
            changes = [*before.get("changes", []), {key: list(pair) for key, pair in differences.items()}]
            write_yaml(path, before | recorded | _plan_told(plan) | {"changes": changes})
            write_plan(run / PLAN, plan)
        return
    write_plan(run / PLAN, plan)
    versions = {"osteon": __version__, "torch": str(torch.__version__)}
    write_yaml(path, {"schema": SCHEMAS["run"].version} | recorded | _plan_told(plan) | versions)


def _plan_told(plan: Plan) -> dict[str, str]:
    """What run.yaml says of the plan: its hash, and that of what `write_plan` writes."""
    return {"plan": plan_hash(plan), "plan_file": _digest(plan.model_dump(mode="json", exclude_none=True))}


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _record(path: Path) -> dict[str, Any]:
    """What run.yaml says. Raises UsageError where it says what this version does not know."""
    hint = "restore it from a copy of the run, or --restart to throw this run away"
    before: dict[str, Any] = migrate("run", read_record(path, "the run's record", dict[str, Any], hint), path)
    if strange := [key for key in before if key not in (*asdict(DEFAULTS), *_OTHERS)]:
        version = f", osteon {before['osteon']}" if "osteon" in before else ""
        raise UsageError(
            f"{path}: was begun by another version{version}, with choices that osteon {__version__} does not know: "
            f"{', '.join(strange)}",
            hint="go on with that version, or --restart to throw this run away",
        )
    return before


def recorded_splits(run: Path, manifest: Manifest, by: By) -> dict[str, list[str]] | None:
    """The parts of the cases that a run was begun with; None where it has not written them.

    A run keeps them however folds are made by now: what was validated on so far must never be trained on.

    Args:
        run: Its folder.
        manifest: The cases as they are now.
        by: What no split parts.

    Raises:
        UsageError: These are not the dataset's cases any more, or some that belong together are parted.
    """
    path = run / SPLITS
    if not path.is_file():
        return None
    splits = read_splits(run)
    part_of = {case: part for part, cases in splits.items() for case in cases}
    groups = group_cases(manifest.trainable, by=by)
    parted = any(len({part_of.get(case) for case in group}) > 1 for group in groups)
    if parted or set(part_of) != {case for group in groups for case in group}:
        raise UsageError(
            f"{run}: was begun with other cases, or other groups of them, than the dataset has now",
            hint="restore dataset.yaml to go on, or give another folder, or --restart to throw this run away",
        )
    return splits


def plan_hash(plan: Plan) -> str:
    """Of what decides a training; not of reasons, forecasts and the file's version, which always counts as 1."""
    parts = plan.model_dump(mode="json", exclude={"forecast"}) | {"osteon": 1}
    for section in (*parts.values(), *parts["intensities"]):
        if isinstance(section, dict):
            section.pop("why", None)
    return _digest(parts)


def check_plan_fits(dataset: Dataset, plan: Plan) -> None:
    """Whether a plan was made for this dataset. Raises PlanError, which names the keys that do not."""
    manifest = dataset.manifest
    if plan.grid.axes[0] in "ijk":
        raise PlanError(
            f"grid.axes: {', '.join(plan.grid.axes)} are a file's own axes; a training needs to know how they lie",
            hint="begin with the model itself, `osteon train DATASET RUN --init MODEL`, which names them",
        )
    differ = []
    if {s.name for s in plan.structures} - {s.name for s in manifest.structures}:
        differ.append("structures")
    if [(c.name, c.modality) for c in plan.channels] != [(c.name, c.modality) for c in manifest.channels]:
        differ.append("channels")
    if plan.overlapping != manifest.overlapping:
        differ.append("overlapping")
    if differ:
        raise PlanError(
            f"{dataset.folder}: the plan was made for other data: {', '.join(differ)} are not those of dataset.yaml",
            hint="make the plan anew with `osteon plan DATASET --force`, or give the plan that belongs to the dataset",
        )


def is_begun(run: Path) -> bool:
    """Whether a run has done anything that other choices would throw away."""
    return (run / "checkpoints" / LAST).is_file() or (run / "model" / WEIGHTS).is_file()
