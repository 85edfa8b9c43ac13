"""The end of a run: the model is validated and calibrated, its post-processing chosen, and all of it written."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.errors import OsteonError
from osteon.core.labels import Segmentation
from osteon.core.progress import format_duration
from osteon.core.text import pluralise
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.formats.io import read_segmentation, write_segmentation
from osteon.plan.schema import Plan
from osteon.predicting.confidence import calibrate
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.predicting.postprocessing import NONE, Postprocessing, apply_postprocessing
from osteon.predicting.predictor import output_path
from osteon.predicting.reference_statistics import ReferenceStatistics, measure_statistics
from osteon.predicting.training_cases import KEY, SeenScans
from osteon.preparing.cache import CachedCase
from osteon.preparing.strategies import grid_strategy
from osteon.runs.card import model_card
from osteon.runs.final_validation import PREDICTIONS, UNORDERED, ValidationResult, predict_validation, without_sequence
from osteon.runs.level_calibration import fit_trust
from osteon.runs.options import TrainOptions
from osteon.runs.piece_scores import score_predicted_pieces
from osteon.runs.postprocessing_search import JudgedCase, choose_steps
from osteon.runs.record import plan_hash
from osteon.runs.scoring import measure_speeds, round_dice, score_scan, select_structures
from osteon.runs.update_files import LABELS, NOT_TAKEN, finished_folder, label_versions
from osteon.training.checkpoint import TrainingState
from osteon.training.validation import Scores, mean_over_structures, mean_scores

logger = logging.getLogger(__name__)
EXTRAS_SHARE = 0.2
"""Measuring speeds and choosing post-processing take at most this part of the training's time,"""
MIN_EXTRAS_S = 10.0
"""or so many seconds."""
Judge = Callable[[Plan, ValidationResult, ValidationResult | None], bool]
"""Whether a model is taken, by what its validation cases came to, and came to without names in order."""
MAX_SEQUENCE_LOSS = 1e-3
"""Mean Dice: where naming a sequence in order costs more than this on validation scans, it is left out."""


def finish(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    network: torch.nn.Module,
    device: str,
    validation_ids: list[str],
    training: Sequence[CachedCase],
    seen: SeenScans,
    state: TrainingState,
    options: TrainOptions,
    failed: dict[str, OsteonError],
    *,
    is_fold: bool = False,
    judge: Judge | None = None,
) -> dict[str, Any]:
    """Validate on the scans' own grids, write predictions/ and model/; nothing where that is done already.

    A case that cannot be validated is added to `failed`, and the others go on.

    Args:
        dataset: With the validation cases.
        plan: What was trained.
        run: The run's folder.
        network: The weights that are kept.
        device: What to predict on.
        validation_ids: Cases that were not trained on.
        training: The prepared cases that were.
        seen: All of these, for the model to tell later.
        state: Where the training ended.
        options: What it was begun with.
        failed: Cases that were left out, and why.
        is_fold: The run is one of several folds: what is chosen by evidence is chosen later, on all of them.
        judge: Whether the model is taken; one that is not goes into `NOT_TAKEN`, and nothing more is measured of it.

    Returns:
        validation.json's content: Dice of each case and structure, the means, how the model was trained.
    """
    folder = finished_folder(run)
    if folder is not None:
        return load_model(folder).validation
    reference = [case_statistics(case, dataset, plan) for case in training]
    model = Model(network.to(device), plan, {}, "", reference=reference, seen=seen)
    began = time.monotonic()
    validation, unordered = predict_validation(dataset, model, validation_ids, run, failed)
    taken = judge is None or judge(model.plan, validation, unordered)
    now, limit_s = time.monotonic(), extras_budget_s(state.elapsed_s) if taken else 0.0
    each_s = (now - began) / max(1, len(validation_ids))
    timed = [] if plan.clicks is not None else list(validation.cases)
    speeds = measure_speeds(dataset, model, timed, now + limit_s / 2, each_s)
    until = now + limit_s
    return write_model(
        dataset,
        model,
        validation,
        unordered,
        run,
        state,
        options,
        is_fold=is_fold,
        speeds=speeds,
        until=until,
        folder="model" if taken else NOT_TAKEN,
    )


