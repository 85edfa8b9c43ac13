"""The figures of a score by name, and which way is better: one table for summaries, comparisons and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Literal

from osteon.core.errors import UsageError
from osteon.evaluating.scores import Score

Better = Literal["higher", "lower", "nearer to 0"]

FIGURES: dict[str, Better] = {
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


def flat(score: Score) -> dict[str, str | float | int | None]:
    """Every field of a score by its name in files; distances by their own names."""
    values = asdict(score)
    return {**{k: v for k, v in values.items() if k != "distances"}, **values["distances"]}


def value_of(score: Score, figure: str) -> float | None:
    """One figure of a score; None where it does not exist."""
    if figure in FIGURES:
        value: float | None = getattr(score, figure)
        return value
    return score.distances.get(figure)


def distance_figures(scores: Iterable[Score]) -> tuple[str, ...]:
    """The names of all distances that the scores have, in the order of their first appearance."""
    return tuple(dict.fromkeys(name for score in scores for name in score.distances))


def better(figure: str) -> Better:
    """Which way a figure is better.

    Raises:
        UsageError: There is no such figure.
    """
    known = FIGURES.get(figure) or DISTANCES.get(figure.partition("_")[0])
    if known is None:
        raise UsageError(
            f"no figure is called {figure}",
            hint=f"one of {', '.join(FIGURES)}, or {', '.join(DISTANCES)} with a unit, such as hd95_mm or nsd_2mm",
        )
    return known


def values_of(scores: Iterable[Score], figure: str) -> dict[tuple[str, str], float]:
    """One figure by case and structure, where it exists."""
    return {(s.case, s.structure): value for s in scores if (value := value_of(s, figure)) is not None}


def as_loss(value: float, figure: str) -> float:
    """The value as one of which less is better: turned round, as it is, or its distance from 0. Raises as `better`."""
    way = better(figure)
    return -value if way == "higher" else value if way == "lower" else abs(value)
