"""How sure a prediction is of each structure, as expected Dice.

The raw figure is the soft Dice confidence (Borges et al., arXiv:2402.10665, 2024): the Dice of the predicted mask with
the network's own probabilities, 2 Σ_mask p / (Σ p + |mask|). It needs no further passes; where folds or mirror images
were averaged, their disagreement lowers it, since it lowers p. A network is usually too sure of itself, so the figure
is then brought to the Dice that scans which it had not seen really had: a rising step function through these pairs
(isotonic regression, by the pool-adjacent-violators algorithm), between whose steps lines are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from osteon.plan.schema import Plan
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.tiles import CHUNK_PLANES
from osteon.preparing.strategies import grid_strategy

MIN_PAIRS = 10
"""Pairs of raw figure and true Dice; with fewer nothing is calibrated."""


class Calibration(BaseModel):
    """From raw figures to expected Dice.

    Attributes:
        raw: Rising raw figures.
        dice: The expected Dice at each.
        pairs: On how many structures of scans it was made.
        rank_correlation: Spearman's, between raw figure and true Dice.
    """

    model_config = ConfigDict(frozen=True)

    raw: list[float] = []
    dice: list[float] = []
    pairs: int = 0
    rank_correlation: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether `expected` gives Dice; else it returns the raw figure."""
        return bool(self.raw)

    def expected(self, raw: float) -> float:
        """The expected Dice; above the known range that at its end, below it in a line down to 0."""
        if not self.raw:
            return raw
        return float(np.interp(raw, self.raw, self.dice)) * min(1.0, raw / self.raw[0] if self.raw[0] else 1.0)


UNCALIBRATED = Calibration()


def raw_confidence(
    probabilities: Probabilities, labels: np.ndarray[Any, np.dtype[np.integer]], plan: Plan
) -> dict[str, float | None]:
    """The soft Dice confidence of each structure; None for one that was not found.

    Args:
        probabilities: On the plan's grid. They are read plane by plane, as they lie in memory or in their file.
        labels: `Probabilities.labels`.
        plan: Structures.
    """
    result: dict[str, float | None] = {}
    first = 0 if plan.overlapping else 1
    counts, inside, total = (np.zeros(len(plan.structures)) for _ in range(3))
    values, sliced = probabilities.values, probabilities.axis
    to_probability = grid_strategy(plan).to_probability
    length = values.shape[1 + sliced]
    for plane in range(0, length, CHUNK_PLANES):
        chunk = values.narrow(1 + sliced, plane, min(CHUNK_PLANES, length - plane))
        part = [slice(plane, plane + CHUNK_PLANES) if axis == sliced else slice(None) for axis in range(3)]
        here = labels[(..., *part)]
        for number in range(len(plan.structures)):
            values_here = to_probability(chunk[first + number]).double()
            mask = torch.from_numpy(here[number] > 0 if plan.overlapping else here == number + 1)
            counts[number] += int(mask.sum())
            inside[number] += float(values_here[mask].sum())
            total[number] += float(values_here.sum())
        probabilities.release_pages()
    for structure, count, within, whole in zip(plan.structures, counts, inside, total, strict=True):
        result[structure.name] = round(float(2 * within / (whole + count)), 5) if count else None
    return result


def calibrate(pairs: Sequence[tuple[float, float]]) -> Calibration:
    """Fit a calibration to pairs of raw figure and true Dice; `UNCALIBRATED` where there are too few."""
    if len(pairs) < MIN_PAIRS:
        return UNCALIBRATED
    from scipy import optimize, stats  # a second to load, and only a training's end needs them

    raw, dice = np.array(sorted(pairs)).T
    fitted = optimize.isotonic_regression(dice)
    starts = fitted.blocks[:-1]
    knots = [float(part.mean()) for part in np.split(raw, starts[1:])]
    heights = fitted.x[starts]
    rank = float(stats.spearmanr(raw, dice).statistic) if len(set(raw)) > 1 and len(set(dice)) > 1 else None
    return Calibration(
        raw=[round(k, 5) for k in knots],
        dice=[round(float(h), 5) for h in heights],
        pairs=len(pairs),
        rank_correlation=None if rank is None else round(rank, 4),
    )