def extras_budget_s(trained_s: float) -> float:
    """Seconds that measuring speeds and choosing post-processing may take after so many of training."""
    return max(MIN_EXTRAS_S, EXTRAS_SHARE * trained_s)


def describe_final_steps(plan: Plan, cases: int, trained_s: float | None) -> str:
    """What will follow a training, and about how long that takes.

    Args:
        plan: With its forecast.
        cases: Scans to validate on, at least one.
        trained_s: Seconds of training; None: unknown.
    """
    seconds = plan.forecast.predicting_seconds
    about = f", about {format_duration(cases * seconds)}" if seconds is not None else ""
    most = "" if trained_s is None else f", {format_duration(extras_budget_s(trained_s))} at most"
    scans = pluralise(cases, "whole scan")
    return f"afterwards: validating on {scans}{about}, then measuring speeds and choosing post-processing{most}"


def write_model(
    dataset: Dataset,
    model: Model,
    validation: ValidationResult,
    unordered: ValidationResult | None,
    run: Path,
    state: TrainingState,
    options: TrainOptions,
    *,
    is_fold: bool = False,
    speeds: dict[str, dict[str, float | None]] | None = None,
    until: float = math.inf,
    folder: str = "model",
) -> dict[str, Any]:
    """Choose what follows a prediction by evidence, calibrate the confidence, and write the model.

    Args:
        dataset: With the references.
        model: As it predicted, with what its training cases look like, and which scans it has seen.
        validation: Its validation cases, whose segmentations lie in `run`/predictions.
        unordered: The same without names in order, in `run`/unordered; None where the plan has no sequence.
        run: The run's folder. Predictions are written anew where something was chosen.
        state: Where the training ended.
        options: What it was begun with.
        is_fold: Choose nothing, and keep both kinds of predictions.
        speeds: What `measure_speeds` found.
        until: When to stop choosing, by `time.monotonic`.
        folder: Of the model, in the run's.

    Returns:
        validation.json's content.
    """
    plan, steps = model.plan, NONE
    sequence: dict[str, Any] = {}
    if unordered is not None:
        sequence = {"ordered": round_dice(validation.mean(plan)), "as_found": round_dice(unordered.mean(plan))}
        if is_fold:
            sequence |= {"as_found_cases": round_scores(unordered.cases), "as_found_raw": unordered.raw}
    if not is_fold:
        plan, validation = _choose_sequence(plan, validation, unordered, run)
    if not is_fold and plan.clicks is None:
        steps = choose_steps(
            plan, list(validation.cases), lambda case_id: _load_judged_case(dataset, plan, case_id, run), until
        )
    cases = validation.cases
    if steps.steps:
        cases = {case_id: _postprocess_case(dataset, plan, case_id, run, steps) for case_id in cases}
    means = mean_scores(list(cases.values()), plan.structures)
    pieces = score_predicted_pieces(dataset, plan, cases, run / PREDICTIONS)
    result = {
        "dice": round_dice(mean_over_structures(means)),
        "structures": {name: round_dice(value) for name, value in means.items()},
        "cases": round_scores(cases),
        **({"pieces": pieces} if pieces else {}),
        **({"clicks": validation.clicks} if validation.clicks else {}),
        "confidence": calibrate(_confidence_pairs(cases, validation.raw)).model_dump() | {"each": validation.raw},
        "postprocessing": steps.describe(pixels=plan.unit == "px"),
        "speeds": speeds or {},
        **({"series": sequence} if sequence else {}),
        **_calibrate_levels(validation, plan),
        "training": {
            "cases": len(model.reference),
            "iterations": state.iteration,
            "seconds": round(state.elapsed_s, 1),
            "ended": state.finished,
            **{key: value for key, value in asdict(options).items() if key not in ("workers", "track", "track_parent")},
        },
        "versions": {"osteon": __version__, "torch": str(torch.__version__), "plan": plan_hash(plan)},
        KEY: model.seen.to_dict(),
        LABELS: label_versions(dataset, model.seen.training),
    }
    finished_model = replace(model, plan=plan, validation=result, postprocessing=steps)
    save_model(run / folder, finished_model, model_card(dataset, finished_model))
    return result


