"""How much of what a network says of a row's levels is to be believed."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from osteon.predicting.level_assignment import Floats, Slot, rank_assignments

SHARPNESS = 4.0
"""How much one body's levels say, before any validation."""
MISFIT = 0.3
"""Misfit at which levels are right or wrong, as a coin falls, before any validation."""
WAYS = 4
"""So many ways to name a row are then as likely as each other: a level or two off to either side."""


class LevelTrust(BaseModel):
    """How much of what a network says of a row is to be believed, as validation has found it.

    A network that has never seen such a spine may be a level off in all bodies alike, and then they agree; but what
    each of them shows fits no level as well as in spines that it knows.

    Attributes:
        sharpness: What the evidence of one body counts.
        misfit: Of a row (`measure_misfit`), at which its levels are believed by half.
    """

    model_config = ConfigDict(frozen=True)

    sharpness: float = Field(SHARPNESS, gt=0)
    misfit: float = Field(MISFIT, gt=0)

    def soften(self, probability: float, misfit: float) -> float:
        """Of names, where levels are believed without reserve → where they may be wrong in all bodies alike."""
        share = 1 / (1 + (misfit / self.misfit) ** 2)
        return share * probability + (1 - share) / WAYS


USUAL_TRUST = LevelTrust()


def measure_misfit(evidence: Floats, steps: Sequence[float], slots: Sequence[Slot]) -> float:
    """How badly even the likeliest names explain what bodies show: minus the mean of their evidence, from 0.

    Args:
        evidence: `[body, slot]`, 0 where a body shows just what the slot's own would.
        steps: See `rank_assignments`.
        slots: See `rank_assignments`.
    """
    best = rank_assignments(SHARPNESS * evidence, steps, slots)[:1]
    places = [slots.index(slot) for assignment in best for slot in assignment.slots]
    return max(0.0, -float(evidence[range(len(places)), places].mean())) if places else 0.0
