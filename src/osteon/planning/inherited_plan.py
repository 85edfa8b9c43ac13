"""The plan of a run that begins with another model's weights."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from osteon.core.errors import OsteonError
from osteon.dataset.dataset import Dataset
from osteon.plan.inheritance import inherit_plan
from osteon.plan.overlay import overlay
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan
from osteon.planning.dataset_plan import decide
from osteon.planning.options import DEFAULTS, Choices
from osteon.planning.run_plan import plan_for_run
from osteon.predicting.model import model_folder
from osteon.runs.initialising import init_sha256
from osteon.runs.record import is_begun

logger = logging.getLogger(__name__)


def plan_from_model(
    dataset: Path,
    run: Path,
    init: str,
    choices: Choices = DEFAULTS,
    *,
    device: str = "auto",
    restart: bool = False,
    budget_s: float | None = None,
    workers: int | None = None,
) -> Plan:
    """The plan of a run that begins with a model and was given none: the model's network and grid, the rest the data's.

    Choices that name another network or grid are followed, and the model gives what fits. A run that goes on while
    the model is gone keeps its plan.

    Args:
        dataset: A folder with dataset.yaml; its plan.yaml is read where it has one, and not changed.
        run: The run's folder.
        init: A run or a model folder.
        choices: What the user decides.
        device: What sizes are chosen for.
        restart: The run begins anew.
        budget_s: Seconds that the training will have.
        workers: Processes for reading the cases; None: as memory allows.
    """
    if is_begun(run) and not restart and init_sha256(init, needed=False) is None:
        return overlay(read_plan(run / PLAN), choices.settings or {})
    if _decide_shape(choices):
        return plan_for_run(dataset, run, choices, device=device, restart=restart, budget_s=budget_s, workers=workers)
    source = read_plan(model_folder(init) / PLAN)
    own = read_plan(dataset / PLAN) if choices == DEFAULTS and (dataset / PLAN).is_file() else None
    if own is None or own.grid.dimensions != source.grid.dimensions:
        wanted = replace(choices, dimensions=source.grid.dimensions)
        own = decide(dataset, wanted, device=device, measure_cost=False, workers=workers).plan
    plan = inherit_plan(own, source, _lie(dataset) if source.grid.axes[0] in "ijk" else "RAS")
    if choices.batch is not None:
        plan = plan.model_copy(update={"patch": plan.patch.model_copy(update={"batch": choices.batch})})
    if choices.window is not None:
        plan = plan.model_copy(update={"intensities": own.intensities})
    said = f"network, grid and patch are {init}'s; a plan of your own is given with --plan"
    logger.info(said)
    for section in ("series", "zoom"):
        if getattr(own, section) is not None and getattr(plan, section) is None:
            told = f"the dataset's plan has a section {section}, which is left out: models of nnU-Net's do not know it"
            logger.warning(told)
    return overlay(plan, choices.settings or {})


def _lie(folder: Path) -> str:
    """Where the file axes of most of a dataset's scans run, such as `LPS`; those that lie otherwise are counted."""
    dataset = Dataset.open(folder)
    lies: Counter[str] = Counter()
    for case in dataset.manifest.trainable:
        with suppress(OsteonError):  # preparing it will say why
            lies[dataset.geometry(case).axis_codes.removeprefix("~")] += 1
    if not lies:
        return "RAS"
    (most, _), *others = lies.most_common()
    if others:
        told = ", ".join(f"{count} to {lie}" for lie, count in lies.most_common())
        said = f"the scans lie in {len(lies)} ways in their files ({told}); all are turned to {most} for this model"
        logger.warning(said)
    return most


def _decide_shape(choices: Choices) -> bool:
    shaping = ("recipe", "dimensions", "network", "encoder", "weights", "image_size")
    return any(getattr(choices, name) != getattr(DEFAULTS, name) for name in shaping)
