"""When a bad trial is ended early: the median rule (Golovin et al., Google Vizier, KDD 2017), at equal progress."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from osteon.plan.schema import Plan
from osteon.runs.options import TrainOptions

CurvePoint = tuple[float, float]
"""The part of a training that is done (0 … 1), and the validation Dice there."""


class StoppingRule(BaseModel):
    """The median rule.

    A trial ends when the best validation Dice that it has reached lies more than `tolerance` below the median of what
    earlier trials had reached at the same progress.

    Attributes:
        after: Never before this part of the training.
        trials: Never before so many earlier trials have come as far.
        tolerance: Dice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: Annotated[float, Field(ge=0, le=1)] = 1 / 3
    trials: Annotated[int, Field(ge=1)] = 3
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.02


class StopReason(BaseModel):
    """Why a trial was ended: at which progress, with which Dice, below which median."""

    progress: float
    dice: float
    median: float


def read_curve(metrics: Path, plan: Plan, options: TrainOptions) -> list[CurvePoint]:
    """The validations in a run's metrics.csv; none where there is none yet."""
    if not metrics.is_file():
        return []
    points = []
    iterations = (options.epochs or plan.training.epochs) * plan.training.epoch_iterations
    with metrics.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            if not row.get("dice"):
                continue
            progress = (
                float(row["elapsed_s"]) / options.budget_s if options.budget_s else int(row["iteration"]) / iterations
            )
            points.append((min(1.0, progress), float(row["dice"])))
    return points


def best_dice_until(curve: Sequence[CurvePoint], progress: float) -> float | None:
    """The best Dice up to a progress; None where a trial was not validated by then, or did not come as far."""
    if not curve or curve[-1][0] < progress - 1e-9:
        return None
    return max((dice for at, dice in curve if at <= progress + 1e-9), default=None)


def check_stopping(
    curve: Sequence[CurvePoint], earlier: Sequence[Sequence[CurvePoint]], rule: StoppingRule
) -> StopReason | None:
    """Whether a trial should be ended now.

    Args:
        curve: The trial's validations so far.
        earlier: Those of each earlier trial with other values.
        rule: When.
    """
    if not curve or not rule.after <= curve[-1][0] < 1:
        return None
    progress = curve[-1][0]
    own_dice = best_dice_until(curve, progress)
    other_dices = [dice for dice in (best_dice_until(other, progress) for other in earlier) if dice is not None]
    if own_dice is None or len(other_dices) < rule.trials or own_dice >= median(other_dices) - rule.tolerance:
        return None
    return StopReason(progress=round(progress, 4), dice=own_dice, median=round(median(other_dices), 5))
