"""The end of a run: the model predicts the validation cases as it would any scan, and is written with the result."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.errors import OsteonError
from osteon.core.labels import Segmentation
from osteon.core.parallel import failure_of
from osteon.core.progress import clock, track
from osteon.core.version import __version__
from osteon.dataset.dataset import Dataset
from osteon.formats.registry import read_segmentation, write_segmentation
from osteon.plan.schema import Plan
from osteon.predicting.confidence import calibrate
from osteon.predicting.model import Model, Prediction, extent_mm, load_model, save_model
from osteon.predicting.postprocessing import NONE, Postprocessing, postprocess
from osteon.predicting.predictor import output_path
from osteon.predicting.records import WEIGHTS
from osteon.predicting.reference_statistics import Looks, looks_of
from osteon.predicting.training_cases import KEY, SeenScans
from osteon.preparing.cache import CachedCase
from osteon.preparing.case import passage
from osteon.runs.card import card
from osteon.runs.options import TrainOptions
from osteon.runs.postprocessing_search import Judged, choose_steps
from osteon.runs.record import plan_hash
from osteon.runs.scoring import as_planned, measure_speeds, rounded, score_scan
from osteon.training.checkpoint import State
from osteon.training.validation import Scores, mean_scores, overall

logger = logging.getLogger(__name__)
PREDICTIONS = "predictions"
UNORDERED = "unordered"
EXTRAS_SHARE = 0.2
"""Measuring speeds and choosing post-processing take at most this part of the training's time,"""
LEAST_EXTRAS_S = 10.0
"""or so many seconds."""
LEAST_DROP = 1e-3
"""Mean Dice: where naming a series in order costs more than this on scans that were not trained on, it is left out."""


@dataclass(frozen=True)
class Validated:
    """What validation cases came to, without post-processing.

    Attributes:
        cases: Dice of each case and structure.
        raw: Raw confidence of each case and structure.
    """

    cases: dict[str, Scores]
    raw: dict[str, dict[str, float | None]]

    def mean(self, plan: Plan) -> float | None:
        """Mean Dice over the structures' means."""
        return overall(mean_scores(list(self.cases.values()), plan.structures))


