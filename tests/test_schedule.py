"""Schedules: the learning rate at places where it can be calculated."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from helpers import tiny_plan
from osteon.plan.sections import Schedule
from osteon.training.schedule import MIN_RATE, rate_factor


def factor(schedule: str, done: float, epochs: int = 0, **numbers: Any) -> float:
    changes = {"training.schedule": schedule} | {f"training.{key}": value for key, value in numbers.items()}
    return rate_factor(tiny_plan(changes).training, done, epochs)


@pytest.mark.parametrize(
    ("schedule", "quarter", "half"),
    [
        ("cosine", 0.5 + 0.5 * math.sqrt(0.5), 0.5),
        ("polynomial", 0.75**0.9, 0.5**0.9),
        ("constant", 1.0, 1.0),
    ],
)
def test_decays_follow_what_is_done(schedule: str, quarter: float, half: float) -> None:
    assert [factor(schedule, done, 7) for done in (0.0, 0.25, 0.5)] == pytest.approx([1, quarter, half])
    # After a warm-up of a fifth the rest is the whole way.
    warm = [factor(schedule, done, warm_up=0.2) for done in (0.05, 0.1, 0.2, 0.4, 0.6)]
    assert warm == pytest.approx([0.25, 0.5, 1, quarter, half])
    assert factor(schedule, 0, warm_up=0.2) == MIN_RATE


def test_exponential_falls_with_each_epoch_and_not_between() -> None:
    assert [factor("exponential", 0.3, epochs, decay=0.9) for epochs in (0, 1, 3)] == pytest.approx([1, 0.9, 0.729])
    assert factor("exponential", 0.9, 3, decay=0.9) == pytest.approx(0.729)
    assert factor("exponential", 0.1, 1, decay=0.9, warm_up=0.2) == pytest.approx(0.45)
    assert factor("exponential", 0.9, 500, decay=0.9) == MIN_RATE


def test_one_cycle_is_torchs() -> None:
    steps = 101
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=1.0, total_steps=steps, pct_start=31 / 101, cycle_momentum=False
    )
    for step in range(steps):
        assert factor("onecycle", step / (steps - 1), warm_up=0.5) == pytest.approx(cycle.get_last_lr()[0], rel=1e-6)
        optimiser.step()
        if step < steps - 1:
            cycle.step()
    assert factor("onecycle", 0) == pytest.approx(1 / 25)
    assert factor("onecycle", 0.3) == pytest.approx(1)
    assert factor("onecycle", 1) == pytest.approx(1 / 25 * 1e-4)


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("warm_up", [0.0, 0.3, 1.0])
def test_every_schedule_stays_within_bounds_to_the_end(schedule: str, warm_up: float) -> None:
    rates = [factor(schedule, n / 50, n, warm_up=warm_up) for n in range(51)]
    assert all(0 < rate <= 1 for rate in rates)
    ends = {"cosine": MIN_RATE, "polynomial": MIN_RATE, "onecycle": 4e-6, "exponential": 0.99**50, "constant": 1}
    if warm_up < 1:
        assert rates[-1] == pytest.approx(ends[schedule])
    assert factor(schedule, 1.0, 50, warm_up=warm_up) == rates[-1]
