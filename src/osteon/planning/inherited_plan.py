"""The plan of a run that begins with another model's weights."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from osteon.core.errors import OsteonError
from osteon.core.labels import Structure
from osteon.core.text import shorten_list
from osteon.dataset.dataset import Dataset
from osteon.plan.inheritance import inherit_plan
from osteon.plan.overlay import overlay
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan
from osteon.planning.dataset_plan import plan_dataset
from osteon.planning.options import DEFAULTS, MeasureOptions, PlanOptions
from osteon.planning.run_plan import plan_for_run
from osteon.predicting.records import find_model_folder
from osteon.runs.initialising import init_sha256
from osteon.runs.record import has_started
from osteon.runs.update import model_in_use
from osteon.runs.update_cases import find_new_structures

logger = logging.getLogger(__name__)


def plan_from_model(
    dataset: Path,
    run: Path,
    init: str,
    options: PlanOptions = DEFAULTS,
    *,
    restart: bool = False,
    **measuring: Unpack[MeasureOptions],
) -> Plan:
    """The plan of a run that begins with a model and was given none: the model's network and grid, the rest the data's.

    Options that name another network or grid are followed, and the model gives what fits. A run that goes on while
    the model is gone keeps its plan.

    Args:
        dataset: A folder with dataset.yaml; its plan.yaml is read where it has one, and not changed.
        run: The run's folder.
        init: A run or a model folder.
        options: What the user decides.
        restart: The run begins anew.
        **measuring: On what device, within which time.
    """
    if has_started(run) and not restart and init_sha256(init, needed=False) is None:
        return overlay(read_plan(run / PLAN), options.settings or {})
    if _choose_network_anew(options):
        return plan_for_run(dataset, run, options, restart=restart, **measuring)
    source = read_plan(find_model_folder(init) / PLAN)
    data_plan = read_plan(dataset / PLAN) if options == DEFAULTS and (dataset / PLAN).is_file() else None
    if data_plan is None or data_plan.grid.dimensions != source.grid.dimensions:
        shape_options = replace(options, dimensions=source.grid.dimensions)
        data_plan = plan_dataset(dataset, shape_options, **(measuring | MeasureOptions(measure_cost=False))).plan
    plan = inherit_plan(data_plan, source, _common_orientation(dataset) if source.grid.axes[0] in "ijk" else "RAS")
    if options.batch is not None:
        plan = plan.model_copy(update={"patch": plan.patch.model_copy(update={"batch": options.batch})})
    if options.window is not None:
        plan = plan.model_copy(update={"intensities": data_plan.intensities})
    logger.info(f"network, grid and patch are {init}'s; a plan of your own is given with --plan")
    for key, section in (("sequence", "series"), ("zoom", "zoom")):
        if getattr(data_plan, key) is not None and getattr(plan, key) is None:
            logger.warning(
                f"the dataset's plan has a section {section}, which is left out: models of nnU-Net's do not know it"
            )
    return overlay(plan, options.settings or {})


def plan_for_update(
    dataset: Path, run: Path, update: str, settings: Mapping[str, object] | None = None, *, restart: bool
) -> Plan:
    """The plan of an update: the model's own, with the structures that the dataset has besides now.

    Args:
        dataset: A folder with dataset.yaml.
        run: The update's folder; one that was begun keeps its plan.
        update: A run, or a model folder.
        settings: Keys of the plan that are changed.
        restart: The run begins anew.

    Raises:
        UsageError: Structures came that the plan cannot take in without being made anew.
        ModelError: There is no model.
    """
    if has_started(run) and not restart:
        return overlay(read_plan(run / PLAN), settings or {})
    plan = read_plan(model_in_use(Path(update)) / PLAN)
    if added := find_new_structures(Dataset.open(dataset), plan):
        names = shorten_list([structure.name for structure in added])
        logger.info(f"the model does not know {names}: its output gets a new part for each")
        plan = Plan.model_validate(plan.model_dump() | {"structures": _add(plan.structures, added)})
    return overlay(plan, settings or {})


def _add(structures: Sequence[Structure], added: Sequence[Structure]) -> list[dict[str, object]]:
    """Structures, and others with values that are free."""
    highest = max(structure.values[-1] for structure in structures)
    renumbered = [structure.model_copy(update={"value": highest + n}) for n, structure in enumerate(added, 1)]
    return [structure.model_dump() for structure in (*structures, *renumbered)]


def _common_orientation(folder: Path) -> str:
    """Where the file axes of most of a dataset's scans run, such as `LPS`; those that lie otherwise are counted."""
    dataset = Dataset.open(folder)
    counts: Counter[str] = Counter()
    for case in dataset.manifest.trainable:
        with suppress(OsteonError):  # preparing it will say why
            counts[dataset.geometry(case).axis_codes.removeprefix("~")] += 1
    if not counts:
        return "RAS"
    (most, _), *others = counts.most_common()
    if others:
        listed = ", ".join(f"{count} to {orientation}" for orientation, count in counts.most_common())
        logger.warning(
            f"the scans lie in {len(counts)} ways in their files ({listed}); all are turned to {most} for this model"
        )
    return most


def _choose_network_anew(options: PlanOptions) -> bool:
    shaping = ("recipe", "dimensions", "network", "encoder", "weights", "image_size")
    return any(getattr(options, name) != getattr(DEFAULTS, name) for name in shaping)
