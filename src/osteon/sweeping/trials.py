"""Trials: the values of a sweep's keys, the plan that they make, and the run's name."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from osteon.core.errors import OsteonError, PlanError, UsageError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import describe_errors
from osteon.plan.overlay import closest_names, overlay
from osteon.plan.schema import Plan
from osteon.planning.dataset_plan import is_precision_fixed
from osteon.planning.fingerprint import Fingerprint
from osteon.planning.options import PlanOptions
from osteon.planning.planner import make_plan
from osteon.planning.recipe_files import RecipeOptions
from osteon.runs.options import TrainOptions
from osteon.sweeping.spec import Sweep

LONGEST_NAME = 100
OPTION_NAMES = tuple(field.name for field in fields(PlanOptions) if field.name != "settings")


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: Of its folder.
        values: Of the sweep's keys.
        seed: Of weights, patches and augmentation.
        plan: That the values make.
        run: Its folder.
        options: What it is trained with.
    """

    name: str
    values: Mapping[str, Any]
    seed: int
    plan: Plan
    run: Path
    options: TrainOptions


@dataclass(frozen=True)
class TrialFactory:
    """Makes a sweep's trials from one fingerprint."""

    sweep: Sweep
    dataset: Dataset
    fingerprint: Fingerprint
    device: Literal["cpu", "cuda"]

    def trials(self, values: Mapping[str, Any]) -> list[Trial]:
        """The trials of some values, one for each seed.

        Raises:
            UsageError: The values make no plan; the message names them.
        """
        plan = self.plan(values)
        made = []
        for seed in self.sweep.seeds:
            name = trial_name(values, seed if len(self.sweep.seeds) > 1 else None)
            run = Path(self.sweep.folder or ".") / name
            made.append(Trial(name, values, seed, plan, run, self.sweep.options(seed)))
        return made

    def plan(self, values: Mapping[str, Any]) -> Plan:
        """The plan that values make, over the sweep's base."""
        listed = trial_name(values, None)
        try:
            options = plan_options_from({**self.sweep.base, **values})
            plan = make_plan(self.dataset, self.fingerprint, options, device=self.device)
        except OsteonError as error:
            if not isinstance(error, UsageError):
                raise
            raise type(error)(f"trial {listed}: {error.message}", hint=error.hint) from error
        if self.device == "cuda" and not is_precision_fixed(options):
            plan = overlay(plan, {"training.precision": "bf16"}, "on a GPU, where the trials choose none")
        return plan


def grid_values(sweep: Sweep) -> list[dict[str, Any]]:
    """Every combination of the grids, each once."""
    combinations: list[dict[str, Any]] = []
    for grid in sweep.grid or []:
        for combination in itertools.product(*grid.values()):
            values = dict(zip(grid, combination, strict=True))
            if values not in combinations:
                combinations.append(values)
    return combinations


def plan_options_from(values: Mapping[str, Any]) -> PlanOptions:
    """Choices from a sweep's keys: fields of `PlanOptions`, all others are keys of the plan.

    Raises:
        PlanError: A key that is neither (the nearest are named), or a value that is none for it.
    """
    option_values = {key: value for key, value in values.items() if key in OPTION_NAMES and key != "recipe"}
    settings = {key: value for key, value in values.items() if key not in OPTION_NAMES}
    for key in settings:
        if "." not in key:
            raise PlanError(f"{key}: neither a choice nor a key of the plan", hint=f"near it: {_closest_keys(key)}")
    try:
        checked = dict(RecipeOptions.model_validate(option_values))
    except ValidationError as error:
        raise PlanError(describe_errors(error), hint="correct the value") from None
    return PlanOptions(recipe=str(values.get("recipe", "osteon")), settings=settings or None, **checked)


def trial_name(values: Mapping[str, Any], seed: int | None) -> str:
    """`network=unet,encoder=resnet18`; shortened, and told apart by a hash, where a file system would not take it."""
    parts = [f"{key.rpartition('.')[2]}={_format_value(value)}" for key, value in values.items()]
    listed = ",".join(parts) or "base"
    name = re.sub(r"[^\w.+=,-]", "-", listed, flags=re.ASCII)[:LONGEST_NAME]
    tails = [key.rpartition(".")[2] for key in values]
    if name != listed or len(set(tails)) < len(tails):
        name += "-" + hashlib.sha256(json.dumps(dict(values), sort_keys=True, default=str).encode()).hexdigest()[:6]
    return name if seed is None else f"{name},seed={seed}"


def _closest_keys(key: str) -> str:
    return closest_names(
        key, [*OPTION_NAMES, "training.learning_rate", "training.optimiser", "patch.size", "grid.spacing_mm"]
    )


def _format_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_format_value, value))
    if value is None:
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)
