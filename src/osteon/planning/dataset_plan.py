"""A dataset's plan: measured, decided, its cost tried out, and written."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from osteon.core.cpu_load import LoadMeter
from osteon.core.devices import resolve_device, size_kind
from osteon.core.errors import CaseError, OsteonError
from osteon.core.progress import clock, status
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import FILE_NAME, Forecast, Patch, Plan, read_plan, write_plan
from osteon.planning.fingerprint import changed_since, measure
from osteon.planning.forecast import FAILED, MEASURE_BUDGET_S, forecast
from osteon.planning.options import DEFAULTS, Choices
from osteon.planning.planner import cache_bytes, make_plan
from osteon.planning.recipe_files import resolve
from osteon.planning.zoom_choice import coverage_warnings

logger = logging.getLogger(__name__)
MANY_ITERATIONS = 3000
"""What a budget allows beyond these is better spent on larger patches, or a finer grid."""
FEW_ITERATIONS = 1000
"""With fewer than these within a budget, smaller patches or a coarser grid teach more."""
MEASURING_SHARE, LEAST_MEASURING_S = 0.2, 5.0
"""Trying out takes at most this part of a budget, and never less than loading the libraries does."""
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
    measure_budget_s: float | None = None,
    budget_s: float | None = None,
    workers: int | None = None,
) -> Planned:
    """Measure a dataset, decide, and write its plan.

    Args:
        folder: With dataset.yaml.
        choices: What the user decides.
        device: What sizes are chosen for, and what the cost is measured on.
        target: The plan's file; the dataset's plan.yaml when None.
        measure_cost: Measure the forecast and the faster precision with a few steps.
        measure_budget_s: Seconds of the clock that this may take; None: `measuring_s` of the budget.
        budget_s: Seconds that a training will have; sizes are then chosen for this machine's measured speed.
        workers: Processes for reading the cases; None: as memory allows.

    Raises:
        DatasetError: No case can be used, or a structure occurs in none.
        UsageError: There is no such recipe or device, or a choice makes no sense.
    """
    planned = decide(
        folder,
        choices,
        device=device,
        measure_cost=measure_cost,
        measure_budget_s=measure_budget_s,
        budget_s=budget_s,
        workers=workers,
    )
    write_plan(target or folder / FILE_NAME, planned.plan)
    return planned


def decide(
    folder: Path,
    choices: Choices = DEFAULTS,
    *,
    device: str = "auto",
    measure_cost: bool = True,
    measure_budget_s: float | None = None,
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
        measure_budget_s: Seconds of the clock that this may take; None: `measuring_s` of the budget.
        budget_s: Seconds that a training will have.
        room: As `planner.make_plan` takes it; None: by measurement, where there is a budget to measure for.
        workers: Processes for reading the cases; None: as memory allows.
    """
    dataset = Dataset.open(folder)
    chosen = resolve_device(device)
    fingerprint = measure(dataset, workers=workers)
    plan = make_plan(dataset, fingerprint, choices, device=size_kind(chosen), room=room or 1.0)
    notes = []
    if measure_cost:
        largest = max(fingerprint.cases, key=lambda case: float(np.prod(case.shape)))
        most_s = measuring_s(budget_s) if measure_budget_s is None else measure_budget_s
        until = time.monotonic() + most_s

        def costed(plan: Plan, enough: Callable[[float], bool] = lambda _: False) -> Plan:
            return forecast(
                plan,
                largest.shape,
                largest.spacing_mm,
                cache_bytes(plan, fingerprint),
                chosen,
                until=until,
                precision_is_chosen=precision_is_chosen(choices),
                enough=enough,
            )

        with LoadMeter() as load, status(f"trying out the cost, {clock(most_s)} at most"):
            if room is None and budget_s is not None:

                def sized(seconds: float) -> Plan:
                    """The plan with sizes for the budget, where an iteration takes so long with the recipe's."""
                    there = room_for(budget_s, seconds)
                    return make_plan(dataset, fingerprint, choices, device=size_kind(chosen), room=there)

                first = costed(plan, lambda seconds: _sizes(sized(seconds)) != _sizes(plan))
                other = sized(first.forecast.seconds_per_iteration or 0.0)
                plan = first if _sizes(other) == _sizes(plan) else _for_budget(costed(other), first, budget_s)
            else:
                plan = costed(plan)
        notes = [load.warning] if load.warning else []
        plan = _add_reasons(plan, "forecast", notes)
    small = coverage_warnings(plan, fingerprint)
    for note in [*notes, *small]:
        logger.warning(note)
    plan = _add_reasons(plan, "patch", small)
    return Planned(plan, {case: CaseError(reason) for case, reason in fingerprint.failed.items()})


