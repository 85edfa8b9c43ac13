"""The metrics of a score by name, and which way is better: one table for summaries, comparisons and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Literal

from osteon.core.errors import UsageError
from osteon.core.instances import InstanceScores
from osteon.evaluating.scores import Score

Better = Literal["higher", "lower", "nearer to 0"]

METRICS: dict[str, Better] = {
    "dice": "higher",
    "volume_error_cm3": "nearer to 0",
    "volume_error_percent": "nearer to 0",
    "iou": "higher",
    "precision": "higher",
    "recall": "higher",
    "detection_f1": "higher",
}
"""Figures of every score that are summarised, in the order of files."""
DISTANCES: dict[str, Better] = {"hd": "lower", "hd95": "lower", "assd": "lower", "nsd": "higher"}
"""Those whose names go on with a unit or a tolerance: `hd95_mm`, `nsd_2px`."""
INSTANCE_METRICS: dict[str, Better] = {
    "panoptic_quality": "higher",
    "segmentation_quality": "higher",
    "f1": "higher",
    "best_iou": "higher",
    "merges": "lower",
    "splits": "lower",
}
"""Figures of numbered pieces, attributes of `InstanceScores`, in the order of files."""
AnyScore = Score | InstanceScores


def score_to_row(score: Score) -> dict[str, str | float | int | None]:
    """Every field of a score by its name in files; distances by their own names."""
    values = asdict(score)
    return {**{k: v for k, v in values.items() if k != "distances"}, **values["distances"]}


def metric_value(score: AnyScore, metric: str) -> float | None:
    """One metric of a score; None where it does not exist."""
    if isinstance(score, InstanceScores):
        return None if score.is_absent else getattr(score, metric)
    if metric in METRICS:
        return getattr(score, metric)
    return score.distances.get(metric)


def distance_metrics(scores: Iterable[Score]) -> tuple[str, ...]:
    """The names of all distances that the scores have, in the order of their first appearance."""
    return tuple(dict.fromkeys(name for score in scores for name in score.distances))


def better_direction(metric: str) -> Better:
    """Which way a metric is better.

    Raises:
        UsageError: There is no such metric.
    """
    known = METRICS.get(metric) or INSTANCE_METRICS.get(metric) or DISTANCES.get(metric.partition("_")[0])
    if known is None:
        raise UsageError(
            f"no metric is called {metric}",
            hint=f"one of {', '.join((*METRICS, *INSTANCE_METRICS))}, or {', '.join(DISTANCES)} with a unit, such as "
            "hd95_mm or nsd_2mm",
        )
    return known


def metric_values(scores: Iterable[AnyScore], metric: str) -> dict[tuple[str, str], float]:
    """One metric by case and structure, where it exists."""
    return {(s.case, s.structure): value for s in scores if (value := metric_value(s, metric)) is not None}


def as_loss(value: float, metric: str) -> float:
    """The value, negated or its distance from 0 where that makes less better. Raises as `better_direction`."""
    way = better_direction(metric)
    return -value if way == "higher" else value if way == "lower" else abs(value)
