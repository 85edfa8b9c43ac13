"""Two runs compared case by case: which is better, by how much, and whether chance alone could have done it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from osteon.core.errors import DatasetError
from osteon.core.statistics import SampleStatistics, sample_statistics
from osteon.evaluating.metrics import AnyScore, as_loss, better_direction, metric_values
from osteon.evaluating.paired_tests import holm, signed_rank
from osteon.evaluating.summary import OVERALL

ALPHA = 0.05
"""Chance of a difference shown where there is none, over all structures together."""
Pairs = dict[str, list[tuple[float, float]]]
"""By case the metric in the first run and in the second, of each structure in which both have it."""


@dataclass(frozen=True)
class PairedComparison:
    """The second run against the first, of one structure or overall.

    Attributes:
        structure: Its name, or `overall`: then each case's mean over the structures that both runs have in it.
        n: Cases in which both runs have the metric.
        unpaired: Cases in which one of them alone has it; they cannot be compared.
        first: Of these `n` cases in the first run.
        second: In the second.
        difference: Second minus first, case by case, in the metric's unit.
        better: Cases in which the second is better.
        worse: Cases in which the first is.
        effect: The matched-pairs rank-biserial correlation, −1 … 1: 1 where the second is better in every case.
        p: Wilcoxon's signed-rank test, two-sided; 1 without a pair.
        p_holm: The same, corrected by Holm for the number of structures. That of `overall`, a single test, is `p`.
        shown: Which run is shown to be better (`p_holm` below the level); None where no difference is shown.
    """

    structure: str
    n: int
    unpaired: int
    first: SampleStatistics
    second: SampleStatistics
    difference: SampleStatistics
    better: int
    worse: int
    effect: float
    p: float
    p_holm: float
    shown: str | None = None

    @property
    def verdict(self) -> str:
        """In words; that no difference is shown does not say that there is none."""
        return f"{self.shown} better" if self.shown else "no difference shown"


@dataclass(frozen=True)
class RunComparison:
    """Two runs.

    Attributes:
        metric: What was compared.
        alpha: The level of the tests.
        structures: One comparison for each structure that either run has.
        overall: All structures together, as one test of its own.
    """

    metric: str
    alpha: float
    structures: tuple[PairedComparison, ...]
    overall: PairedComparison


def compare_runs(
    first: Sequence[AnyScore],
    second: Sequence[AnyScore],
    *,
    metric: str = "dice",
    names: tuple[str, str] = ("first", "second"),
    alpha: float = ALPHA,
) -> RunComparison:
    """Compare two runs on the cases that both have.

    A distance does not exist where a structure is missed, so such cases cannot be compared by it (`unpaired` counts
    them); Dice and NSD are 0 there. Signed volume errors are compared by their size.

    Args:
        first: Scores of one run, of structures or of their numbered pieces.
        second: Of the other, of the same cases.
        metric: A name of `osteon.evaluating.metrics`, such as `dice`, `hd95_mm`, `nsd_2mm`; of pieces such as `f1`.
        names: What to call the runs in verdicts.
        alpha: The level of the tests.

    Raises:
        DatasetError: The runs have no case in common.
        UsageError: There is no such metric.
    """
    better_direction(metric)
    if not {score.case for score in first} & {score.case for score in second}:
        raise DatasetError(
            f"{names[0]} and {names[1]} have no case in common", hint="compare runs that predicted the same scans"
        )
    one, other = metric_values(first, metric), metric_values(second, metric)
    paired: dict[str, Pairs] = {score.structure: {} for score in (*first, *second)}
    together: Pairs = {}
    for key in one:
        if key in other:
            paired[key[1]][key[0]] = [(one[key], other[key])]
            together.setdefault(key[0], []).append((one[key], other[key]))
    alone = Counter(structure for _, structure in one.keys() ^ other.keys())
    made = [_compare(name, pairs, alone[name], metric) for name, pairs in paired.items()]
    tested = [comparison for comparison in made if comparison.n]
    corrected = dict(zip((c.structure for c in tested), holm([c.p for c in tested]), strict=True))
    never = {case for case, _ in (*one, *other)} - together.keys()
    whole = _compare(OVERALL, together, len(never), metric)
    return RunComparison(
        metric,
        alpha,
        tuple(_judge(c, corrected.get(c.structure, 1.0), names, alpha) for c in made),
        _judge(whole, whole.p, names, alpha),
    )


def _compare(structure: str, pairs: Pairs, unpaired: int, metric: str) -> PairedComparison:
    """By case the metrics of both runs, of one structure or of several, whose means are compared."""
    first, second = ([fmean(pair[run] for pair in own) for own in pairs.values()] for run in (0, 1))
    gains = [fmean(as_loss(a, metric) - as_loss(b, metric) for a, b in own) for own in pairs.values()]
    test = signed_rank(gains)
    return PairedComparison(
        structure=structure,
        n=len(pairs),
        unpaired=unpaired,
        first=sample_statistics(first),
        second=sample_statistics(second),
        difference=sample_statistics(b - a for a, b in zip(first, second, strict=True)),
        better=sum(gain > 0 for gain in gains),
        worse=sum(gain < 0 for gain in gains),
        effect=test.effect,
        p=test.p,
        p_holm=test.p,
    )


def _judge(comparison: PairedComparison, p_holm: float, names: tuple[str, str], alpha: float) -> PairedComparison:
    shown = (names[1] if comparison.effect > 0 else names[0]) if p_holm < alpha else None
    return replace(comparison, p_holm=p_holm, shown=shown)
