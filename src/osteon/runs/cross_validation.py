"""`--fold all`: a training for each fold, and a model made of all of them."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from osteon.core.errors import OsteonError
from osteon.core.files import whole_file, write_yaml
from osteon.core.progress import progress_logger
from osteon.dataset.dataset import Dataset
from osteon.networks.ensemble import Ensemble
from osteon.plan.schema import Plan
from osteon.predicting.model import Model, load_model
from osteon.predicting.records import WEIGHTS
from osteon.predicting.training_cases import together
from osteon.preparing.cache import prepare
from osteon.runs.finishing import PREDICTIONS, UNORDERED, Validated, conclude, extras_s, looks_at
from osteon.runs.fit import TrainReport, train
from osteon.runs.options import TrainOptions, check_options
from osteon.runs.record import RUN, SPLITS, check_plan_fits, hold_run, is_begun, record_choices, recorded_splits
from osteon.runs.splits import NOTHING_SHOWN, Shown, check_structures, folds_of, shown_on_grid
from osteon.training.checkpoint import State

logger = logging.getLogger(__name__)
FOLD = "fold-{}"


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
    folds_of(dataset, options)  # too few cases are said before any is read
    with hold_run(run, restart=restart):
        return _train_folds(dataset, plan, run, options, restart=restart)


def _train_folds(dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, *, restart: bool) -> TrainReport:
    folders = [run / FOLD.format(number) for number in range(options.folds)]
    if restart:
        for part in (*folders, run / "model", run / PREDICTIONS, run / UNORDERED):
            shutil.rmtree(part, ignore_errors=True)
        (run / SPLITS).unlink(missing_ok=True)
    done = (run / "model" / WEIGHTS).is_file()
    begun = done or ((run / RUN).is_file() and any(is_begun(folder) for folder in folders))
    record_choices(run, plan, options, begun=begun)
    if done:
        logger.info(f"{run}: is trained already; --restart begins anew")
        validation = load_model(run / "model").validation
        return TrainReport(run, validation, {}, validation["training"]["iterations"], resumed=False)
    folds, failed = _folds(dataset, plan, run, options, begun=begun)
    resumed = False
    for number, folder in enumerate(folders):
        progress_logger.info(f"fold {number} of {options.folds}")
        report = train(dataset, plan, folder, replace(options, fold=number), part=True, folds=folds)
        failed |= report.failed
        resumed |= report.resumed
    validation = _put_together(dataset, plan, run, folders, options)
    return TrainReport(run, validation, failed, validation["training"]["iterations"], resumed)


def _folds(
    dataset: Dataset, plan: Plan, run: Path, options: TrainOptions, *, begun: bool
) -> tuple[list[list[str]], dict[str, OsteonError]]:
    """The folds, all of whose trainings see every structure, and the cases that could not be prepared.

    They are written into the run before the first one begins: what the cases show may change until the last one does.
    """
    cached, failed = prepare(dataset, plan, dataset.manifest.trainable, workers=options.workers)
    splits = recorded_splits(run, dataset.manifest, options.folds_by) if begun else None
    if splits is None:
        # folds of a run that was begun by an osteon that did not write them were made without knowing what cases show
        folds = folds_of(dataset, options, NOTHING_SHOWN if begun else Shown.of(cached))
        splits = {FOLD.format(number): fold for number, fold in enumerate(folds)}
    everyone = {case for fold in splits.values() for case in fold}
    training = {number: everyone.difference(fold) for number, fold in enumerate(splits.values())}
    check_structures(dataset, plan.structures, shown_on_grid(plan, cached), training)
    write_yaml(run / SPLITS, splits)
    return list(splits.values()), failed


def _put_together(
    dataset: Dataset, plan: Plan, run: Path, folders: list[Path], options: TrainOptions
) -> dict[str, Any]:
    """The model of all folds; what is chosen by evidence is chosen on all cases."""
    models = [load_model(folder) for folder in folders]
    told = [model.validation for model in models]
    for part in (PREDICTIONS, f"{UNORDERED}/{PREDICTIONS}"):
        _gather([folder / part for folder in folders], run / part)
    validated = Validated(_all(told, "cases"), _all([each["confidence"] for each in told], "each"))
    unordered = None
    if plan.series is not None:
        named = [each.get("series", {}) for each in told]
        unordered = Validated(_all(named, "as_found_cases"), _all(named, "as_found_raw"))
    state = State(
        iteration=sum(each["training"]["iterations"] for each in told),
        elapsed_s=sum(each["training"]["seconds"] for each in told),
        finished=f"{len(models)} folds done",
    )
    cached, _ = prepare(dataset, plan, dataset.manifest.trainable, workers=options.workers)
    reference = [looks_at(case, dataset, plan) for case in cached.values()]
    network, seen = Ensemble([model.network for model in models]).eval(), together(model.seen for model in models)
    ensemble = Model(network, plan, {}, "", reference=reference, seen=seen)
    timed = _mean_speeds([each.get("speeds", {}) for each in told], len(models))
    until = time.monotonic() + extras_s(state.elapsed_s)
    return conclude(dataset, ensemble, validated, unordered, run, state, options, speeds=timed, until=until)


def _mean_speeds(folds: list[dict[str, Any]], members: int) -> dict[str, dict[str, float | None]]:
    """Of the folds' own networks; all of them together take as many times as long."""
    found: dict[str, dict[str, float | None]] = {}
    for name in folds[0] if folds else ():
        known = [fold[name] for fold in folds if fold.get(name, {}).get("dice") is not None]
        if known:
            found[name] = {
                "dice": round(fmean(one["dice"] for one in known), 5),
                "seconds": round(members * fmean(one["seconds"] for one in known), 3),
                "cases": sum(one["cases"] for one in known),
            }
    return found


def _all(parts: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """What the folds say of their cases, in one."""
    return {case: said for part in parts for case, said in part.get(key, {}).items()}


def _gather(folders: list[Path], target: Path) -> None:
    """The folds' files in one folder: links, where the disk allows it."""
    for path in (path for folder in folders for path in sorted(folder.glob("[!.]*"))):
        with whole_file(target / path.name) as temporary:
            try:
                os.link(path, temporary)
            except OSError:
                shutil.copyfile(path, temporary)
