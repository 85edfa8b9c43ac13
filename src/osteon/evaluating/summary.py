"""Means over cases, for each structure and over all of them.

The rules for metrics that do not exist are written down in docs/evaluate.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from osteon.core.statistics import Floats, SampleStatistics, bootstrap_interval, sample_statistics
from osteon.evaluating.metrics import METRICS, distance_metrics, metric_value
from osteon.evaluating.scores import Score

OVERALL = "overall"
NO_CASES = SampleStatistics(0, None, None, None)


@dataclass(frozen=True)
class Summary:
    """One structure over all cases, or the line `overall`.

    Attributes:
        structure: Its name, or `overall`.
        metrics: By name (`dice`, `hd95_mm` …), each over the cases in which it exists.
        both: Cases in which prediction and reference hold the structure.
        false_negatives: Cases in which only the reference does; in files `missed`.
        false_positives: Cases in which only the prediction does; in files `invented`.
        absent: Cases in which neither does.
        not_annotated: Cases in which nobody looked for it.
        reference_pieces: Connected pieces of the reference in all cases; pieces are 0 where they were not measured.
        predicted_pieces: Of the prediction.
        matched_pieces: Pairs that match.
        wrong_level: Predicted bodies that lie on another structure of the row.
    """

    structure: str
    metrics: Mapping[str, SampleStatistics] = field(default_factory=dict)
    both: int = 0
    false_negatives: int = 0
    false_positives: int = 0
    absent: int = 0
    not_annotated: int = 0
    reference_pieces: int = 0
    predicted_pieces: int = 0
    matched_pieces: int = 0
    wrong_level: int = 0

    @property
    def dice(self) -> SampleStatistics:
        """Over the cases that have a Dice: `both`, `missed` (0) and `invented` (0)."""
        return self.metrics.get("dice", NO_CASES)

    @property
    def volume_error_cm3(self) -> SampleStatistics:
        """Over the same cases, where the grid has a volume."""
        return self.metrics.get("volume_error_cm3", NO_CASES)

    @property
    def volume_error_percent(self) -> SampleStatistics:
        """Over the cases whose reference is not empty."""
        return self.metrics.get("volume_error_percent", NO_CASES)

    @property
    def pooled_detection_f1(self) -> float | None:
        """2·matched / (reference + predicted) over the pieces of all cases together."""
        total = self.reference_pieces + self.predicted_pieces
        return 2 * self.matched_pieces / total if total else None


_COUNTS = ("reference_pieces", "predicted_pieces", "matched_pieces", "wrong_level")
STATES = {
    "both": "both",
    "missed": "false_negatives",
    "invented": "false_positives",
    "absent": "absent",
    "not_annotated": "not_annotated",
}
"""The key in files of each count of cases, which is a score's state, and the count's name."""


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """One summary for each structure, in the order in which `scores` first names them."""
    by_structure: dict[str, list[Score]] = {}
    for score in scores:
        by_structure.setdefault(score.structure, []).append(score)
    names = (*METRICS, *distance_metrics(scores))
    return [_summarise_structure(structure, own, names) for structure, own in by_structure.items()]


def overall(summaries: Sequence[Summary], scores: Sequence[Score] = ()) -> Summary:
    """The line over all structures.

    Its mean, SD and median are taken over the structures' means, so that a structure seen in few cases weighs as much
    as any other; a structure without a mean is left out. Counts are sums, and so is each `n`.

    Args:
        summaries: One for each structure.
        scores: What they were made of. The mean's interval follows from drawing these cases anew, with all of their
            structures; without them there is none.
    """
    metrics = {}
    for name in dict.fromkeys(name for summary in summaries for name in summary.metrics):
        parts = [summary.metrics.get(name, NO_CASES) for summary in summaries]
        means = sample_statistics(part.mean for part in parts)
        low, high = _interval_of_means(scores, name)
        metrics[name] = SampleStatistics(sum(part.n for part in parts), means.mean, means.sd, means.median, low, high)
    counts = {name: sum(getattr(summary, name) for summary in summaries) for name in (*STATES.values(), *_COUNTS)}
    return Summary(OVERALL, metrics, **counts)


def _summarise_structure(structure: str, scores: Sequence[Score], names: Sequence[str]) -> Summary:
    states = Counter(score.state.replace(" ", "_") for score in scores)
    counts = {name: sum(getattr(score, name) or 0 for score in scores) for name in _COUNTS}
    metrics = {name: sample_statistics(metric_value(score, name) for score in scores) for name in names}
    return Summary(structure, metrics, **{name: states[state] for state, name in STATES.items()}, **counts)


def _interval_of_means(scores: Sequence[Score], name: str) -> tuple[float | None, float | None]:
    """The interval of the mean over structures of their means over cases."""
    known = [
        (score.case, score.structure, value) for score in scores if (value := metric_value(score, name)) is not None
    ]
    cases, structures = ({key: n for n, key in enumerate(dict.fromkeys(row[k] for row in known))} for k in (0, 1))
    values = np.full((len(cases), len(structures)), np.nan)
    for case, structure, value in known:
        values[cases[case], structures[structure]] = value
    there = np.isfinite(values).astype(np.float64)
    filled = np.where(there > 0, values, 0.0)

    def mean_of_means(weights: Floats) -> Floats:
        share = weights @ there
        means = np.divide(weights @ filled, share, out=np.zeros_like(share), where=share > 0)
        seen = (share > 0).sum(axis=1)
        return np.divide(means.sum(axis=1), seen, out=np.full(len(weights), np.nan), where=seen > 0)

    return bootstrap_interval(mean_of_means, len(cases))
