"""A run's own plan: made by choices for this run alone, and kept when the run goes on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Unpack

from osteon.core.errors import UsageError
from osteon.plan.overlay import known_keys
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan
from osteon.planning.dataset_plan import is_precision_fixed, plan_dataset
from osteon.planning.options import MeasureOptions, PlanOptions
from osteon.runs.record import RUN, has_started, plan_hash

logger = logging.getLogger(__name__)
CHANGEABLE_KEYS = {"patch.size", "patch.batch", "training.precision"}
"""What `record.record_options` judges: a run may go on with less memory."""


def plan_for_run(
    dataset: Path,
    run: Path,
    options: PlanOptions,
    *,
    restart: bool = False,
    **measuring: Unpack[MeasureOptions],
) -> Plan:
    """The plan that these options make of a dataset; the dataset's own plan.yaml is neither read nor written.

    A run that was begun keeps the forecast and the precision that were measured for it.

    Args:
        dataset: A folder with dataset.yaml.
        run: The run's folder; the training writes the plan there.
        options: What the user decides.
        restart: Make the plan anew.
        **measuring: On what device, within which time.

    Raises:
        UsageError: The run was started with other choices; the message names the keys of the plan that differ.
    """
    if (run / PLAN).is_file() and (run / RUN).is_file() and not restart:
        begun_plan = read_plan(run / PLAN)
        unmeasured = measuring | MeasureOptions(measure_cost=False)
        plan = plan_dataset(dataset, options, patch_scale=begun_plan.patch.scale, **unmeasured).plan
        plan = _keep_measurements(plan, begun_plan, options)
        if plan_hash(plan) == plan_hash(begun_plan):
            return begun_plan
        if has_started(run):
            _check_unchanged(run, plan, begun_plan)
            return plan
    if (dataset / PLAN).is_file():
        logger.info(f"{dataset / PLAN}: left as it is and not used; a plan is made for this run by its own options")
    return plan_dataset(dataset, options, **measuring).plan


def _keep_measurements(plan: Plan, begun_plan: Plan, options: PlanOptions) -> Plan:
    training = plan.training
    if not is_precision_fixed(options):
        training = training.model_copy(update={"precision": begun_plan.training.precision})
    return plan.model_copy(update={"training": training, "forecast": begun_plan.forecast})


def _check_unchanged(run: Path, plan: Plan, begun_plan: Plan) -> None:
    begun, now = known_keys(begun_plan), known_keys(plan)
    differing = [key for key in begun | now if begun.get(key) != now.get(key) and key not in CHANGEABLE_KEYS]
    if differing:
        raise UsageError(
            f"{run}: was started with other choices: {', '.join(differing)}",
            hint="give the same options to continue, another folder, or --restart to delete this run",
        )
