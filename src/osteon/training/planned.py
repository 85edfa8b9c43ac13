"""A dataset's plan: measured, decided, its cost tried out, and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.markup import escape

from osteon.core.errors import CaseError, OsteonError
from osteon.core.progress import console
from osteon.dataset.dataset import Dataset
from osteon.planning.choices import DEFAULTS, Choices
from osteon.planning.fingerprint import measure
from osteon.planning.plan import FILE_NAME, Plan, read_plan, write_plan
from osteon.planning.planner import cache_bytes, make_plan
from osteon.planning.recipe_files import resolve
from osteon.planning.small import coverage_warnings
from osteon.training.options import resolve_device
from osteon.training.probe import forecast


@dataclass(frozen=True)
class Planned:
    """A plan, and the cases that could not be measured for it, with the reason."""

    plan: Plan
    failed: dict[str, OsteonError]


def plan_dataset(
    folder: Path,
    choices: Choices = DEFAULTS,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    target: Path | None = None,
    measure_cost: bool = True,
    workers: int | None = None,
) -> Planned:
    """Measure a dataset, decide, and write its plan.

    Args:
        folder: With dataset.yaml.
        choices: What the user decides.
        device: What sizes are chosen for, and what the cost is measured on.
        target: The plan's file; the dataset's plan.yaml when None.
        measure_cost: Measure the forecast and the faster precision with a few steps (some 20 s).
        workers: Processes for reading the cases; None: as memory allows.

    Raises:
        DatasetError: No case can be used, or a structure occurs in none.
        UsageError: There is no such recipe or device, or a choice makes no sense.
    """
    planned = decide(folder, choices, device=device, measure_cost=measure_cost, workers=workers)
    write_plan(target or folder / FILE_NAME, planned.plan)
    return planned


def decide(
    folder: Path,
    choices: Choices = DEFAULTS,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    measure_cost: bool = True,
    workers: int | None = None,
) -> Planned:
    """As `plan_dataset`, without writing the plan."""
    dataset = Dataset.open(folder)
    chosen = resolve_device(device)
    fingerprint = measure(dataset, workers=workers)
    plan = make_plan(dataset, fingerprint, choices, device=chosen)
    notes = coverage_warnings(plan, fingerprint)
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
    if notes:
        plan = plan.model_copy(update={"patch": plan.patch.model_copy(update={"why": [*plan.patch.why, *notes]})})
    if measure_cost:
        largest = max(fingerprint.cases, key=lambda case: float(np.prod(case.shape)))
        measured = forecast(plan, largest.shape, largest.spacing_mm, cache_bytes(plan, fingerprint), chosen)
        training = plan.training if precision_is_chosen(choices) else measured.training
        plan = measured.model_copy(update={"training": training})
    return Planned(plan, {case: CaseError(reason) for case, reason in fingerprint.failed.items()})


def precision_is_chosen(choices: Choices) -> bool:
    """Whether the precision is the user's or the recipe's, and not to be measured."""
    return "training.precision" in {**resolve(choices).settings, **(choices.settings or {})}


def plan_of(folder: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", workers: int | None = None) -> Plan:
    """The plan that a dataset has; made where it is missing. Cases that fail then fail again when they are prepared."""
    path = folder / FILE_NAME
    return read_plan(path) if path.is_file() else plan_dataset(folder, device=device, workers=workers).plan
