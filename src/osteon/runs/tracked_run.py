"""A run and its counterpart on an MLflow server, where `--track` names one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from osteon.core.version import __version__
from osteon.plan.schema import Plan
from osteon.runs.options import TrainOptions
from osteon.training.tracking import Tracker, parse_track


@contextmanager
def track_run(
    folder: Path,
    experiment: str,
    track: str | None,
    parameters: dict[str, Any],
    parent: str | None = None,
) -> Iterator[Tracker | None]:
    """A run of the server while the block lasts, which says there how it ended; None where nothing is tracked.

    Args:
        folder: The run's, after which it is called; where it was tracked before, it goes on as the same.
        experiment: Its name.
        track: `mlflow:URI`, or None.
        parameters: What the run is made with.
        parent: The id of the run that this one is a part of.

    Raises:
        UsageError: The server does not answer.
    """
    if track is None:
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.resolve().name
    tracker = Tracker(parse_track(track), experiment, name, folder, parent, {**parameters, "osteon": __version__})
    try:
        yield tracker
    except BaseException as error:
        tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.end("FINISHED")


def run_parameters(plan: Plan, options: TrainOptions) -> dict[str, Any]:
    """What people compare runs by; no id of a case, and no path."""
    spacing = "x".join(f"{value:.3g}" for value in plan.grid.spacing_mm)
    return {
        "network": plan.network.description.partition(", weights ")[0],
        "recipe": plan.training.recipe,
        "loss": plan.training.loss,
        "learning_rate": plan.training.learning_rate,
        "dimensions": plan.grid.dimensions,
        "spacing": f"{spacing} {plan.unit}",
        "patch": "x".join(map(str, plan.patch.size)),
        "batch": plan.patch.batch,
        "structures": len(plan.structures),
        "fold": options.fold,
        "seed": options.seed,
        "budget_s": options.budget_s,
        "epochs": options.epochs,
    }


def log_result(tracker: Tracker | None, validation: dict[str, Any]) -> None:
    """The Dice of whole scans at the end, after post-processing."""
    if tracker is None:
        return
    figures = {"final_dice": validation.get("dice")}
    figures |= {f"final_dice_{name}": dice for name, dice in validation.get("structures", {}).items()}
    known = {name: float(value) for name, value in figures.items() if value is not None}
    tracker.log_metrics(known, validation.get("training", {}).get("iterations", 0))
