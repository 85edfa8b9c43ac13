"""`--fold all`: a training for each fold, and a model made of all of them."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from osteon.core.errors import OsteonError
from osteon.core.files import link_or_copy, write_yaml
from osteon.core.progress import progress_logger
from osteon.dataset.dataset import Dataset
from osteon.networks.ensemble import Ensemble
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import WEIGHTS
from osteon.predicting.training_cases import merge_seen_scans
from osteon.preparing.cache import prepare_cases
from osteon.runs.final_validation import PREDICTIONS, UNORDERED, ValidationResult
from osteon.runs.finish import case_statistics, extras_budget_s, write_model
from osteon.runs.fit import TrainReport, read_report, train
from osteon.runs.level_calibration import LevelView
from osteon.runs.options import TrainOptions, check_options
from osteon.runs.record import RUN, SPLITS, check_plan_fits, has_started, hold_run, record_options, recorded_splits
from osteon.runs.splits import NO_CONTENTS, CaseContents, check_structures, make_run_folds, structures_on_grid
from osteon.runs.tracked_run import log_result, run_parameters, track_run
from osteon.training.checkpoint import TrainingState
from osteon.training.tracking import RECORD

logger = logging.getLogger(__name__)
FOLD_NAME = "fold-{}"


def train_all_folds(
    dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, *, restart: bool = False
) -> TrainReport:
    """Train once for each fold, then put the networks together as one model.

    Each fold is a run of its own in `run`/fold-K, with the time or epochs of `options`; one that is done is left as it
    is, one that was interrupted goes on. The model's validation is that of all cases, each by the network that had not
    seen it; these predictions lie in `run`/predictions.

    Args:
        dataset: Its trainable cases.
        plan: All decisions.
        run: The folder.
        options: With `fold` "all".
        restart: Throw away what the folds have done.

    Raises:
        As `fit.train`.
    """
    check_options(options, plan)
    check_plan_fits(dataset, plan)
    make_run_folds(dataset, options)  # too few cases are said before any is read
    with hold_run(run, restart=restart):
        return _train_folds(dataset, plan, run, options, restart=restart)


def _train_folds(dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, *, restart: bool) -> TrainReport:
    folders = [run / FOLD_NAME.format(number) for number in range(options.folds)]
    if restart:
        for part in (*folders, run / "model", run / PREDICTIONS, run / UNORDERED):
            shutil.rmtree(part, ignore_errors=True)
        for file in (SPLITS, RECORD):
            (run / file).unlink(missing_ok=True)
    done = (run / "model" / WEIGHTS).is_file()
    started = done or ((run / RUN).is_file() and any(has_started(folder) for folder in folders))
    record_options(run, plan, options, started=started)
    if done:
        logger.info(f"{run}: is trained already; --restart starts again")
        return read_report(run)
    with track_run(run, plan.dataset, options.track, run_parameters(plan, options), options.track_parent) as tracker:
        own = options if tracker is None else replace(options, track_parent=tracker.run_id)
        report = _fit_folds(dataset, plan, run, own, folders, started=started)
        log_result(tracker, report.validation)
    return report


def _fit_folds(
    dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, folders: list[Path], *, started: bool
) -> TrainReport:
    """Each fold, and the model of all of them."""
    folds, failed = _prepare_folds(dataset, plan, run, options, started=started)
    resumed = False
    for number, folder in enumerate(folders):
        progress_logger.info(f"fold {number} of {options.folds}")
        report = train(dataset, plan, folder, replace(options, fold=number), is_fold=True, folds=folds)
        failed |= report.failed
        resumed |= report.resumed
    validation = _build_ensemble(dataset, plan, run, folders, options)
    return TrainReport(run, validation, failed, validation["training"]["iterations"], resumed)


def _prepare_folds(
    dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, *, started: bool
) -> tuple[list[list[str]], dict[str, OsteonError]]:
    """The folds, all of whose trainings see every structure, and the cases that could not be prepared.

    They are written into the run before the first one begins: what the cases show may change until the last one does.
    """
    cached, failed = prepare_cases(dataset, plan, dataset.manifest.trainable, workers=options.workers)
    splits = recorded_splits(run, dataset.manifest, options.folds_by) if started else None
    if splits is None:
        # folds of a run that was begun by an osteon that did not write them were made without knowing what cases show
        folds = make_run_folds(dataset, options, NO_CONTENTS if started else CaseContents.from_cache(cached))
        splits = {FOLD_NAME.format(number): fold for number, fold in enumerate(folds)}
    everyone = {case for fold in splits.values() for case in fold}
    training = {number: everyone.difference(fold) for number, fold in enumerate(splits.values())}
    check_structures(dataset, plan.structures, structures_on_grid(plan, cached), training)
    write_yaml(run / SPLITS, splits)
    return list(splits.values()), failed


def _build_ensemble(
    dataset: Dataset, plan: Plan, run: Path, folders: list[Path], options: TrainOptions
) -> dict[str, Any]:
    """The model of all folds; what is chosen by evidence is chosen on all cases."""
    models = [load_model(folder) for folder in folders]
    validations = [model.validation for model in models]
    for part in (PREDICTIONS, f"{UNORDERED}/{PREDICTIONS}"):
        _collect_files([folder / part for folder in folders], run / part)
    validation = ValidationResult(
        _merge_cases(validations, "cases"),
        _merge_cases([each["confidence"] for each in validations], "each"),
        {
            case_id: [LevelView.model_validate(view) for view in views]
            for case_id, views in _merge_cases([each.get("levels", {}) for each in validations], "cases").items()
        },
    )
    unordered = None
    if plan.sequence is not None and not plan.sequence.bodies:
        named = [each.get("series", {}) for each in validations]
        unordered = ValidationResult(_merge_cases(named, "as_found_cases"), _merge_cases(named, "as_found_raw"))
    state = TrainingState(
        iteration=sum(each["training"]["iterations"] for each in validations),
        elapsed_s=sum(each["training"]["seconds"] for each in validations),
        finished=f"{len(models)} folds done",
    )
    cached, _ = prepare_cases(dataset, plan, dataset.manifest.trainable, workers=options.workers)
    reference = [case_statistics(case, dataset, plan) for case in cached.values()]
    network = Ensemble([model.network for model in models]).eval()
    seen = merge_seen_scans(model.seen for model in models)
    ensemble = Model(network, plan, {}, "", reference=reference, seen=seen)
    speeds = _mean_speeds([each.get("speeds", {}) for each in validations], len(models))
    until = time.monotonic() + extras_budget_s(state.elapsed_s)
    return write_model(dataset, ensemble, validation, unordered, run, state, options, speeds=speeds, until=until)


def _mean_speeds(folds: list[dict[str, Any]], members: int) -> dict[str, dict[str, float | None]]:
    """Of the folds' own networks; all of them together take as many times as long."""
    means: dict[str, dict[str, float | None]] = {}
    for name in folds[0] if folds else ():
        measured_folds = [fold[name] for fold in folds if fold.get(name, {}).get("dice") is not None]
        if measured_folds:
            means[name] = {
                "dice": round(fmean(one["dice"] for one in measured_folds), 5),
                "seconds": round(members * fmean(one["seconds"] for one in measured_folds), 3),
                "cases": sum(one["cases"] for one in measured_folds),
            }
    return means


def _merge_cases(parts: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """The value of a key of each fold's record, case id → value, in one mapping."""
    return {case: scores for part in parts for case, scores in part.get(key, {}).items()}


def _collect_files(folders: list[Path], target: Path) -> None:
    """The folds' files in one folder: links, where the disk allows it."""
    for path in (path for folder in folders for path in sorted(folder.glob("[!.]*"))):
        link_or_copy(path, target / path.name)
