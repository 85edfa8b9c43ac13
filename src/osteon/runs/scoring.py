"""Predictions of whole scans on their own grids, scored; and what each speed costs in Dice."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from osteon.core.label_values import remap_values
from osteon.core.labels import Segmentation, Structure
from osteon.core.progress import track
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.speed import SPEEDS
from osteon.training.validation import Scores, case_dice, mean_over_structures, mean_scores

MAX_TIMED_CASES = 6
"""Validation cases on which speeds are measured."""


def score_scan(dataset: Dataset, plan: Plan, case_id: str, segmentation: Segmentation) -> Scores:
    """Dice of each annotated structure of one case; all pieces of one are one."""
    case = dataset.case(case_id)
    annotated_names = case.annotated
    annotated = [annotated_names is None or s.name in annotated_names for s in plan.structures]
    reference = select_structures(dataset.load_segmentation(case), plan.structures)
    return case_dice(segmentation.merged().array, reference, plan.structures, annotated)


def measure_speeds(
    dataset: Dataset, model: Model, ids: Sequence[str], until: float = math.inf, each_s: float = 0.0
) -> dict[str, dict[str, float | None]]:
    """Mean Dice, without post-processing, and seconds a scan of each speed, on a few of the validation cases.

    Args:
        dataset: With the references.
        model: What predicts.
        ids: The validation cases.
        until: By `time.monotonic`: no scan is begun that would not be done by then, as far as the one before tells.
        each_s: About how long a scan takes once.
    """
    picks = [int(n) for n in np.unique(np.linspace(0, len(ids) - 1, MAX_TIMED_CASES).astype(int))] if ids else []
    scores: dict[str, list[Scores]] = {speed.name: [] for speed in SPEEDS}
    seconds: dict[str, list[float]] = {speed.name: [] for speed in SPEEDS}
    latest = len(SPEEDS) * each_s
    for case_id in track([ids[pick] for pick in picks], "measuring speeds"):
        first = time.monotonic()
        if first + latest > until:
            continue
        volume = dataset.load_image(dataset.case(case_id))
        for speed in SPEEDS:
            began = time.perf_counter()
            segmentation = model.segment(volume, speed=speed).segmentation
            seconds[speed.name].append(time.perf_counter() - began)
            scores[speed.name].append(score_scan(dataset, model.plan, case_id, segmentation))
        latest = time.monotonic() - first
    return {
        name: {
            "dice": round_dice(mean_over_structures(mean_scores(scores_found, model.plan.structures))),
            "seconds": round(fmean(seconds[name]), 3),
            "cases": len(scores_found),
        }
        for name, scores_found in scores.items()
        if scores_found
    }


def select_structures(reference: Segmentation, structures: Sequence[Structure]) -> npt.NDArray[np.integer]:
    """Index `[i, j, k]` or multi-hot `[structure, i, j, k]` of the plan's structures alone: it may leave some out."""
    numbers = {structure.name: n for n, structure in enumerate(reference.structures)}
    if reference.overlapping:
        return reference.array[[numbers[s.name] for s in structures]]
    values = {reference.structures[numbers[s.name]].value: s.value for s in structures}
    return remap_values(reference.array, values, np.int64)


def round_dice(value: float | None) -> float | None:
    """As files have a Dice."""
    return None if value is None else round(value, 5)
