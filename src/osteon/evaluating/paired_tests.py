"""Two series of values of the same cases: the signed-rank test, its effect size, and the correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

EXACT = 200
"""Up to so many differences the test counts all signs that they could have; above, the normal distribution serves."""


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of differences against none.

    Attributes:
        n: Differences that are not 0; only these are ranked.
        effect: The matched-pairs rank-biserial correlation, −1 … 1 (Kerby, Compr Psychol 3, 2014): the sum of the
            positive differences' ranks minus that of the negative ones', as a part of both. 0 where n is.
        p: Two-sided probability of such ranks, or ranks further apart, where both signs are equally likely; 1 where
            n is 0.
    """

    n: int
    effect: float
    p: float


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Test differences of pairs (Wilcoxon, Biometrics Bulletin 1, 1945).

    Differences of 0 are left out, equal ones share their mean rank. The probability is exact for these very ranks, ties
    included, up to `EXACT` differences.
    """
    values = np.array([value for value in differences if value != 0], dtype=np.float64)
    if not len(values):
        return SignedRank(0, 0.0, 1.0)
    doubled = _doubled_ranks(np.abs(values))
    total, positive = int(doubled.sum()), int(doubled[values > 0].sum())
    p = _exact(doubled, positive) if len(values) <= EXACT else _normal(doubled, positive)
    return SignedRank(len(values), (2 * positive - total) / total, p)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand J Stat 6, 1979): what to compare with the level of all tests together."""
    order = np.argsort(probabilities, kind="stable")
    corrected = [0.0] * len(order)
    reached = 0.0
    for done, number in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - done) * probabilities[number]))
        corrected[number] = reached
    return corrected


def _doubled_ranks(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Twice the rank of each value from 1; equal values share the mean, which doubled is whole."""
    _, place, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    return np.asarray((2 * np.cumsum(counts) - counts + 1)[place], dtype=np.int64)


def _exact(doubled: npt.NDArray[np.int64], positive: int) -> float:
    """The distribution of the positive ranks' sum, one rank after the other with either sign."""
    chances = np.zeros(int(doubled.sum()) + 1)
    chances[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    return min(1.0, 2 * float(min(chances[: positive + 1].sum(), chances[positive:].sum())))


def _normal(doubled: npt.NDArray[np.int64], positive: int) -> float:
    """By the sum's mean and variance, which the ranks give with their ties; half a rank for continuity."""
    distance = max(0.0, abs(positive - float(doubled.sum()) / 2) - 1)
    return 2 * NormalDist().cdf(-distance / (float((doubled.astype(np.float64) ** 2).sum()) ** 0.5 / 2))
