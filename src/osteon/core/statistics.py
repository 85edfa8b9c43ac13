"""Mean, standard deviation, median, and the interval in which the mean lies, as far as the cases can tell.

The interval is the bias-corrected and accelerated bootstrap's (BCa: Efron, J Am Stat Assoc 82, 1987; Efron &
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 14). Cases are drawn anew with replacement, as independent
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, median, stdev

import numpy as np
import numpy.typing as npt

from osteon.core.random_streams import item_generator

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From weights `[draw, case]`, each row with the sum 1, to the statistic of each draw `[draw]`; NaN where none is."""

CONFIDENCE_LEVEL = 0.95
RESAMPLES = 2000
"""Draws of the cases: the ends of an interval then lie within about a third of a percent of their 2.5 percents."""
MIN_VALUES = 3
"""Below so many values no interval is given. Below about ten it is too narrow, as every bootstrap's is."""
SEED = 0
MAD_TO_SD = 1.4826
"""Median absolute deviation → standard deviation, for a normal distribution."""
_BLOCK = 1 << 20
"""Weights that are made at a time (8 MB)."""


@dataclass(frozen=True)
class SampleStatistics:
    """How `n` values spread. All None where there are none.

    Attributes:
        n: Values that exist.
        mean: Their mean.
        sd: Standard deviation of the sample (n − 1); None below two values.
        median: Their median.
        low: The lower end of the mean's 95% interval; None below three values.
        high: The upper end.
    """

    n: int
    mean: float | None
    sd: float | None
    median: float | None
    low: float | None = None
    high: float | None = None


def sample_statistics(values: Iterable[float | None], *, seed: int = SEED) -> SampleStatistics:
    """The spread of the values that are not None."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return SampleStatistics(0, None, None, None)
    array = np.array(known)
    low, high = bootstrap_interval(lambda weights: weights @ array, len(known), seed=seed)
    return SampleStatistics(
        len(known), fmean(known), stdev(known) if len(known) > 1 else None, median(known), low, high
    )


def robust_z(values: Sequence[float], *, floor: float) -> tuple[Floats, float, float]:
    """How many robust standard deviations each value lies from the median.

    Args:
        values: At least one.
        floor: The least standard deviation that is believed: in a small cohort the values may agree by chance.

    Returns:
        The deviations, the median, and the standard deviation (1.4826 × median absolute deviation, or `floor`).
    """
    array = np.asarray(values, dtype=np.float64)
    middle = float(np.median(array))
    spread = max(MAD_TO_SD * float(np.median(np.abs(array - middle))), floor)
    return (array - middle) / spread, middle, spread


def bootstrap_interval(statistic: Statistic, count: int, *, seed: int = SEED) -> tuple[float | None, float | None]:
    """The BCa interval (`CONFIDENCE_LEVEL`) of a statistic of `count` cases; None and None where there is none.

    Args:
        statistic: See `Statistic`.
        count: Number of cases.
        seed: Decides the draws; the same seed and count draw the same cases.
    """
    if count < MIN_VALUES:
        return None, None
    drawn = np.concatenate([statistic(weights) for weights in _resampling_weights(count, seed)])
    drawn = drawn[np.isfinite(drawn)]
    actual = float(statistic(np.full((1, count), 1 / count))[0])
    if not len(drawn) or not np.isfinite(actual):
        return None, None
    normal = NormalDist()
    below = np.count_nonzero(drawn < actual) + np.count_nonzero(drawn == actual) / 2
    bias = normal.inv_cdf(min(max(below, 0.5), len(drawn) - 0.5) / len(drawn))
    acceleration = _acceleration(statistic, count)
    ends = []
    for part in ((1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2):
        shifted = bias + normal.inv_cdf(part)
        ends.append(normal.cdf(bias + shifted / (1 - acceleration * shifted)))
    low, high = np.quantile(drawn, ends)
    return float(low), float(high)


def _acceleration(statistic: Statistic, count: int) -> float:
    """How the statistic's spread changes with its value, by leaving out one case at a time."""
    rows = max(1, _BLOCK // count)
    blocks = (1 - np.eye(min(rows, count - start), count, start) for start in range(0, count, rows))
    without = np.concatenate([statistic(block / (count - 1)) for block in blocks])
    without = without[np.isfinite(without)]
    away = without.mean() - without
    widest = np.abs(away).max(initial=0.0)
    if widest == 0:
        return 0.0
    away /= widest  # the powers of tiny numbers would be 0
    return float((away**3).sum() / (6 * (away**2).sum() ** 1.5))


def _resampling_weights(count: int, seed: int) -> Iterable[Floats]:
    """Blocks of weights `[draw, case]`; those of small cohorts are kept, since many figures ask for the same."""
    return _cached_weights(count, seed) if RESAMPLES * count <= _BLOCK else _draw_weights(count, seed)


@lru_cache(maxsize=4)
def _cached_weights(count: int, seed: int) -> tuple[Floats, ...]:
    return tuple(_draw_weights(count, seed))


def _draw_weights(count: int, seed: int) -> Iterator[Floats]:
    draw = item_generator(seed, count)
    rows = max(1, _BLOCK // count)
    for start in range(0, RESAMPLES, rows):
        number = min(rows, RESAMPLES - start)
        chosen = draw.integers(count, size=(number, count)) + count * np.arange(number)[:, None]
        yield np.bincount(chosen.ravel(), minlength=number * count).reshape(number, count) / count
