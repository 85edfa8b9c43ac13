"""Means over cases, for each structure and over all of them.

The rules for figures that do not exist are written down in docs/evaluate.md.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from osteon.evaluating.scores import Score

OVERALL = "overall"


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (n − 1; None below two values) and median of `n` values. All None for none."""

    n: int
    mean: float | None
    sd: float | None
    median: float | None


@dataclass(frozen=True)
class Summary:
    """One structure over all cases, or the line `overall`.

    Attributes:
        structure: Its name, or `overall`.
        dice: Over the cases that have a Dice: `both`, `missed` (0) and `invented` (0).
        volume_error_cm3: Over the same cases, where the grid has a volume.
        volume_error_percent: Over the cases whose reference is not empty.
        both: Cases in which prediction and reference hold the structure.
        missed: Cases in which only the reference does.
        invented: Cases in which only the prediction does.
        absent: Cases in which neither does.
        not_annotated: Cases in which nobody looked for it.
    """

    structure: str
    dice: Spread
    volume_error_cm3: Spread
    volume_error_percent: Spread
    both: int
    missed: int
    invented: int
    absent: int
    not_annotated: int


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, sample SD and median of the values that are not None."""
    known = [value for value in values if value is not None]
    if not known:
        return Spread(0, None, None, None)
    sd = statistics.stdev(known) if len(known) > 1 else None
    return Spread(len(known), statistics.fmean(known), sd, statistics.median(known))


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """One summary for each structure, in the order in which `scores` first names them."""
    by_structure: dict[str, list[Score]] = {}
    for score in scores:
        by_structure.setdefault(score.structure, []).append(score)
    return [_summarise_structure(name, own) for name, own in by_structure.items()]


def overall(summaries: Sequence[Summary]) -> Summary:
    """The line over all structures.

    Its mean, SD and median are taken over the structures' means, so that a structure seen in few cases weighs as much
    as any other; a structure without a mean is left out. Counts are sums, and so is each `n`.
    """

    def over_means(name: str) -> Spread:
        parts: list[Spread] = [getattr(summary, name) for summary in summaries]
        means = spread(part.mean for part in parts)
        return Spread(sum(part.n for part in parts), means.mean, means.sd, means.median)

    return Summary(
        structure=OVERALL,
        dice=over_means("dice"),
        volume_error_cm3=over_means("volume_error_cm3"),
        volume_error_percent=over_means("volume_error_percent"),
        both=sum(s.both for s in summaries),
        missed=sum(s.missed for s in summaries),
        invented=sum(s.invented for s in summaries),
        absent=sum(s.absent for s in summaries),
        not_annotated=sum(s.not_annotated for s in summaries),
    )


def _summarise_structure(name: str, scores: Sequence[Score]) -> Summary:
    states = Counter(score.state for score in scores)
    return Summary(
        structure=name,
        dice=spread(score.dice for score in scores),
        volume_error_cm3=spread(score.volume_error_cm3 for score in scores),
        volume_error_percent=spread(score.volume_error_percent for score in scores),
        both=states["both"],
        missed=states["missed"],
        invented=states["invented"],
        absent=states["absent"],
        not_annotated=states["not annotated"],
    )