def finish(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    network: torch.nn.Module,
    device: str,
    validation_ids: list[str],
    training: Sequence[CachedCase],
    seen: SeenScans,
    state: State,
    options: TrainOptions,
    failed: dict[str, OsteonError],
    *,
    part: bool = False,
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
        part: The run is one of several folds: what is chosen by evidence is chosen later, on all of them.

    Returns:
        validation.json's content: Dice of each case and structure, the means, how the model was trained.
    """
    folder = run / "model"
    if (folder / WEIGHTS).is_file():
        return load_model(folder).validation
    reference = [looks_at(case, dataset, plan) for case in training]
    model = Model(network.to(device), plan, {}, "", reference=reference, seen=seen)
    began = time.monotonic()
    validated, unordered = _predicted(dataset, model, validation_ids, run, failed)
    now, most_s = time.monotonic(), extras_s(state.elapsed_s)
    each_s = (now - began) / max(1, len(validation_ids))
    timed = measure_speeds(dataset, model, list(validated.cases), now + most_s / 2, each_s)
    until = now + most_s
    return conclude(dataset, model, validated, unordered, run, state, options, part=part, speeds=timed, until=until)


def extras_s(trained_s: float) -> float:
    """Seconds that measuring speeds and choosing post-processing may take after so many of training."""
    return max(LEAST_EXTRAS_S, EXTRAS_SHARE * trained_s)


def describe_end(plan: Plan, cases: int, trained_s: float | None) -> str:
    """What will follow a training, and about how long that takes.

    Args:
        plan: With its forecast.
        cases: Scans to validate on, at least one.
        trained_s: Seconds of training; None: unknown.
    """
    seconds = plan.forecast.predicting_seconds
    about = f", about {clock(cases * seconds)}" if seconds is not None else ""
    most = "" if trained_s is None else f", {clock(extras_s(trained_s))} at most"
    scans = f"{cases} whole scan{'s' * (cases != 1)}"
    return f"afterwards: validating on {scans}{about}, then measuring speeds and choosing post-processing{most}"


def conclude(
    dataset: Dataset,
    model: Model,
    validated: Validated,
    unordered: Validated | None,
    run: Path,
    state: State,
    options: TrainOptions,
    *,
    part: bool = False,
    speeds: dict[str, dict[str, float | None]] | None = None,
    until: float = math.inf,
) -> dict[str, Any]:
    """Choose what follows a prediction by evidence, calibrate the confidence, and write the model.

    Args:
        dataset: With the references.
        model: As it predicted, with what its training cases look like, and which scans it has seen.
        validated: Its validation cases, whose segmentations lie in `run`/predictions.
        unordered: The same without names in order, in `run`/unordered; None where the plan has no series.
        run: The run's folder. Predictions are written anew where something was chosen.
        state: Where the training ended.
        options: What it was begun with.
        part: Choose nothing, and keep both kinds of predictions.
        speeds: What `measure_speeds` found.
        until: When to stop choosing, by `time.monotonic`.

    Returns:
        validation.json's content.
    """
    plan, steps = model.plan, NONE
    series: dict[str, Any] = {}
    if unordered is not None:
        series = {"series": {"ordered": rounded(validated.mean(plan)), "as_found": rounded(unordered.mean(plan))}}
    if part:
        if unordered is not None:
            series["series"] |= {"as_found_cases": _all_rounded(unordered.cases), "as_found_raw": unordered.raw}
    else:
        plan, validated = _with_or_without_series(plan, validated, unordered, run)
        steps = choose_steps(plan, list(validated.cases), lambda case_id: _judged(dataset, plan, case_id, run), until)
    cases = validated.cases
    if steps.steps:
        cases = {case_id: _rescored(dataset, plan, case_id, run, steps) for case_id in cases}
    means = mean_scores(list(cases.values()), plan.structures)
    result = {
        "dice": rounded(overall(means)),
        "structures": {name: rounded(value) for name, value in means.items()},
        "cases": _all_rounded(cases),
        "confidence": calibrate(_pairs(cases, validated.raw)).as_data | {"each": validated.raw},
        "postprocessing": steps.told(pixels=plan.unit == "px"),
        "speeds": speeds or {},
        **series,
        **_how(plan, len(model.reference), state, options),
        KEY: model.seen.as_data,
    }
    done = replace(model, plan=plan, validation=result, postprocessing=steps)
    save_model(run / "model", done, card(dataset, done))
    return result


def _with_or_without_series(
    plan: Plan, validated: Validated, unordered: Validated | None, run: Path
) -> tuple[Plan, Validated]:
    """Names in order, unless the validation cases are better without; their predictions then take the others' place."""
    ordered, plain = validated.mean(plan), None if unordered is None else unordered.mean(plan)
    if unordered is None or ordered is None or plain is None or plan.series is None:
        return plan, validated
    said = f"names in order: mean validation Dice {ordered:.3f}, as found {plain:.3f}"
    harmful = ordered < plain - LEAST_DROP
    if harmful:
        logger.info(f"{said}; names stay as found")
        for path in (run / UNORDERED / PREDICTIONS).glob("[!.]*"):
            path.replace(run / PREDICTIONS / path.name)
    shutil.rmtree(run / UNORDERED, ignore_errors=True)
    if harmful:
        return without_series(plan), unordered
    series = plan.series.model_copy(update={"why": [*plan.series.why, said]})
    return plan.model_copy(update={"series": series}), validated


def without_series(plan: Plan) -> Plan:
    """The plan without names in order."""
    return plan.model_copy(update={"series": None})


def _pairs(cases: dict[str, Scores], raw: dict[str, dict[str, float | None]]) -> list[tuple[float, float]]:
    """Raw confidence and Dice of each structure that was found."""
    return [
        (figure, dice)
        for case_id, scores in cases.items()
        for name, dice in scores.items()
        if dice is not None and (figure := raw.get(case_id, {}).get(name)) is not None
    ]


def looks_at(case: CachedCase, dataset: Dataset, plan: Plan) -> Looks:
    """What a prepared training case looks like."""
    turned = passage(dataset.geometry(dataset.case(case.id)), plan.grid).turned
    known = tuple(s.name for s, there in zip(plan.structures, case.annotated, strict=True) if there)
    looked_for = None if all(case.annotated) else known
    return looks_of(case.image, np.asarray(case.labels), plan, turned.spacing_mm, extent_mm(turned), looked_for)


def _predicted(
    dataset: Dataset, model: Model, ids: Sequence[str], run: Path, failed: dict[str, OsteonError]
) -> tuple[Validated, Validated | None]:
    """Predict cases into `run`/predictions, and score them; where the plan has a series, also without it.

    Returns:
        As the plan has it, and into `run`/unordered, None without a series: the network looks once for both.
    """
    series = model.plan.series is not None
    plain = replace(model, plan=without_series(model.plan))
    validated, unordered = Validated({}, {}), Validated({}, {}) if series else None
    for case_id in track(ids, "validating"):
        try:
            prepared = plain.prepare(dataset.load_image(dataset.case(case_id)))
            shares = plain.infer(prepared)
            if unordered is not None:
                _keep(dataset, plain.conclude(prepared, shares), case_id, run / UNORDERED, plain.plan, unordered)
            prediction = model.conclude(prepared, model.name_in_order(shares))
            _keep(dataset, prediction, case_id, run, model.plan, validated)
        except Exception as error:  # noqa: BLE001 (bugs are raised again)
            failed[case_id] = failure_of(case_id, error)
            if unordered is not None:
                unordered.cases.pop(case_id, None)
                unordered.raw.pop(case_id, None)
            logger.warning(f"not validated: {case_id}: {failed[case_id]}")
    return validated, unordered if validated.cases else None


def _keep(dataset: Dataset, prediction: Prediction, case_id: str, run: Path, plan: Plan, validated: Validated) -> None:
    write_segmentation(output_path(run / PREDICTIONS, case_id, plan), prediction.segmentation)
    validated.cases[case_id] = score_scan(dataset, plan, case_id, prediction.segmentation)
    validated.raw[case_id] = prediction.raw


def _judged(dataset: Dataset, plan: Plan, case_id: str, run: Path) -> Judged:
    case = dataset.case(case_id)
    prediction = read_segmentation(output_path(run / PREDICTIONS, case_id, plan), plan.structures)
    array = as_planned(dataset.load_segmentation(case), plan.structures)
    names = [s.name for s in plan.structures] if case.annotated is None else case.annotated
    reference = Segmentation(array, prediction.geometry, tuple(plan.structures))
    return Judged(prediction, reference, frozenset(names))


def _rescored(dataset: Dataset, plan: Plan, case_id: str, run: Path, steps: Postprocessing) -> Scores:
    """Write a case's prediction with the steps taken, and score it."""
    path = output_path(run / PREDICTIONS, case_id, plan)
    changed = postprocess(read_segmentation(path, plan.structures), steps)
    write_segmentation(path, changed)
    return score_scan(dataset, plan, case_id, changed)


def _how(plan: Plan, training_cases: int, state: State, options: TrainOptions) -> dict[str, Any]:
    """What validation.json says of the training."""
    return {
        "training": {
            "cases": training_cases,
            "iterations": state.iteration,
            "seconds": round(state.elapsed_s, 1),
            "ended": state.finished,
            **{key: value for key, value in asdict(options).items() if key != "workers"},
        },
        "versions": {"osteon": __version__, "torch": str(torch.__version__), "plan": plan_hash(plan)},
    }


def _all_rounded(cases: dict[str, Scores]) -> dict[str, Scores]:
    return {case_id: {name: rounded(value) for name, value in scores.items()} for case_id, scores in cases.items()}
