"""A run's own plan: made by choices for this run alone, and kept when the run goes on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.plan.overlay import known_keys
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan
from osteon.planning.dataset_plan import decide, precision_is_chosen
from osteon.planning.options import Choices
from osteon.runs.record import RUN, is_begun, plan_hash

logger = logging.getLogger(__name__)
MAY_CHANGE = {"patch.size", "patch.batch", "training.precision"}
"""What `record.record_choices` judges: a run may go on with less memory."""


def plan_for_run(
    dataset: Path,
    run: Path,
    choices: Choices,
    *,
    device: str = "auto",
    restart: bool = False,
    measure_cost: bool = True,
    budget_s: float | None = None,
    workers: int | None = None,
) -> Plan:
    """The plan that these choices make of a dataset; the dataset's own plan.yaml is neither read nor written.

    A run that was begun keeps the forecast and the precision that were measured for it.

    Args:
        dataset: A folder with dataset.yaml.
        run: The run's folder; the training writes the plan there.
        choices: What the user decides.
        device: What sizes are chosen for, and what the cost is measured on.
        restart: Make the plan anew.
        measure_cost: Measure the forecast and the faster precision.
        budget_s: Seconds that the training will have; sizes are chosen for them.
        workers: Processes for reading the cases; None: as memory allows.

    Raises:
        UsageError: The run was begun with other choices; the message names the keys of the plan that differ.
    """
    if (run / PLAN).is_file() and (run / RUN).is_file() and not restart:
        before = read_plan(run / PLAN)
        room = before.patch.room
        plan = decide(dataset, choices, device=device, measure_cost=False, room=room, workers=workers).plan
        plan = _as_measured(plan, before, choices)
        if plan_hash(plan) == plan_hash(before):
            return before
        if is_begun(run):
            _check_same(run, plan, before)
            return plan
    if (dataset / PLAN).is_file():
        said = f"{dataset / PLAN}: left as it is and not used; a plan is made for this run by its own options"
        logger.info(said)
    return decide(dataset, choices, device=device, measure_cost=measure_cost, budget_s=budget_s, workers=workers).plan


def _as_measured(plan: Plan, before: Plan, choices: Choices) -> Plan:
    training = plan.training
    if not precision_is_chosen(choices):
        training = training.model_copy(update={"precision": before.training.precision})
    return plan.model_copy(update={"training": training, "forecast": before.forecast})


def _check_same(run: Path, plan: Plan, before: Plan) -> None:
    keys = list(dict.fromkeys([*known_keys(before), *known_keys(plan)]))
    values = before.model_dump(), plan.model_dump()
    differ = [key for key in keys if _at(values[0], key) != _at(values[1], key) and key not in MAY_CHANGE]
    if differ:
        raise UsageError(
            f"{run}: was begun with other choices: {', '.join(differ)}",
            hint="give the same options to go on, another folder, or --restart to throw this run away",
        )


def _at(data: Any, key: str) -> Any:
    for part in key.split("."):
        try:
            data = data[int(part)] if isinstance(data, list) else data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data
