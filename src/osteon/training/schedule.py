"""How the learning rate goes from the beginning of a training to its end."""

from __future__ import annotations

import math
from collections.abc import Callable

from osteon.plan.schema import Training

MIN_RATE = 1e-4
"""The rate never falls below this part of its peak, so that the last steps are not idle (not for `onecycle`)."""
POLYNOMIAL_POWER = 0.9
"""nnU-Net's (Isensee et al., Nat. Methods 18, 2021)."""
RISE_SHARE = 0.3
"""The part of the training in which a cycle rises."""
CYCLE_START = 1 / 25
"""Where a cycle begins, as a part of the peak; it ends at CYCLE_END of that. torch's OneCycleLR has the same."""
CYCLE_END = 1e-4

DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": lambda left: 0.5 + 0.5 * math.cos(math.pi * left),
    "polynomial": lambda left: (1 - left) ** POLYNOMIAL_POWER,
    "constant": lambda _: 1.0,
}


def rate_factor(training: Training, done: float, epochs: int) -> float:
    """The learning rate's part of its peak: warm-up, then decay.

    Args:
        training: Names the schedule.
        done: The part of the training that is done, 0 … 1.
        epochs: Whole epochs that are done; the exponential schedule follows them.
    """
    if training.schedule == "onecycle":
        return _one_cycle(done)
    rise = min(1.0, done / training.warm_up) if training.warm_up else 1.0
    if training.schedule == "exponential":
        return max(MIN_RATE, rise * training.decay**epochs)
    if rise < 1:
        return max(MIN_RATE, rise)
    left = min(1.0, (done - training.warm_up) / (1 - training.warm_up)) if training.warm_up < 1 else 1.0
    return max(MIN_RATE, DECAYS[training.schedule](left))


def _one_cycle(done: float) -> float:
    """One cycle: up to the peak and down far below the start, along cosines (Smith and Topin, SPIE 11006, 2019)."""
    if done < RISE_SHARE:
        return _cosine_between(CYCLE_START, 1.0, done / RISE_SHARE)
    return _cosine_between(1.0, CYCLE_START * CYCLE_END, min(1.0, (done - RISE_SHARE) / (1 - RISE_SHARE)))


def _cosine_between(first: float, last: float, part: float) -> float:
    return last + (first - last) * (0.5 + 0.5 * math.cos(math.pi * part))
