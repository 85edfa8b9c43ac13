"""When a training validates, and on which cases: often enough to keep the best weights, at a small part of its time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from osteon.preparing.cache import CachedCase
from osteon.training import ranks
from osteon.training.checkpoint import TrainingState
from osteon.training.limits import TrainingLimits
from osteon.training.validation import order_representatively

logger = logging.getLogger(__name__)
VALIDATION_SHARE = 0.05
"""Validation during a training with a time budget takes at most about this part of it,"""
MIN_VALIDATIONS = 4
"""in which so many have a place: where one of all cases would take longer, it is of fewer."""
VALIDATIONS = 20
"""Validations during a training with a number of epochs."""


class ValidationSchedule:
    """Which validations a training has.

    Args:
        cases: Cached cases that are not trained on; may be empty.
        limits: When the training ends.
        state: Where it stands; `validation_cases` is set by the first validation within a budget.
        clock: Seconds.
        seed: Which cases stand for all of them, where these take too long.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        limits: TrainingLimits,
        state: TrainingState,
        clock: Callable[[], float],
        seed: int,
    ) -> None:
        self.cases, self.limits, self.state, self.clock = order_representatively(cases, seed), limits, state, clock
        self._last_s = 0.0
        self._cost_s = 0.0

    def is_due(self, epoch: int, epoch_iterations: int, done: float, elapsed_s: float) -> bool:
        """Whether to validate at the end of an epoch.

        Args:
            epoch: Its number, from 1.
            epoch_iterations: Iterations of an epoch.
            done: The part of the training that is done, 0 … 1.
            elapsed_s: Seconds of training.
        """
        if not self.cases or done >= 1:
            return bool(self.cases)
        if self.limits.budget_s is None:
            epochs = math.ceil((self.limits.iterations or 1) / epoch_iterations)
            return epoch % max(1, epochs // VALIDATIONS) == 0
        return done >= 0.1 and (elapsed_s - self._last_s) * VALIDATION_SHARE >= self._cost_s

    def note(self, began: float, elapsed_s: float) -> None:
        """After a validation: when it began, by the clock, and the seconds of training by now."""
        self._cost_s, self._last_s = self.clock() - began, elapsed_s

    def chosen_cases(self) -> Iterable[CachedCase]:
        """The cases of the validation that begins now: all, or within a budget as many as there is time for."""
        state, budget_s = self.state, self.limits.budget_s
        if budget_s is None or state.validation_cases is not None or state.best_dice is not None:
            return self.cases[: state.validation_cases]
        return self._cases_until(self.clock() + VALIDATION_SHARE * budget_s / MIN_VALIDATIONS)

    def _cases_until(self, until: float) -> Iterator[CachedCase]:
        """The first validation's cases. Later ones look at the same. Each rank looks at one, then time is asked."""
        at_once = ranks.world_size()
        for number, case in enumerate(self.cases):
            if number and number % at_once == 0 and self.clock() >= until:
                break
            self.state.validation_cases = number + 1
            yield case
        if (count := self.state.validation_cases or 0) < len(self.cases):
            logger.info(
                f"validating on {count} of the {len(self.cases)} validation cases during the training, since all "
                f"would take too much of its time; on all of them at the end"
            )
