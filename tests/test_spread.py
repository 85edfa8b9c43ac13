"""Means and their intervals: known answers, another implementation, and how often an interval holds the truth."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from osteon.core import statistics as module
from osteon.core.statistics import SampleStatistics, bootstrap_interval, sample_statistics


def test_spread_takes_the_sample_sd_and_leaves_none_out() -> None:
    values = sample_statistics([1.0, None, 2.0, 6.0])
    assert (values.n, values.mean, values.sd, values.median) == (3, 3.0, pytest.approx(7**0.5), 2.0)
    assert sample_statistics([4.0]) == SampleStatistics(1, 4.0, None, 4.0)
    assert sample_statistics([4.0, 5.0]) == SampleStatistics(
        2, 4.5, pytest.approx(0.5**0.5), 4.5
    )  # too few for an interval
    assert sample_statistics([None]) == SampleStatistics(0, None, None, None)
    assert sample_statistics([0.5] * 8) == SampleStatistics(8, 0.5, 0.0, 0.5, 0.5, 0.5)


def test_the_interval_of_many_even_values_is_the_normal_one() -> None:
    draw = np.random.default_rng(0)
    values = sample_statistics(draw.normal(10, 2, 400))
    assert values.mean is not None
    assert values.sd is not None
    reach = NormalDist().inv_cdf(0.975) * values.sd / 20
    assert values.low == pytest.approx(values.mean - reach, abs=0.1 * reach)
    assert values.high == pytest.approx(values.mean + reach, abs=0.1 * reach)


@pytest.mark.parametrize("count", [5, 12, 60])
def test_scipy_finds_the_same(count: int) -> None:
    """On skewed values, where BCa and the plain percentiles differ."""
    values = np.random.default_rng(count).exponential(1, count)
    other = bootstrap((values,), np.mean, n_resamples=20000, method="BCa", rng=1).confidence_interval
    low, high = bootstrap_interval(lambda weights: weights @ values, count)
    width = other.high - other.low
    assert low == pytest.approx(other.low, abs=0.05 * width)
    assert high == pytest.approx(other.high, abs=0.05 * width)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    draw = np.random.default_rng(1)
    cohorts = [sample_statistics(draw.normal(1, 1, 40)) for _ in range(1000)]
    held = np.mean([c.low <= 1 <= c.high for c in cohorts if c.low is not None and c.high is not None])
    assert 0.92 <= held <= 0.97


def test_a_statistic_may_not_exist_in_some_draws() -> None:
    """A ratio whose divisor is 0 where the only case that counts is not drawn."""
    counts = np.array([1.0, 0, 0, 0, 0])

    def share(weights: np.ndarray) -> np.ndarray:
        below = weights @ counts
        return np.divide(2 * below, below, out=np.full(len(weights), np.nan), where=below > 0)

    assert bootstrap_interval(share, 5) == (2.0, 2.0)
    assert bootstrap_interval(lambda weights: np.full(len(weights), np.nan), 5) == (None, None)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.random.default_rng(3).random(25))
    whole = sample_statistics(values)
    monkeypatch.setattr(module, "_BLOCK", 1000)
    assert sample_statistics(values) == whole


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=20), st.integers(0, 5))
def test_laws_of_intervals(values: list[float], seed: int) -> None:
    found = sample_statistics(values, seed=seed)
    assert found == sample_statistics(values, seed=seed)
    assert found.low is not None
    assert found.high is not None
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= found.low <= found.high + slack
    assert found.high <= max(values) + slack


def test_weights_of_many_cases_are_never_held_together() -> None:
    """All ways to leave out one of 10,000 cases would be 800 MB."""
    count, asked = 10_000, list[int]()

    def mean(weights: np.ndarray) -> np.ndarray:
        asked.append(weights.nbytes)
        return weights @ np.arange(count)

    low, high = bootstrap_interval(mean, count)
    assert low is not None
    assert high is not None
    assert low < count / 2 < high
    assert max(asked) < 100e6
