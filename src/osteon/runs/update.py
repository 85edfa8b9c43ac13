"""`--update`: a training that goes on from a model with what was labelled since, and that has to be as good.

RUN/update.json     from which model it began, by which cases it is judged, and what came of that
RUN/updates.csv     all updates up to this one, one a line
RUN/model/          the new model; or, where it is worse than the one before
RUN/not-taken/      the same, which nothing uses
RUN/before/         what the model before found in the cases that judge
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import write_json
from osteon.core.text import pluralise
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import find_model_folder, read_splits
from osteon.runs.final_validation import ValidationResult, predict_validation
from osteon.runs.fit import TrainReport, UpdateTask, train
from osteon.runs.options import TrainOptions
from osteon.runs.record import has_started
from osteon.runs.update_cases import UpdateCases, check_updatable, choose_cases
from osteon.runs.update_files import BEFORE, LABELS, UPDATE
from osteon.runs.update_gate import Verdict, judge
from osteon.runs.update_history import Parent, UpdateRecord, read_update, write_history

logger = logging.getLogger(__name__)
DEFAULT_BUDGET_S = 600.0
"""An update is to be worth its time while somebody goes on labelling."""


def update(dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, *, restart: bool = False) -> TrainReport:
    """Train a model on, with the dataset as it is now, or go on with that; take it where it is as good as before.

    Args:
        dataset: The one that the model was trained on, with more labels or corrected ones.
        plan: As `planning.inherited_plan.plan_for_update` makes it.
        run: The update's own folder.
        options: With `update`; without a time or epochs it takes `DEFAULT_BUDGET_S`.
        restart: Throw away what the run has done.

    Returns:
        As `fit.train`; `read_update(report.run)` has what came of it.

    Raises:
        UsageError: Nothing was labelled since, or nothing can judge; the model has other channels or structures.
        And as `fit.train`.
    """
    parent = model_in_use(Path(options.update or ""))
    options = replace(options, update=str(parent))
    if options.budget_s is None and options.epochs is None:
        options = replace(options, budget_s=DEFAULT_BUDGET_S)
    model = load_model(parent)
    check_updatable(dataset, model.plan)
    if has_started(run) and not restart:
        if (begun := read_update(run)) is None:
            raise UsageError(f"{run}: is a run, and no update", hint="give the update its own folder")
        record, judging = begun, read_splits(run)["validation"]
        dataset = _without_later_cases(dataset, run)
    else:
        chosen = choose_cases(dataset, model.seen, model.validation.get(LABELS, {}))
        record, judging = _begin(run, parent, model, chosen), chosen.validation
        _announce(chosen)

    def decide(plan: Plan, after: ValidationResult, unordered: ValidationResult | None) -> bool:
        verdict = compare(dataset, model, run, plan, after, unordered)
        write_json(run / UPDATE, record.model_copy(update={"verdict": verdict}).model_dump())
        (logger.info if verdict.taken else logger.warning)(
            f"{'taken' if verdict.taken else f'NOT taken, and {parent} stays in use'}: {verdict.why}"
        )
        return verdict.taken

    task = UpdateTask(record.model_dump(), record.repeats, decide)
    report = train(dataset, plan, run, options, restart=restart, folds=[judging], update=task)
    write_history(run)
    return report


def model_in_use(folder: Path) -> Path:
    """The model that a run, or a model folder, gives: of an update that was not taken that of the run before it.

    Raises:
        ModelError: There is none.
    """
    while (record := read_update(folder)) is not None and record.verdict is not None and not record.verdict.taken:
        logger.info(f"{folder}: was not taken; its parent {record.parent.folder} is in use")
        folder = folder / record.parent.folder
    return Path(os.path.normpath(find_model_folder(folder)))


def compare(
    dataset: Dataset,
    model: Model,
    run: Path,
    plan: Plan,
    after: ValidationResult,
    unordered: ValidationResult | None,
) -> Verdict:
    """The new model against the one before, both without post-processing, which is chosen by these very cases."""
    failed: dict[str, OsteonError] = {}
    plain = model.with_postprocessing("none")
    before, plainly = predict_validation(dataset, plain, list(after.cases), run / BEFORE, failed)
    known = {s.name for s in plan.structures}
    names = [s.name for s in model.plan.structures if s.name in known]
    return judge(_better(before, plainly, model.plan).cases, _better(after, unordered, plan).cases, names)


def _without_later_cases(dataset: Dataset, run: Path) -> Dataset:
    """The dataset without what was labelled since an update began, which waits for the next one."""
    known = {case_id for part in read_splits(run).values() for case_id in part}
    cases = [c for c in dataset.manifest.cases if c.segmentation is None or c.held_out or c.id in known]
    return Dataset(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))


def _better(validation: ValidationResult, unordered: ValidationResult | None, plan: Plan) -> ValidationResult:
    """Of a row's names in order and as found what `finish` would keep."""
    means = validation.mean(plan), None if unordered is None else unordered.mean(plan)
    return unordered if unordered and None not in means and (means[0] or 0) < (means[1] or 0) else validation


def _begin(run: Path, parent: Path, model: Model, chosen: UpdateCases) -> UpdateRecord:
    folder = parent.parent if parent.name == "model" else parent
    return UpdateRecord(
        parent=Parent(folder=_path_from(run, folder), sha256=model.sha256),
        training=len(chosen.training),
        validation=len(chosen.validation),
        new=chosen.new,
        corrected=chosen.corrected,
        repeats=chosen.repeats,
        judged_by=chosen.why,
    )


def _path_from(run: Path, folder: Path) -> str:
    """The way from one folder to the other, so that both can be moved together; a whole path from another disk."""
    try:
        return Path(os.path.relpath(folder.resolve(), run.resolve())).as_posix()
    except ValueError:  # Windows has disks
        return str(folder.resolve())


def _announce(chosen: UpdateCases) -> None:
    old = len(chosen.training) - len(chosen.new) - len(chosen.corrected)
    often = f", each {max(chosen.repeats.values())} times as often" if old else ""
    logger.info(
        f"learning from {pluralise(len(chosen.new), 'new case')} and {len(chosen.corrected)} corrected{often}; "
        f"{old} known ones go on"
    )
    logger.info(f"judged by {chosen.why}")
