"""Is an updated model as good as the one before it? Both are asked for the same scans, which neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from osteon.core.statistics import Floats, bootstrap_interval

if TYPE_CHECKING:
    from osteon.training.validation import Scores

MAX_LOSS = 1e-3
"""Mean Dice: a model that is worse by more is not taken,"""
MAX_STRUCTURE_LOSS = 0.05
"""nor is one that is worse by more in one structure, however good it is in the others."""


class Pair(BaseModel):
    """Dice of both models on the same cases.

    Attributes:
        before: Of the model before; None where no case counts.
        after: Of the new one.
        low: Lower end of the difference's 95% interval over the cases; None below three.
        high: Its upper end.
        cases: That count.
    """

    before: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None
    cases: int = 0

    @property
    def gain(self) -> float:
        """What the new one has more; 0 where it is unknown."""
        return 0.0 if self.before is None or self.after is None else self.after - self.before

    def describe(self) -> str:
        """Such as `0.812 → 0.845 (+0.033, 95% +0.010 … +0.051, 6 cases)`."""
        if self.before is None or self.after is None:
            return "in no case"
        interval = "" if self.low is None or self.high is None else f", 95% {self.low:+.3f} … {self.high:+.3f}"
        cases = f"{self.cases} case{'s' * (self.cases != 1)}"
        return f"{self.before:.3f} → {self.after:.3f} ({self.gain:+.3f}{interval}, {cases})"


class Verdict(BaseModel):
    """Whether the new model is taken.

    Attributes:
        taken: Whether it is.
        why: In a sentence.
        dice: Means over the structures.
        structures: Each structure that both models know.
        cases: By case and structure the Dice before and after; None where it is neither in the label nor found.
    """

    taken: bool
    why: str
    dice: Pair
    structures: dict[str, Pair]
    cases: dict[str, dict[str, list[float | None]]]


def judge(before: Mapping[str, Scores], after: Mapping[str, Scores], structures: Sequence[str]) -> Verdict:
    """Compare two models by the Dice of cases that both have.

    A structure that one model rightly does not find, while the other finds it where there is none, counts as found
    perfectly: 1 against 0.

    Args:
        before: Of the model before: case → structure → Dice, without post-processing.
        after: Of the new one, likewise.
        structures: Names of those that both know.
    """
    ids = [case_id for case_id in before if case_id in after]
    cases = {
        case_id: {
            name: [before[case_id][name], after[case_id][name]]
            for name in structures
            if name in before[case_id] and name in after[case_id]
        }
        for case_id in ids
    }
    table = np.full((2, len(ids), len(structures)), np.nan)
    for row, case_id in enumerate(ids):
        for column, name in enumerate(structures):
            pair = cases[case_id].get(name, [])
            if any(value is not None for value in pair):
                table[:, row, column] = [1.0 if value is None else value for value in pair]
    each = {name: _compare(table[:, :, [number]]) for number, name in enumerate(structures)}
    dice = _compare(table)
    lost = [name for name, pair in each.items() if pair.gain < -MAX_STRUCTURE_LOSS]
    if dice.before is None:
        taken, why = False, "no case could be judged by both models"
    elif dice.gain < -MAX_LOSS:
        taken, why = False, f"worse than the model before on the same cases: mean Dice {dice.describe()}"
    elif lost:
        listed = "; ".join(f"{name} {each[name].describe()}" for name in lost)
        taken, why = False, f"worse in single structures on the same cases: {listed}"
    else:
        taken, why = True, f"at least as good on the same cases: mean Dice {dice.describe()}"
    return Verdict(taken=taken, why=why, dice=dice, structures=each, cases=cases)


def _compare(table: Floats) -> Pair:
    """Of `[model, case, structure]`, NaN where nothing counts: means over cases, then over structures."""
    counts = ~np.isnan(table[0])
    values = np.where(counts, table, 0.0)

    def mean(values: Floats, weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            each = (weights @ values) / (weights @ counts)
        known = ~np.isnan(each)
        total = np.where(known, each, 0.0).sum(1)
        return np.divide(total, known.sum(1), out=np.full(len(total), np.nan), where=known.any(1))

    rows = int(counts.any(1).sum())
    if not rows:
        return Pair()
    evenly = np.full((1, len(counts)), 1 / len(counts))
    before, after = (round(fmean(mean(each, evenly)), 5) for each in values)
    low, high = bootstrap_interval(lambda weights: mean(values[1] - values[0], weights), len(counts))
    ends = (None, None) if rows < 3 or low is None or high is None else (round(low, 5), round(high, 5))
    return Pair(before=before, after=after, low=ends[0], high=ends[1], cases=rows)
