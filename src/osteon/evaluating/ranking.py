"""Several runs in an order that does not pretend: runs between which no difference is shown share their rank."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from osteon.core.errors import DatasetError
from osteon.core.statistics import SampleStatistics, sample_statistics
from osteon.core.text import pluralise
from osteon.evaluating.comparison import ALPHA
from osteon.evaluating.metrics import as_loss, better_direction, metric_values
from osteon.evaluating.paired_tests import holm, signed_rank
from osteon.evaluating.scores import Score


@dataclass(frozen=True)
class RankedRun:
    """One run's place.

    Attributes:
        rank: 1 + the number of runs that are shown to be better.
        run: Its name.
        metric: Each case's mean over structures, over the cases that all runs have.
        better_than: Runs that it is shown to be better than.
        no_difference: Runs from which no difference is shown.
    """

    rank: int
    run: str
    metric: SampleStatistics
    better_than: tuple[str, ...]
    no_difference: tuple[str, ...]


@dataclass(frozen=True)
class Ranking:
    """Runs in their order.

    Attributes:
        metric: By which they are ranked.
        alpha: The level of all tests together.
        places: By rank, then by mean.
        cases: Cases that all runs have, on which the ranking rests.
        left_out: Cases that some run lacks.
    """

    metric: str
    alpha: float
    places: tuple[RankedRun, ...]
    cases: int
    left_out: int

    @property
    def verdict(self) -> str:
        """In words, one sentence for each rank from the top."""
        ranks = [[p.run for p in own] for _, own in itertools.groupby(self.places, key=lambda place: place.rank)]
        if len(ranks) == 1 and len(ranks[0]) > 1:
            return f"no difference shown between {_join_names(ranks[0])} ({pluralise(self.cases, 'case')})"
        lines = []
        for place in self.places:
            better = f"better than {_join_names(place.better_than)}" if place.better_than else ""
            equal = f"no difference shown from {_join_names(place.no_difference)}" if place.no_difference else ""
            advantages = "; ".join(part for part in (better, equal) if part) or "worse than all others"
            lines.append(f"{place.rank}. {place.run}: {advantages}")
        return "\n".join(lines)


def rank_runs(runs: Mapping[str, Sequence[Score]], *, metric: str = "dice", alpha: float = ALPHA) -> Ranking:
    """Rank runs by a metric, tested pair by pair.

    A case counts where every run has the metric in it, with its mean over the structures in which all have it. All
    pairs of runs are tested by Wilcoxon's signed ranks, corrected by Holm for the number of pairs.

    Args:
        runs: By name, their scores of the same cases.
        metric: A name of `osteon.evaluating.metrics`.
        alpha: The level of all tests together.

    Raises:
        DatasetError: The runs have no case in common.
        UsageError: There is no such metric.
    """
    better_direction(metric)
    values = {name: metric_values(scores, metric) for name, scores in runs.items()}
    shared: dict[str, list[tuple[str, str]]] = {}
    for key in next(iter(values.values()), {}):
        if all(key in own for own in values.values()):
            shared.setdefault(key[0], []).append(key)
    if not shared:
        raise DatasetError(
            f"{_join_names(list(runs))} have no case in common", hint="rank runs that predicted the same scans"
        )
    means = {name: [fmean(own[key] for key in keys) for keys in shared.values()] for name, own in values.items()}
    losses = {
        name: [fmean(as_loss(own[key], metric) for key in keys) for keys in shared.values()]
        for name, own in values.items()
    }
    pairs = list(itertools.combinations(runs, 2))
    tests = [signed_rank([b - a for a, b in zip(losses[one], losses[other], strict=True)]) for one, other in pairs]
    above: dict[str, set[str]] = {name: set() for name in runs}
    for (one, other), test, p in zip(pairs, tests, holm([test.p for test in tests]), strict=True):
        if p < alpha:
            winner, loser = (one, other) if test.effect > 0 else (other, one)
            above[winner].add(loser)
    places = [
        RankedRun(
            rank=1 + sum(name in losers for losers in above.values()),
            run=name,
            metric=sample_statistics(means[name]),
            better_than=tuple(other for other in runs if other in above[name]),
            no_difference=tuple(
                other for other in runs if other != name and other not in above[name] and name not in above[other]
            ),
        )
        for name in runs
    ]
    places.sort(key=lambda place: (place.rank, fmean(losses[place.run])))
    everything = {score.case for scores in runs.values() for score in scores}
    return Ranking(metric, alpha, tuple(places), len(shared), len(everything) - len(shared))


def _join_names(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)
