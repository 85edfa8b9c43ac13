"""When a training ends: after a number of iterations, or of seconds."""

from __future__ import annotations

from dataclasses import dataclass

from osteon.core.devices import device_kind
from osteon.plan.schema import Forecast
from osteon.training.checkpoint import TrainingState


@dataclass(frozen=True)
class TrainingLimits:
    """When a training ends: after so many iterations, or so many seconds. One of the two is given."""

    iterations: int | None
    budget_s: float | None

    def done(self, state: TrainingState, elapsed_s: float) -> float:
        """The part that is done, 0 … 1."""
        if self.budget_s is not None:
            return min(1.0, elapsed_s / self.budget_s)
        return min(1.0, state.iteration / max(1, self.iterations or 1))

    def remaining_s(self, state: TrainingState, cost: Forecast, kind: str) -> float | None:
        """Seconds that the training will still take on a kind of device; None where nothing was measured on such."""
        if self.budget_s is not None:
            return self.budget_s - state.elapsed_s
        if self.iterations is None or cost.seconds_per_iteration is None or device_kind(cost.device) != kind:
            return None
        return (self.iterations - state.iteration) * cost.seconds_per_iteration
