"""The figures of all cases together: how each measure is distributed, and which cases stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from osteon.core.statistics import robust_z, sample_statistics
from osteon.measuring.figure import Figure

MIN_CASES = 5
"""Below, no case stands out: a median of fewer follows the one that is wrong."""
OUTLIER = 3.5
"""Robust standard deviations from the median (Iglewicz and Hoaglin, How to detect and handle outliers, 1993)."""
FLOOR = 0.5
"""Part of a figure's own interval that the spread of the cases is taken for at least: less is chance."""


class Distribution(BaseModel):
    """One measure of one structure over the cases.

    Attributes:
        structures: As in `Figure`.
        measure: With its unit.
        cases: That have a value.
        not_measured: That have none.
        flagged: That have a value which is flagged.
        mean: Of the values; `low` and `high` are its 95 % interval (bootstrap).
        sd: Standard deviation.
        quantiles: Least value, 5th, 25th, 50th, 75th, 95th percentile, and the largest.
        outliers: Case → its robust z, of those beyond `OUTLIER`.
        z: Case → its robust z; empty below `MIN_CASES`.
    """

    model_config = ConfigDict(frozen=True)

    structures: tuple[str, ...]
    measure: str
    cases: int
    not_measured: int
    flagged: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    quantiles: tuple[float, ...] = ()
    outliers: dict[str, float] = {}
    z: dict[str, float] = {}

    def to_row(self) -> dict[str, Any]:
        """As the table has it."""
        spread = dict(zip(_QUANTILES, self.quantiles, strict=False))
        return {
            "structure": " + ".join(self.structures),
            "measure": self.measure,
            "cases": self.cases,
            "not_measured": self.not_measured,
            "flagged": self.flagged,
            "mean": self.mean,
            "mean_low": self.low,
            "mean_high": self.high,
            "sd": self.sd,
            **{name: spread.get(name) for name in _QUANTILES},
            "outliers": "; ".join(f"{case} (z {z:+.1f})" for case, z in self.outliers.items()),
        }


_QUANTILES = {"least": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "largest": 100}
COLUMNS = tuple(Distribution(structures=(), measure="", cases=0, not_measured=0, flagged=0).to_row())


def distributions(figures: Sequence[Figure]) -> list[Distribution]:
    """One for each measure and structure, in the figures' order."""
    groups: dict[tuple[tuple[str, ...], str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.structures, figure.name), []).append(figure)
    return [_distribution(*key, own) for key, own in groups.items()]


def _distribution(structures: tuple[str, ...], measure: str, figures: Sequence[Figure]) -> Distribution:
    known = {figure.case: figure for figure in figures if figure.value is not None}
    values = [figure.value for figure in known.values() if figure.value is not None]
    found = sample_statistics(values)
    z: dict[str, float] = {}
    if len(values) >= MIN_CASES:
        widths = [
            figure.high - figure.low for figure in known.values() if figure.high is not None and figure.low is not None
        ]
        floor = max(FLOOR * float(np.median(widths)) / 2 if widths else 0.0, 1e-9)
        z = dict(zip(known, map(float, robust_z(values, floor=floor)[0]), strict=True))
    return Distribution(
        structures=structures,
        measure=measure,
        cases=len(values),
        not_measured=len(figures) - len(values),
        flagged=sum(bool(figure.flags) for figure in known.values()),
        mean=found.mean,
        low=found.low,
        high=found.high,
        sd=found.sd,
        quantiles=tuple(map(float, np.percentile(values, list(_QUANTILES.values())))) if values else (),
        outliers={case: value for case, value in z.items() if abs(value) > OUTLIER},
        z=z,
    )
