"""One trial from its beginning, or from where it was interrupted, to its end; and what became of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from osteon.core.errors import UsageError
from osteon.core.files import write_yaml
from osteon.core.processes import group_leader_options
from osteon.core.records import read_record
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import read_plan, write_plan
from osteon.predicting.records import WEIGHTS, read_validation
from osteon.runs.record import has_started, plan_hash
from osteon.sweeping.median_stopping import CurvePoint, StoppingRule, StopReason, check_stopping, read_curve
from osteon.sweeping.trials import Trial

STOPPED = "stopped.yaml"
LOG = "trial.log"
POLL_S = 0.5
GRACE_S = 60.0
"""A trial that is told to end finishes its iteration and saves; after this it is killed."""

TrialState = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial.

    Attributes:
        state: `stopped`: ended early, since it fell behind.
        dice: Mean validation Dice: of whole scans on their own grids when done, else the best so far.
        structures: The same for each structure, when done.
        progress: The part of the training that was done.
        iterations: Iterations done.
        seconds: Of training.
        curve: Its validations.
        why: The error, or the median that it fell behind.
    """

    state: TrialState
    dice: float | None = None
    structures: dict[str, float | None] | None = None
    progress: float = 0.0
    iterations: int | None = None
    seconds: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    why: str = ""


def read_outcome(trial: Trial) -> TrialOutcome:
    """The outcome that the run's folder records: done, stopped, or waiting (begun or not)."""
    curve = read_curve(trial.run / "metrics.csv", trial.plan, trial.options)
    best = max((dice for _, dice in curve), default=None)
    outcome = TrialOutcome("waiting", best, progress=curve[-1][0] if curve else 0.0, curve=tuple(curve))
    if (trial.run / "model" / WEIGHTS).is_file():
        validation = read_validation(trial.run / "model")
        training = validation["training"]
        return replace(
            outcome,
            state="done",
            dice=validation["dice"],
            structures=validation["structures"],
            progress=1.0,
            iterations=training["iterations"],
            seconds=training["seconds"],
        )
    if (trial.run / STOPPED).is_file():
        hint = "remove it, and the trial continues"
        record = read_record(trial.run / STOPPED, "why the trial was stopped", StopReason, hint)
        why = f"{record['dice']:.3f} at {record['progress']:.0%}, where the median was {record['median']:.3f}"
        return replace(outcome, state="stopped", why=why)
    return outcome


def check_trial(trial: Trial) -> None:
    """Raises UsageError where the run was started with another plan than the trial has now."""
    if not has_started(trial.run):
        return
    if plan_hash(read_plan(trial.run / PLAN)) != plan_hash(trial.plan):
        raise UsageError(
            f"{trial.run}: was started with another plan than {trial.name} has now: the sweep or the data have changed",
            hint="give the sweep another folder, or remove this run",
        )


def run_trial(
    trial: Trial,
    dataset: Path,
    earlier: Callable[[], Sequence[Sequence[CurvePoint]]],
    rule: StoppingRule | None,
    show: Callable[[TrialOutcome], None],
) -> TrialOutcome:
    """Train in a process of its own, and end it where it falls behind.

    Args:
        trial: Its run goes on where it was interrupted; one that is done or was stopped is left as it is.
        dataset: A folder with dataset.yaml.
        earlier: The validations of each earlier trial.
        rule: When to end a bad one; None: never.
        show: Is given the outcome so far, now and then.
    """
    before = read_outcome(trial)
    if before.state != "waiting":
        return before
    if not has_started(trial.run):
        write_plan(trial.run / PLAN, trial.plan)
    began = time.monotonic()
    with (trial.run / LOG).open("ab") as log:
        process = subprocess.Popen(
            trial_command(trial, dataset),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            **group_leader_options(),
        )
        try:
            stopped = _watch(process, trial, earlier, rule, show)
        finally:
            _end(process)
    if stopped is not None and process.returncode != 0:
        write_yaml(trial.run / STOPPED, stopped.model_dump())
    after = read_outcome(trial)
    if after.state != "waiting":
        return replace(after, seconds=after.seconds or round(time.monotonic() - began, 1))
    return replace(after, state="failed", why=_read_error(trial.run / LOG, process.returncode))


def trial_command(trial: Trial, dataset: Path) -> list[str]:
    """The command that trains it."""
    options = json.dumps(asdict(trial.options))
    return [sys.executable, "-m", "osteon.sweeping.trial_process", str(dataset), str(trial.run), options]


def _watch(
    process: subprocess.Popen[bytes],
    trial: Trial,
    earlier: Callable[[], Sequence[Sequence[CurvePoint]]],
    rule: StoppingRule | None,
    show: Callable[[TrialOutcome], None],
) -> StopReason | None:
    """Wait for the process; the reason where it shall be ended."""
    validations = -1
    while True:
        outcome = replace(read_outcome(trial), state="running")
        show(outcome)
        if rule is not None and len(outcome.curve) != validations:
            validations = len(outcome.curve)
            stopped = check_stopping(outcome.curve, earlier(), rule)
            if stopped is not None:
                return stopped
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the process save and end; kill it where it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_error(log: Path, code: int) -> str:
    """The error in a log, or its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error:")]
    message = " ".join(lines[errors[-1] :]) if errors else (lines[-1] if lines else f"ended with {code}")
    killed = f" (killed by signal {-code}; out of memory?)" if code < 0 else ""
    return message.removeprefix("error: ") + killed
