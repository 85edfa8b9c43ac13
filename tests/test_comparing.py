"""Runs compared and ranked: ranks and probabilities by hand, another implementation, and what chance does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, wilcoxon

from osteon.core.errors import DatasetError, UsageError
from osteon.evaluating import paired_tests
from osteon.evaluating.comparison import compare_runs
from osteon.evaluating.metrics import better_direction
from osteon.evaluating.paired_tests import SignedRank, holm, signed_rank
from osteon.evaluating.ranking import rank_runs
from osteon.evaluating.scores import Score


def test_ranks_by_hand() -> None:
    # Ranks of |d|: 1, twice 2.5, 4. Of the 16 signs two give all ranks or none, eight 2.5 and less or 7.5 and more.
    assert signed_rank([1, 2, 2, 4]) == SignedRank(4, 1.0, pytest.approx(2 / 16))
    assert signed_rank([1, -2, 2, 4]) == SignedRank(4, pytest.approx((7.5 - 2.5) / 10), pytest.approx(8 / 16))
    assert signed_rank([0, 0]) == SignedRank(0, 0.0, 1.0)
    assert signed_rank([]) == SignedRank(0, 0.0, 1.0)
    assert signed_rank([0, 3, 0]) == SignedRank(1, 1.0, 1.0)
    assert signed_rank([-1, -2, -3, -4, -5, -6]).p == pytest.approx(2 / 64)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(-6, 6).filter(bool), min_size=2, max_size=8))
def test_scipy_counts_the_same_signs(values: list[int]) -> None:
    exact = wilcoxon(values, method=PermutationMethod(n_resamples=1 << 12))
    assert signed_rank(values).p == pytest.approx(exact.pvalue)


def test_many_differences_are_tested_by_the_normal_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.round(np.random.default_rng(0).normal(0.15, 1, 150), 1)
    exact = signed_rank(values)
    monkeypatch.setattr(paired_tests, "EXACT", 100)
    approximate = signed_rank(values)
    known = wilcoxon(values[values != 0], method="asymptotic", correction=True)
    assert approximate.p == pytest.approx(known.pvalue)
    assert approximate.p == pytest.approx(exact.p, rel=0.05)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_laws_of_holm(values: list[float]) -> None:
    corrected = holm(values)
    assert all(p <= c <= 1 for p, c in zip(values, corrected, strict=True))
    assert corrected[int(np.argmin(values))] == pytest.approx(min(1, len(values) * min(values)))


def run(values: dict[str, list[float | None]], metric: str = "dice") -> list[Score]:
    """Scores of cases a, b, c … by structure."""
    made = []
    for structure, column in values.items():
        for n, value in enumerate(column):
            more = {} if metric in ("dice", "volume_error_cm3") else {"distances": {metric: value}}
            dice = value if metric == "dice" else None
            error = value if metric == "volume_error_cm3" else None
            case = chr(ord("a") + n)
            made.append(Score(case, structure, "both", dice, 1, 1, 1.0, 1.0, error, None, **more))  # type: ignore[arg-type]
    return made


LOW = [0.80, 0.81, 0.79, 0.83, 0.84, 0.78, 0.82, 0.80]


def test_two_runs_by_hand() -> None:
    first = run({"red": LOW, "green": [0.5, 0.6, 0.7, 0.5]})
    second = run({"red": [v + 0.01 * (n + 1) for n, v in enumerate(LOW)], "green": [0.5, 0.5, 0.8, None]})
    result = compare_runs(first, second, names=("old", "new"))
    red, green = result.structures
    assert (red.structure, red.n, red.unpaired, red.better, red.worse) == ("red", 8, 0, 8, 0)
    assert red.difference.mean == pytest.approx(0.045)
    assert (red.effect, red.p) == (1.0, pytest.approx(2 / 256))
    assert red.p_holm == pytest.approx(4 / 256)
    assert (red.shown, red.verdict) == ("new", "new better")
    assert (green.n, green.unpaired, green.better, green.worse) == (3, 1, 1, 1)
    assert (green.shown, green.verdict) == (None, "no difference shown")
    assert green.p_holm == 1.0
    # Case by case over both structures: a and e … h by red alone.
    assert result.overall.n == 8
    assert result.overall.difference.mean == pytest.approx(
        np.mean([(0.01 + 0) / 2, (0.02 - 0.1) / 2, (0.03 + 0.1) / 2, 0.04, 0.05, 0.06, 0.07, 0.08])
    )
    turned = compare_runs(second, first, names=("new", "old"))
    assert turned.structures[0].effect == -1.0
    assert turned.structures[0].shown == "new"


@pytest.mark.parametrize(
    ("metric", "first", "second"),
    [
        ("hd95_mm", [5.0] * 8, [4.0 - 0.1 * n for n in range(8)]),
        ("nsd_2mm", [0.5] * 8, [0.6 + 0.01 * n for n in range(8)]),
        ("volume_error_cm3", [-5.0] * 8, [2.0 + 0.1 * n for n in range(8)]),
    ],
)
def test_less_is_better_of_distances_and_errors(metric: str, first: list[float], second: list[float]) -> None:
    result = compare_runs(run({"red": first}, metric), run({"red": second}, metric), metric=metric)
    assert result.structures[0].shown == "second"
    assert result.overall.effect == 1.0


def test_chance_is_rarely_taken_for_a_difference() -> None:
    """Two runs that differ by chance alone, in ten structures: at most about one time in twenty something is shown."""
    draw = np.random.default_rng(0)
    shown = 0
    for _ in range(60):
        runs = [run({f"s{n}": list(draw.normal(0.8, 0.05, 12)) for n in range(10)}) for _ in range(2)]
        shown += any(comparison.shown for comparison in compare_runs(*runs).structures)
    assert shown <= 6


def test_runs_that_cannot_be_compared() -> None:
    one = run({"red": LOW})
    with pytest.raises(DatasetError, match="old and new have no case in common"):
        compare_runs(one, [], names=("old", "new"))
    with pytest.raises(UsageError, match="no metric is called dyce") as caught:
        compare_runs(one, one, metric="dyce")
    assert "hd95_mm" in caught.value.hint
    with pytest.raises(UsageError):
        rank_runs({"a": one, "b": one}, metric="dyce")
    with pytest.raises(DatasetError):
        rank_runs({"a": one, "b": []})
    missing = compare_runs(one, run({"green": LOW}))
    assert [(c.n, c.unpaired, c.verdict) for c in missing.structures] == [(0, 8, "no difference shown")] * 2


def test_a_ranking_does_not_pretend() -> None:
    equal = {"a": run({"red": LOW}), "b": run({"red": [v + 0.001 * (-1) ** n for n, v in enumerate(LOW)]})}
    ranking = rank_runs(equal)
    assert [place.rank for place in ranking.places] == [1, 1]
    assert ranking.verdict == "no difference shown between a and b (8 cases)"
    worse = [v - 0.1 - 0.001 * n for n, v in enumerate(LOW)]
    ranking = rank_runs({"worse": run({"red": worse}), **equal})
    assert [(p.rank, p.run) for p in ranking.places] == [(1, "a"), (1, "b"), (3, "worse")]
    assert [p.run for p in rank_runs({**equal, "worse": run({"red": worse})}).places] == ["a", "b", "worse"]
    assert ranking.places[0].better_than == ("worse",)
    assert ranking.places[0].no_difference == ("b",)
    assert ranking.verdict.splitlines() == [
        "1. a: better than worse; no difference shown from b",
        "1. b: better than worse; no difference shown from a",
        "3. worse: worse than all others",
    ]


def test_a_ranking_pays_for_every_pair() -> None:
    """Six cases, each better by a little: 2/64 for one pair is enough, for the best of three pairs it is not."""
    runs = {name: run({"red": [0.5 + step + 0.01 * n for n in range(6)]}) for name, step in (("a", 0), ("b", 0.1))}
    assert rank_runs(runs).verdict.startswith("1. b: better than a")
    three = {**runs, "c": run({"red": [0.7 + 0.01 * n for n in range(6)]})}
    assert rank_runs(three).verdict == "no difference shown between c, b and a (6 cases)"


def test_a_ranking_rests_on_the_cases_that_all_have() -> None:
    ranking = rank_runs({"a": run({"red": LOW}), "b": run({"red": [*LOW[:3], None, *LOW[4:], 0.0]})})
    assert (ranking.cases, ranking.left_out) == (7, 2)
    assert ranking.places[0].metric.n == 7
    assert ranking.places[0].metric.mean == ranking.places[1].metric.mean


def test_five_cases_show_nothing() -> None:
    """With five pairs no signed-rank test falls below 0.05, however clear they are."""
    result = compare_runs(run({"red": [0.1] * 5}), run({"red": [0.9] * 5}))
    assert result.structures[0].p == pytest.approx(2 / 32)
    assert result.structures[0].verdict == "no difference shown"


def test_every_metric_has_a_way() -> None:
    assert [
        better_direction(name) for name in ("dice", "recall", "hd_px", "assd_mm", "nsd_0.5px", "volume_error_percent")
    ] == [
        "higher",
        "higher",
        "lower",
        "lower",
        "higher",
        "nearer to 0",
    ]