def measuring_s(budget_s: float | None) -> float:
    """Seconds of the clock for trying out what a training of `budget_s` costs, in proportion to it."""
    if budget_s is None:
        return MEASURE_BUDGET_S
    return min(MEASURE_BUDGET_S, max(LEAST_MEASURING_S, MEASURING_SHARE * budget_s))


def room_for(budget_s: float, seconds_per_iteration: float) -> float:
    """How many times the recipe's voxels a patch may have, so that a budget still allows a useful number of iterations.

    Args:
        budget_s: Seconds of training.
        seconds_per_iteration: Measured with the recipe's own sizes; 0: unknown.
    """
    if not seconds_per_iteration:
        return 1.0
    iterations = budget_s / seconds_per_iteration
    wanted = max(iterations / MANY_ITERATIONS, 1.0) if iterations > FEW_ITERATIONS else iterations / FEW_ITERATIONS
    return float(f"{min(MOST_ROOM, max(LEAST_ROOM, wanted)):.2g}")


def _sizes(plan: Plan) -> tuple[object, ...]:
    return plan.patch.size, plan.patch.batch, plan.grid


def _for_budget(plan: Plan, first: Plan, budget_s: float) -> Plan:
    """The plan with sizes for a budget, and the reason for them; the first one where these could not be computed.

    Args:
        plan: As measured, if the time sufficed; else seconds and precision follow from the first's.
        first: With the recipe's sizes, measured.
        budget_s: Seconds of training.
    """
    cost, measured = plan.forecast, first.forecast
    if cost.seconds_per_iteration is None and cost.why and cost.why[0].startswith(FAILED):
        note = f"{plan.patch.room:g} times the recipe's voxels would suit the budget, but {cost.why[0]}"
        return _add_reasons(first, "patch", [note])
    if cost.parameters is None:  # no whole step was measured
        plan = plan.model_copy(update={"training": first.training})
    if cost.seconds_per_iteration is None and measured.seconds_per_iteration:
        voxels = (math.prod((*one.patch.size, one.patch.batch)) for one in (plan, first))
        seconds = measured.seconds_per_iteration * next(voxels) / next(voxels)
        known = {"seconds_per_iteration": float(f"{seconds:.3g}"), "device": measured.device}
        plan = plan.model_copy(update={"forecast": cost.model_copy(update=known)})
        plan = _add_reasons(plan, "forecast", ["seconds of an iteration by those of another size: the time was over"])
    seconds = plan.forecast.seconds_per_iteration or 1.0
    reason = (
        f"{plan.patch.room:g} times the recipe's voxels: with these an iteration takes {seconds:.3g} s, of which "
        f"{budget_s:.0f} s allow {budget_s / seconds:.0f}; {FEW_ITERATIONS} to {MANY_ITERATIONS} are wanted"
    )
    return _add_reasons(plan, "patch", [reason])


def _add_reasons(plan: Plan, section: Literal["patch", "forecast"], reasons: Sequence[str]) -> Plan:
    """The plan with reasons added to a section of it."""
    if not reasons:
        return plan
    before: Patch | Forecast = getattr(plan, section)
    return plan.model_copy(update={section: before.model_copy(update={"why": [*before.why, *reasons]})})


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
    """The plan that a dataset has; made where it is missing. Cases that fail then fail again when they are prepared.

    Where the cases are not those any more that it was made from, that is said.
    """
    path = folder / FILE_NAME
    if path.is_file():
        tell_outdated(folder)
        return read_plan(path)
    return plan_dataset(folder, device=device, budget_s=budget_s, workers=workers).plan


def tell_outdated(folder: Path) -> None:
    """Say where a dataset's cases are not those any more that its plan was made from."""
    if differences := changed_since(Dataset.open(folder)):
        said = f"{folder / FILE_NAME}: was made of other cases than there are now ({'; '.join(differences)})"
        logger.warning(f"{said}; `osteon plan {folder} --force` decides anew")