def _choose_sequence(
    plan: Plan, validation: ValidationResult, unordered: ValidationResult | None, run: Path
) -> tuple[Plan, ValidationResult]:
    """Names in order, unless the validation cases are better without; their predictions then take the others' place."""
    ordered, plain = validation.mean(plan), None if unordered is None else unordered.mean(plan)
    if unordered is None or ordered is None or plain is None or plan.sequence is None:
        return plan, validation
    message = f"names in order: mean validation Dice {ordered:.3f}, as found {plain:.3f}"
    harmful = ordered < plain - MAX_SEQUENCE_LOSS
    if harmful:
        logger.info(f"{message}; names stay as found")
        for path in (run / UNORDERED / PREDICTIONS).glob("[!.]*"):
            path.replace(run / PREDICTIONS / path.name)
    shutil.rmtree(run / UNORDERED, ignore_errors=True)
    if harmful:
        return without_sequence(plan), unordered
    sequence = plan.sequence.model_copy(update={"why": [*plan.sequence.why, message]})
    return plan.model_copy(update={"sequence": sequence}), validation


def _calibrate_levels(validation: ValidationResult, plan: Plan) -> dict[str, Any]:
    """How sharp the levels of a sequence's bodies are, and what that follows from."""
    views = [view for each in validation.levels.values() for view in each]
    if plan.sequence is None or not views:
        return {}
    trust = fit_trust(views, plan.sequence)
    cases = {case_id: [view.model_dump() for view in each] for case_id, each in validation.levels.items()}
    return {"levels": {"views": len(views), "cases": cases} | ({} if trust is None else trust.model_dump())}


def _confidence_pairs(cases: dict[str, Scores], raw: dict[str, dict[str, float | None]]) -> list[tuple[float, float]]:
    """Raw confidence and Dice of each structure that was found."""
    return [
        (figure, dice)
        for case_id, scores in cases.items()
        for name, dice in scores.items()
        if dice is not None and (figure := raw.get(case_id, {}).get(name)) is not None
    ]


def case_statistics(case: CachedCase, dataset: Dataset, plan: Plan) -> ReferenceStatistics:
    """A prepared training case's intensities, extent and volumes, with which scans are compared in predicting."""
    reoriented = grid_strategy(plan).transform(dataset.geometry(dataset.case(case.id))).reoriented
    annotated = None
    if not all(case.annotated):
        annotated = tuple(s.name for s, known in zip(plan.structures, case.annotated, strict=True) if known)
    labels = np.asarray(case.labels)
    return measure_statistics(case.image, labels, plan, reoriented.spacing_mm, reoriented.extent_mm, annotated)


def _load_judged_case(dataset: Dataset, plan: Plan, case_id: str, run: Path) -> JudgedCase:
    case = dataset.case(case_id)
    prediction = read_segmentation(output_path(run / PREDICTIONS, case_id, plan), plan.structures)
    array = select_structures(dataset.load_segmentation(case), plan.structures)
    names = [s.name for s in plan.structures] if case.annotated is None else case.annotated
    reference = Segmentation(array, prediction.geometry, tuple(plan.structures))
    return JudgedCase(prediction, reference, frozenset(names))


def _postprocess_case(dataset: Dataset, plan: Plan, case_id: str, run: Path, steps: Postprocessing) -> Scores:
    """Write a case's prediction with the steps taken, and score it."""
    path = output_path(run / PREDICTIONS, case_id, plan)
    processed = apply_postprocessing(read_segmentation(path, plan.structures, pieces=True), steps)
    write_segmentation(path, processed)
    return score_scan(dataset, plan, case_id, processed)


def round_scores(cases: dict[str, Scores]) -> dict[str, Scores]:
    """Each case's Dice, rounded for files."""
    return {case_id: {name: round_dice(value) for name, value in scores.items()} for case_id, scores in cases.items()}
