"""A dataset's plan: measured, decided, its cost tried out, and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape

from osteon.core.devices import resolve_device, size_kind
from osteon.core.errors import CaseError, OsteonError
from osteon.core.progress import console
from osteon.dataset.dataset import Dataset
from osteon.planning.choices import DEFAULTS, Choices
from osteon.planning.fingerprint import measure
from osteon.planning.plan import FILE_NAME, Plan, read_plan, write_plan
from osteon.planning.planner import cache_bytes, make_plan
from osteon.planning.recipe_files import resolve
from osteon.planning.small import coverage_warnings
from osteon.training.probe import forecast

MANY_ITERATIONS = 3000
"""What a budget allows beyond these is better spent on larger patches, or a finer grid."""
FEW_ITERATIONS = 1000
"""With fewer than these within a budget, smaller patches or a coarser grid teach more."""
MOST_ROOM, LEAST_ROOM = 8.0, 0.25
"""Limits of what a budget does to the recipe's voxels of a patch."""


@dataclass(frozen=True)
class Planned:
    """A plan, and the cases that could not be measured for it, with the reason."""

    plan: Plan
    failed: dict[str, OsteonError]


def plan_dataset(
    folder: Path,
    choices: Choices = DEFAULTS,
    *,
    device: str = "auto",
    target: Path | None = None,
    measure_cost: bool = True,
    budget_s: float | None = None,
    workers: int | None = None,
) -> Planned:
    """Measure a dataset, decide, and write its plan.

    Args:
        folder: With dataset.yaml.
        choices: What the user decides.
        device: What sizes are chosen for, and what the cost is measured on.
        target: The plan's file; the dataset's plan.yaml when None.
        measure_cost: Measure the forecast and the faster precision with a few steps (some 20 s).
        budget_s: Seconds that a training will have; sizes are then chosen for this machine's measured speed.
        workers: Processes for reading the cases; None: as memory allows.

    Raises:
        DatasetError: No case can be used, or a structure occurs in none.
        UsageError: There is no such recipe or device, or a choice makes no sense.
    """
    planned = decide(folder, choices, device=device, measure_cost=measure_cost, budget_s=budget_s, workers=workers)
    write_plan(target or folder / FILE_NAME, planned.plan)
    return planned


def decide(
    folder: Path,
    choices: Choices = DEFAULTS,
    *,
    device: str = "auto",
    measure_cost: bool = True,
    budget_s: float | None = None,
    room: float | None = None,
    workers: int | None = None,
) -> Planned:
    """As `plan_dataset`, without writing the plan.

    Args:
        folder: With dataset.yaml.
        choices: What the user decides.
        device: What sizes are chosen for, and what the cost is measured on.
        measure_cost: Measure the forecast and the faster precision.
        budget_s: Seconds that a training will have.
        room: As `planner.make_plan` takes it; None: by measurement, where there is a budget to measure for.
        workers: Processes for reading the cases; None: as memory allows.
    """
    dataset = Dataset.open(folder)
    chosen = resolve_device(device)
    fingerprint = measure(dataset, workers=workers)

    def made(room: float) -> Plan:
        plan = make_plan(dataset, fingerprint, choices, device=size_kind(chosen), room=room)
        if not measure_cost:
            return plan
        largest = max(fingerprint.cases, key=lambda case: float(np.prod(case.shape)))
        measured = forecast(plan, largest.shape, largest.spacing_mm, cache_bytes(plan, fingerprint), chosen)
        training = plan.training if precision_is_chosen(choices) else measured.training
        return measured.model_copy(update={"training": training})

    plan = made(room or 1.0)
    if room is None and budget_s is not None and plan.forecast.seconds_per_iteration:
        allowed = room_for(budget_s, plan.forecast.seconds_per_iteration)
        if allowed != 1.0:
            plan = _better(plan, made(allowed), budget_s)
    notes = coverage_warnings(plan, fingerprint)
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
    plan = _with_reasons(plan, notes)
    return Planned(plan, {case: CaseError(reason) for case, reason in fingerprint.failed.items()})


def room_for(budget_s: float, seconds_per_iteration: float) -> float:
    """How many times the recipe's voxels a patch may have, so that a budget still allows a useful number of iterations.

    Args:
        budget_s: Seconds of training.
        seconds_per_iteration: Measured with the recipe's own sizes.
    """
    iterations = budget_s / seconds_per_iteration
    wanted = max(iterations / MANY_ITERATIONS, 1.0) if iterations > FEW_ITERATIONS else iterations / FEW_ITERATIONS
    return float(f"{min(MOST_ROOM, max(LEAST_ROOM, wanted)):.2g}")


def _better(plan: Plan, other: Plan, budget_s: float) -> Plan:
    """The plan with other sizes, where they make a difference."""
    if (other.patch.size, other.patch.batch, other.grid) == (plan.patch.size, plan.patch.batch, plan.grid):
        return plan
    seconds = plan.forecast.seconds_per_iteration or 1.0
    reason = (
        f"{other.patch.room:g} times the recipe's voxels: with these an iteration took {seconds:.3g} s, of which "
        f"{budget_s:.0f} s allow {budget_s / seconds:.0f}; {FEW_ITERATIONS} to {MANY_ITERATIONS} are wanted"
    )
    return _with_reasons(other, [reason])


def _with_reasons(plan: Plan, reasons: list[str]) -> Plan:
    """The plan with reasons for its patch added."""
    if not reasons:
        return plan
    return plan.model_copy(update={"patch": plan.patch.model_copy(update={"why": [*plan.patch.why, *reasons]})})


def precision_is_chosen(choices: Choices) -> bool:
    """Whether the precision is the user's or the recipe's, and not to be measured."""
    return "training.precision" in {**resolve(choices).settings, **(choices.settings or {})}


def plan_of(
    folder: Path,
    *,
    device: str = "auto",
    budget_s: float | None = None,
    workers: int | None = None,
) -> Plan:
    """The plan that a dataset has; made where it is missing. Cases that fail then fail again when they are prepared."""
    path = folder / FILE_NAME
    if path.is_file():
        return read_plan(path)
    return plan_dataset(folder, device=device, budget_s=budget_s, workers=workers).plan
