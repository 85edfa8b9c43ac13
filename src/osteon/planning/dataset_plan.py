"""A dataset's plan: its cases measured, the plan decided, its cost tried out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from osteon.core.cpu_load import LoadMeter
from osteon.core.devices import resolve_device, sizing_kind
from osteon.core.errors import CaseError, OsteonError
from osteon.core.progress import format_duration, status
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import FILE_NAME, Forecast, Patch, Plan, read_plan, write_plan
from osteon.planning.fingerprint import find_changes, measure_fingerprint
from osteon.planning.forecast import FAILURE, MEASURE_BUDGET_S, measure_forecast
from osteon.planning.options import DEFAULTS, MeasureOptions, PlanOptions
from osteon.planning.planner import estimate_cache_bytes, make_plan
from osteon.planning.recipe_files import resolve_recipe
from osteon.planning.sequences import describe_broken_rows, describe_other_sequences
from osteon.planning.zoom_choice import coverage_warnings

logger = logging.getLogger(__name__)
MAX_USEFUL_ITERATIONS = 3000
"""What a budget allows beyond these is better spent on larger patches, or a finer grid."""
MIN_USEFUL_ITERATIONS = 1000
"""With fewer than these within a budget, smaller patches or a coarser grid teach more."""
MEASURING_SHARE, MIN_MEASURING_S = 0.2, 5.0
"""Trying out takes at most this part of a budget, and never less than loading the libraries does."""
MAX_PATCH_SCALE, MIN_PATCH_SCALE = 8.0, 0.25
"""Limits of what a budget does to the recipe's voxels of a patch."""


@dataclass(frozen=True)
class PlanResult:
    """A plan, and the cases that could not be measured for it, with the reason."""

    plan: Plan
    failed: dict[str, OsteonError]


def plan_dataset(
    folder: Path,
    options: PlanOptions = DEFAULTS,
    *,
    device: str = "auto",
    measure_cost: bool = True,
    measure_budget_s: float | None = None,
    budget_s: float | None = None,
    patch_scale: float | None = None,
    workers: int | None = None,
) -> PlanResult:
    """Measure a dataset and decide its plan; it is not written.

    Args:
        folder: With dataset.yaml.
        options: What the user decides.
        device: What sizes are chosen for, and what the cost is measured on.
        measure_cost: Measure the forecast and the faster precision with a few steps.
        measure_budget_s: Seconds of the clock that this may take; None: `measuring_budget_s` of the budget.
        budget_s: Seconds that a training will have; sizes are then chosen for this machine's measured speed.
        patch_scale: As `planner.make_plan` takes it; None: by measurement, where there is a budget to measure for.
        workers: Processes for reading the cases; None: as memory allows.

    Raises:
        DatasetError: No case can be used, or a structure occurs in none.
        UsageError: There is no such recipe or device, or an option makes no sense.
    """
    dataset = Dataset.open(folder)
    device_name = resolve_device(device)
    fingerprint = measure_fingerprint(dataset, workers=workers)
    plan = make_plan(dataset, fingerprint, options, device=sizing_kind(device_name), patch_scale=patch_scale or 1.0)
    notes = []
    if measure_cost:
        largest = max(fingerprint.cases, key=lambda case: float(np.prod(case.shape)))
        limit_s = measuring_budget_s(budget_s) if measure_budget_s is None else measure_budget_s
        until = time.monotonic() + limit_s

        def with_forecast(plan: Plan, stop_early: Callable[[float], bool] = lambda _: False) -> Plan:
            return measure_forecast(
                plan,
                largest.shape,
                largest.spacing_mm,
                estimate_cache_bytes(plan, fingerprint),
                device_name,
                until=until,
                precision_is_fixed=is_precision_fixed(options),
                stop_early=stop_early,
            )

        with LoadMeter() as load, status(f"trying out the cost, {format_duration(limit_s)} at most"):
            if patch_scale is None and budget_s is not None:

                def plan_for_speed(seconds: float) -> Plan:
                    """The plan with sizes for the budget, where an iteration takes so long with the recipe's."""
                    scale = patch_scale_for(budget_s, seconds)
                    return make_plan(dataset, fingerprint, options, device=sizing_kind(device_name), patch_scale=scale)

                default_plan = with_forecast(plan, lambda seconds: _sizes(plan_for_speed(seconds)) != _sizes(plan))
                scaled_plan = plan_for_speed(default_plan.forecast.seconds_per_iteration or 0.0)
                plan = (
                    default_plan
                    if _sizes(scaled_plan) == _sizes(plan)
                    else _fit_to_budget(with_forecast(scaled_plan), default_plan, budget_s)
                )
            else:
                plan = with_forecast(plan)
        notes = [load.warning] if load.warning else []
        plan = _add_reasons(plan, "forecast", notes)
    too_small = coverage_warnings(plan, fingerprint)
    rows = (
        describe_broken_rows(fingerprint)
        if plan.sequence is None
        else describe_other_sequences(fingerprint, plan.sequence.names)
    )
    for note in [*notes, *too_small, *rows]:
        logger.warning(note)
    plan = _add_reasons(plan, "patch", too_small)
    return PlanResult(plan, {case: CaseError(reason) for case, reason in fingerprint.failed.items()})


