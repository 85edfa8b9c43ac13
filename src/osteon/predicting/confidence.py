"""How sure a prediction is of each structure, as the Dice to be expected.

The raw figure is the soft Dice confidence (Borges et al., arXiv:2402.10665, 2024): the Dice of the predicted mask with
the network's own probabilities, 2 Σ_mask p / (Σ p + |mask|). It needs no further passes; where folds or mirror images
were averaged, their disagreement lowers it, since it lowers p. A network is usually too sure of itself, so the figure
is then brought to the Dice that scans which it had not seen really had: a rising step function through these pairs
(isotonic regression, by the pool-adjacent-violators algorithm), between whose steps lines are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats

from osteon.planning.plan import Plan
from osteon.predicting.shares import probability

FEWEST = 10
"""Pairs of raw figure and true Dice; with fewer nothing is calibrated."""


@dataclass(frozen=True)
class Calibration:
    """From raw figures to expected Dice.

    Attributes:
        raw: Rising raw figures.
        dice: The Dice to be expected at each.
        pairs: On how many structures of scans it was made.
        rank_correlation: Spearman's, between raw figure and true Dice.
    """

    raw: tuple[float, ...]
    dice: tuple[float, ...]
    pairs: int
    rank_correlation: float | None

    @property
    def as_data(self) -> dict[str, Any]:
        """As validation.json has it; `calibration_from` takes it."""
        return {**vars(self), "raw": list(self.raw), "dice": list(self.dice)}

    @property
    def is_known(self) -> bool:
        """Whether `expected` says which Dice is to be expected; else it gives the raw figure back."""
        return bool(self.raw)

    def expected(self, raw: float) -> float:
        """The Dice to be expected; above the known range that at its end, below it in a line down to 0."""
        if not self.raw:
            return raw
        return float(np.interp(raw, self.raw, self.dice)) * min(1.0, raw / self.raw[0] if self.raw[0] else 1.0)


UNCALIBRATED = Calibration((), (), 0, None)


def raw_confidence(
    shares: torch.Tensor, found: np.ndarray[Any, np.dtype[np.integer]], plan: Plan
) -> dict[str, float | None]:
    """The soft Dice confidence of each structure; None for one that was not found.

    Args:
        shares: `[output, i, j, k]` on the plan's grid: `Shares.values`.
        found: What follows from them: `Shares.found`.
        plan: Structures.
    """
    result: dict[str, float | None] = {}
    first = 0 if plan.overlapping else 1
    for number, structure in enumerate(plan.structures):
        share = probability(shares[first + number], plan)
        mask = torch.from_numpy(found[number] > 0 if plan.overlapping else found == number + 1)
        count = int(mask.sum())
        inside = float(share[mask].sum(dtype=torch.float64))
        total = float(share.sum(dtype=torch.float64)) + count
        result[structure.name] = round(2 * inside / total, 5) if count else None
    return result


def calibrate(pairs: Sequence[tuple[float, float]]) -> Calibration:
    """The calibration that pairs of raw figure and true Dice give; none where there are too few."""
    if len(pairs) < FEWEST:
        return UNCALIBRATED
    raw, dice = np.array(sorted(pairs)).T
    fitted = optimize.isotonic_regression(dice)
    starts = fitted.blocks[:-1]
    knots = [float(part.mean()) for part in np.split(raw, starts[1:])]
    heights = fitted.x[starts]
    rank = float(stats.spearmanr(raw, dice).statistic) if len(set(raw)) > 1 and len(set(dice)) > 1 else None
    return Calibration(
        tuple(round(k, 5) for k in knots),
        tuple(round(float(h), 5) for h in heights),
        len(pairs),
        None if rank is None else round(rank, 4),
    )


def calibration_from(data: dict[str, Any] | None) -> Calibration:
    """What validation.json keeps of one."""
    if not data:
        return UNCALIBRATED
    return Calibration(tuple(data["raw"]), tuple(data["dice"]), data["pairs"], data["rank_correlation"])
