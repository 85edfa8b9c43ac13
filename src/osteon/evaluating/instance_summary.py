"""Scores of numbered pieces over a cohort, for each structure: pooled over all pieces, and as means over cases.

And as files have them: a row for each case and structure, a mapping for each summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from osteon.core.instances import InstanceScores
from osteon.core.statistics import SampleStatistics, bootstrap_interval, sample_statistics
from osteon.evaluating.metrics import INSTANCE_METRICS

_COUNTS = ("false_positives", "false_negatives", "merges", "splits")


@dataclass(frozen=True)
class InstanceSummary:
    """The pieces of one structure in a cohort.

    Attributes:
        structure: Its name.
        cases: Cases with a piece on either side; all figures are theirs.
        absent: Cases with no piece on either side.
        pooled: All pieces as if they were of one case: its PQ and F1 are those of the cohort, its counts sums.
        metrics: `INSTANCE_METRICS` over the cases in which each exists: `metrics["merges"].mean` is merges a case.
        pair_metrics: `dice`, `hd95_mm` … over all pairs, and n how many; the intervals come from drawing cases anew.
    """

    structure: str
    cases: int
    absent: int
    pooled: InstanceScores
    metrics: Mapping[str, SampleStatistics]
    pair_metrics: Mapping[str, SampleStatistics]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "cases": self.cases,
            "absent": self.absent,
            **{name: getattr(self.pooled, name) for name in ("true_positives", *_COUNTS)},
            **{f"pooled_{name}": getattr(self.pooled, name) for name in INSTANCE_METRICS if name not in _COUNTS},
            "by_case": {name: asdict(values) for name, values in self.metrics.items()},
            "by_pair": {name: asdict(values) for name, values in self.pair_metrics.items()},
        }


def instances_to_row(score: InstanceScores) -> dict[str, str | float | int | None]:
    """The pieces of one structure in one case by the names of columns; Dice and distances are means over its pairs."""
    found = score.true_positives
    names = dict.fromkeys(name for pair in score.pairs for name in pair.metrics)
    return {
        "case": score.case,
        "structure": score.structure,
        "reference_pieces": found + score.false_negatives,
        "predicted_pieces": found + score.false_positives,
        "true_positives": found,
        **{name: getattr(score, name) for name in (*_COUNTS[:2], *INSTANCE_METRICS)},
        **{name: fmean(pair.metrics[name] for pair in score.pairs) for name in names},
    }


def summarise_instances(scores: Sequence[InstanceScores]) -> list[InstanceSummary]:
    """One summary for each structure, in the order in which `scores` first names them."""
    by_structure: dict[str, list[InstanceScores]] = {}
    for score in scores:
        by_structure.setdefault(score.structure, []).append(score)
    return [_summarise_structure(structure, own) for structure, own in by_structure.items()]


def _summarise_structure(structure: str, scores: Sequence[InstanceScores]) -> InstanceSummary:
    present = [score for score in scores if not score.is_absent]
    pooled = InstanceScores(
        case="all",
        structure=structure,
        pairs=tuple(pair for score in present for pair in score.pairs),
        best_ious=tuple(iou for score in present for iou in score.best_ious),
        **{name: sum(getattr(score, name) for score in present) for name in _COUNTS},
    )
    names = dict.fromkeys(name for pair in pooled.pairs for name in pair.metrics)
    return InstanceSummary(
        structure,
        cases=len(present),
        absent=len(scores) - len(present),
        pooled=pooled,
        metrics={name: sample_statistics(getattr(score, name) for score in present) for name in INSTANCE_METRICS},
        pair_metrics={name: _over_pairs(present, name) for name in names},
    )


def _over_pairs(scores: Sequence[InstanceScores], name: str) -> SampleStatistics:
    """One metric over all pairs; the interval is that of drawing cases, since the pieces of one are not independent."""
    values = [[pair.metrics[name] for pair in score.pairs if name in pair.metrics] for score in scores]
    sums, counts = (np.array([f(own) for own in values if own], dtype=np.float64) for f in (sum, len))
    low, high = bootstrap_interval(lambda weights: (weights @ sums) / (weights @ counts), len(counts))
    return replace(sample_statistics(value for own in values for value in own), low=low, high=high)
