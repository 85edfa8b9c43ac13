"""A run: from a dataset and its plan to a model folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.devices import device_kind, resolve_device
from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import write_json, write_yaml
from osteon.core.heap import keep_freed_memory
from osteon.core.locks import LOCK_NAME as LOCK
from osteon.core.progress import progress_logger
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan
from osteon.predicting.model_folder import load_model
from osteon.predicting.training_cases import SeenScans, trained_on
from osteon.preparing.cache import CachedCase, prepare_cases
from osteon.runs.final_validation import UNORDERED
from osteon.runs.finish import Judge, describe_final_steps, finish
from osteon.runs.fit_task import FitTask
from osteon.runs.initialising import TRANSFER, initial_weights, seen_before
from osteon.runs.loop import choose_weights, fit_network
from osteon.runs.options import DEFAULTS, TrainOptions, check_options
from osteon.runs.rank_launcher import all_ranks
from osteon.runs.record import RUN, SPLITS, check_plan_fits, hold_run, record_options, recorded_splits
from osteon.runs.splits import CaseContents, check_structures, split_cases, structures_on_grid
from osteon.runs.tracked_run import log_result, run_parameters, track_run
from osteon.runs.update_files import BEFORE, HISTORY, NOT_TAKEN, UPDATE, finished_folder
from osteon.training.callback import CHECKPOINT_EVERY_S
from osteon.training.checkpoint import LAST, PREVIOUS, TrainingState, read_last_state
from osteon.training.losses import describe_loss
from osteon.training.sample_pictures import FOLDER as SAMPLES
from osteon.training.tracking import RECORD, Tracker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """What a run came to.

    Attributes:
        run: Its folder; the model is in `run/model`.
        validation: validation.json's content.
        failed: Cases that could not be prepared or validated, with the reason; they were left out.
        iterations: Iterations done.
        resumed: Whether the run went on from a checkpoint.
    """

    run: Path
    validation: dict[str, Any]
    failed: dict[str, OsteonError]
    iterations: int
    resumed: bool


@dataclass(frozen=True)
class UpdateTask:
    """What makes a training the update of another model.

    Attributes:
        record: What is written when it begins.
        repeats: Case id → how often it is drawn where others are drawn once.
        judge: Whether the new model is taken.
    """

    record: dict[str, Any]
    repeats: dict[str, int]
    judge: Judge


def read_report(run: Path) -> TrainReport:
    """What a finished run came to. Raises ModelError where it is not finished."""
    validation = load_model(finished_folder(run) or run / "model").validation
    return TrainReport(run, validation, {}, validation["training"]["iterations"], resumed=False)


def train(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    options: TrainOptions = DEFAULTS,
    *,
    restart: bool = False,
    is_fold: bool = False,
    folds: Sequence[Collection[str]] | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    update: UpdateTask | None = None,
) -> TrainReport:
    """Train, or go on with a training that was interrupted, and write `run/model`.

    Args:
        dataset: Its trainable cases are used; those held out are never read.
        plan: All decisions; copied into the run.
        run: The run's folder. A finished run is left as it is; an unfinished one goes on.
        options: What the plan does not decide.
        restart: Throw away what the run has done.
        is_fold: The run is one of several folds, which are put together later.
        folds: The cases of each fold; made when None.
        checkpoint_every_s: How much work may be lost at most when the process is killed.
        update: Where the run is an update of another model; `runs.update` makes it.

    Raises:
        UsageError: The options contradict each other or those the run was begun with; the model to begin with
            is of another architecture; another training works in the run.
        ModelError: The model to begin with lacks a file or is damaged.
        PlanError: The plan was made for other data.
        DatasetError: Too few cases for the folds; a structure occurs in no training case; no case could be prepared.
        FileError: The disk is full.
        RankError: Of several processes one has failed.
    """
    check_options(options, plan)
    check_plan_fits(dataset, plan)
    if run.resolve() == dataset.folder.resolve():
        raise UsageError(f"{run}: is the dataset's own folder", hint="give the run its own folder")
    begins_with = options.begins_with
    if begins_with is not None and Path(begins_with).resolve() in (run.resolve(), (run / "model").resolve()):
        option = "--init" if options.update is None else "--update"
        raise UsageError(
            f"{option} {begins_with}: is this run itself",
            hint=f"give the new run its own folder, or leave {option} out",
        )
    if restart and run.exists() and not (run / RUN).is_file() and any(path.name != LOCK for path in run.iterdir()):
        raise UsageError(
            f"{run}: is not a run ({RUN} is missing), so nothing in it is thrown away", hint="give the run's folder"
        )
    with hold_run(run, restart=restart):
        return _train(dataset, plan, run, options, folds, restart, is_fold, checkpoint_every_s, update)


def _train(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    options: TrainOptions,
    folds: Sequence[Collection[str]] | None,
    restart: bool,
    is_fold: bool,
    checkpoint_every_s: float,
    update: UpdateTask | None,
) -> TrainReport:
    if restart:
        for folder in ("checkpoints", "model", NOT_TAKEN, "predictions", BEFORE, SAMPLES, UNORDERED, "tensorboard"):
            shutil.rmtree(run / folder, ignore_errors=True)
        for file in (RUN, PLAN, SPLITS, TRANSFER, UPDATE, HISTORY, RECORD, "metrics.csv"):
            (run / file).unlink(missing_ok=True)
    done = finished_folder(run) is not None
    record_options(run, plan, options, started=done or (run / "checkpoints" / LAST).is_file())
    state = TrainingState() if done else read_last_state(run / "checkpoints")
    resumed = state.iteration > 0
    splits = recorded_splits(run, dataset.manifest, options.folds_by) if done or resumed else None
    if splits is None:
        split_cases(dataset, options, folds=folds)  # too few cases are said before they are prepared
    if done:
        logger.info(f"{run}: is trained already; --restart starts again")
        return read_report(run)
    with track_run(run, plan.dataset, options.track, run_parameters(plan, options), options.track_parent) as tracker:
        report = _fit(dataset, plan, run, options, folds, splits, state, is_fold, checkpoint_every_s, update, tracker)
        log_result(tracker, report.validation)
    return report


def _fit(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    options: TrainOptions,
    folds: Sequence[Collection[str]] | None,
    splits: dict[str, list[str]] | None,
    state: TrainingState,
    is_fold: bool,
    checkpoint_every_s: float,
    update: UpdateTask | None,
    tracker: Tracker | None,
) -> TrainReport:
    """What is left to do of a run that is not finished."""
    resumed = state.iteration > 0
    device = resolve_device(options.device)
    keep_freed_memory()
    begins_with, initial_state = options.begins_with, None
    if begins_with is not None and not resumed:
        initial_state = initial_weights(plan, begins_with, options.seed, run)
    cached, failed = prepare_cases(dataset, plan, dataset.manifest.trainable, workers=options.workers)
    for case_id, error in failed.items():
        logger.warning(f"left out: {case_id}: {error}")
    if splits is None:
        training_ids, validation_ids = split_cases(dataset, options, CaseContents.from_cache(cached), folds)
        splits = {"training": training_ids, "validation": validation_ids}
        write_yaml(run / SPLITS, splits)
        if update is not None:
            write_json(run / UPDATE, update.record)
    training = [cached[i] for i in splits["training"] if i in cached]
    validation = [cached[i] for i in splits["validation"] if i in cached]
    check_structures(dataset, plan.structures, structures_on_grid(plan, cached), {0: splits["training"]})
    if not resumed and (description := describe_loss(plan)):
        logger.info(description)
    if validation and not is_fold:
        progress_logger.info(describe_final_steps(plan, len(validation), _expected_training_s(plan, options, device)))
    seen = _seen_scans(run, training, validation, has_init=begins_with is not None)
    ids = [case.id for case in training], [case.id for case in validation]
    repeats = {} if update is None else update.repeats
    task = FitTask(dataset.folder, run, plan, options, state, *ids, checkpoint_every_s, repeats)
    with all_ranks(task, device) as own:
        module = fit_network(
            plan, run, options, state, training, validation, own, checkpoint_every_s, initial_state, repeats, tracker
        )
    network = choose_weights(run, module, state)
    report = finish(
        dataset,
        plan,
        run,
        network,
        own,
        ids[1],
        training,
        seen,
        state,
        options,
        failed,
        is_fold=is_fold,
        judge=None if update is None else update.judge,
    )
    (run / "checkpoints" / PREVIOUS).unlink(missing_ok=True)
    return TrainReport(run, report, failed, state.iteration, resumed)


def _seen_scans(run: Path, training: list[CachedCase], validation: list[CachedCase], *, has_init: bool) -> SeenScans:
    """What the model will have seen; validation scans that the weights it begins with were trained on are told."""
    trained, validated = ({case.id: case.content for case in cases} for cases in (training, validation))
    seen = SeenScans(trained, validated, seen_before(run) if has_init else {})
    trained_on_before = trained_on({case.id: seen.role_in_run(case.id, case.content) for case in validation})
    if trained_on_before:
        logger.warning(
            f"{len(trained_on_before)} of the {len(validation)} validation cases were trained on by the model "
            "that this one starts from, so its validation is too optimistic: "
            f"{', '.join(trained_on_before)}"
        )
    return seen


def _expected_training_s(plan: Plan, options: TrainOptions, device: str) -> float | None:
    """Seconds that the training will take; None where nothing was measured on such a device."""
    measured = device_kind(plan.forecast.device) == device_kind(device)
    per_iteration = plan.forecast.seconds_on(options.devices)
    if options.budget_s is not None or per_iteration is None or not measured:
        return options.budget_s
    epochs = options.epochs or plan.training.epochs
    return epochs * plan.training.epoch_iterations * per_iteration