def measuring_budget_s(budget_s: float | None) -> float:
    """Seconds of the clock for trying out what a training of `budget_s` costs, in proportion to it."""
    if budget_s is None:
        return MEASURE_BUDGET_S
    return min(MEASURE_BUDGET_S, max(MIN_MEASURING_S, MEASURING_SHARE * budget_s))


def patch_scale_for(budget_s: float, seconds_per_iteration: float) -> float:
    """How many times the recipe's voxels a patch may have, so that a budget still allows a useful number of iterations.

    Args:
        budget_s: Seconds of training.
        seconds_per_iteration: Measured with the recipe's own sizes; 0: unknown.
    """
    if not seconds_per_iteration:
        return 1.0
    iterations = budget_s / seconds_per_iteration
    scale = (
        max(iterations / MAX_USEFUL_ITERATIONS, 1.0)
        if iterations > MIN_USEFUL_ITERATIONS
        else iterations / MIN_USEFUL_ITERATIONS
    )
    return float(f"{min(MAX_PATCH_SCALE, max(MIN_PATCH_SCALE, scale)):.2g}")


def _sizes(plan: Plan) -> tuple[object, ...]:
    return plan.patch.size, plan.patch.batch, plan.grid


def _fit_to_budget(plan: Plan, default_plan: Plan, budget_s: float) -> Plan:
    """The plan with sizes for a budget, and the reason for them; the first one where these could not be computed.

    Args:
        plan: As measured, if the time sufficed; else seconds and precision follow from the first's.
        default_plan: With the recipe's sizes, measured.
        budget_s: Seconds of training.
    """
    cost, measured = plan.forecast, default_plan.forecast
    if cost.seconds_per_iteration is None and cost.why and cost.why[0].startswith(FAILURE):
        note = f"{plan.patch.scale:g} times the recipe's voxels would suit the budget, but {cost.why[0]}"
        return _add_reasons(default_plan, "patch", [note])
    if cost.parameters is None:  # no whole step was measured
        plan = plan.model_copy(update={"training": default_plan.training})
    if cost.seconds_per_iteration is None and measured.seconds_per_iteration:
        voxels = (math.prod((*one.patch.size, one.patch.batch)) for one in (plan, default_plan))
        seconds = measured.seconds_per_iteration * next(voxels) / next(voxels)
        known = {"seconds_per_iteration": float(f"{seconds:.3g}"), "device": measured.device}
        plan = plan.model_copy(update={"forecast": cost.model_copy(update=known)})
        plan = _add_reasons(plan, "forecast", ["seconds of an iteration by those of another size: the time was over"])
    seconds = plan.forecast.seconds_per_iteration or 1.0
    if plan.patch.scale > default_plan.patch.scale and budget_s / seconds < MIN_USEFUL_ITERATIONS:
        note = (
            f"{plan.patch.scale:g} times the recipe's voxels would leave {budget_s / seconds:.0f} iterations of "
            f"{budget_s:.0f} s; at least {MIN_USEFUL_ITERATIONS} are wanted"
        )
        return _add_reasons(default_plan, "patch", [note])
    reason = (
        f"{plan.patch.scale:g} times the recipe's voxels: with these an iteration takes {seconds:.3g} s, of which "
        f"{budget_s:.0f} s allow {budget_s / seconds:.0f}; "
        f"{MIN_USEFUL_ITERATIONS} to {MAX_USEFUL_ITERATIONS} are wanted"
    )
    return _add_reasons(plan, "patch", [reason])


def _add_reasons(plan: Plan, section: Literal["patch", "forecast"], reasons: Sequence[str]) -> Plan:
    """The plan with reasons added to a section of it."""
    if not reasons:
        return plan
    before: Patch | Forecast = getattr(plan, section)
    return plan.model_copy(update={section: before.model_copy(update={"why": [*before.why, *reasons]})})


def is_precision_fixed(options: PlanOptions) -> bool:
    """Whether the precision is the user's or the recipe's, and not to be measured."""
    return "training.precision" in {**resolve_recipe(options).settings, **(options.settings or {})}


def load_or_make_plan(folder: Path, **measuring: Unpack[MeasureOptions]) -> Plan:
    """The plan that a dataset has; made where it is missing. Cases that fail then fail again when they are prepared.

    A warning is printed where it was made of other cases than there are now.
    """
    path = folder / FILE_NAME
    if path.is_file():
        warn_outdated(folder)
        return read_plan(path)
    plan = plan_dataset(folder, **measuring).plan
    write_plan(path, plan)
    return plan


def warn_outdated(folder: Path) -> None:
    """Print a warning where a dataset's plan was made of other cases than there are now."""
    if differences := find_changes(Dataset.open(folder)):
        message = f"{folder / FILE_NAME}: was made of other cases than there are now ({'; '.join(differences)})"
        logger.warning(f"{message}; `osteon plan {folder} --force` makes a new plan")
