"""A sweep: every trial a run of its own, the same command goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.live import Live

from osteon.core.devices import resolve_device, sizing_kind
from osteon.core.errors import UsageError
from osteon.core.files import write_yaml
from osteon.core.locks import LOCK_NAME as LOCK
from osteon.core.locks import lock_folder
from osteon.core.progress import console, is_quiet, progress_logger, track
from osteon.core.records import read_record
from osteon.dataset.dataset import Dataset
from osteon.planning.fingerprint import measure_fingerprint
from osteon.runs.options import check_options
from osteon.runs.splits import CaseContents, check_structures, split_cases
from osteon.runs.tracked_run import track_run
from osteon.sweeping.median_stopping import CurvePoint
from osteon.sweeping.run_trial import TrialOutcome, check_trial, read_outcome, run_trial
from osteon.sweeping.search import check_optuna, extreme_values, propose
from osteon.sweeping.spec import Sweep, read_sweep
from osteon.sweeping.table import sweep_table, write_table
from osteon.sweeping.trials import Trial, TrialFactory, grid_values, trial_name

RECORD = "sweep.yaml"
TABLE = "sweep.csv"
FIXED_KEYS = ("dataset", "budget", "epochs", "fold", "folds", "folds_by")
"""What a sweep cannot go on with when it is changed: its trials could not be compared."""


@dataclass(frozen=True)
class SweepReport:
    """What a sweep came to.

    Attributes:
        folder: Of the runs and of sweep.csv.
        keys: What the trials differ in.
        rows: Each trial and what became of it.
        refused: Trial → why no plan could be made of the values that a search had drawn.
    """

    folder: Path
    keys: list[str]
    rows: list[tuple[Trial, TrialOutcome]]
    refused: dict[str, str]

    @property
    def failed(self) -> dict[str, str]:
        """Trial → error."""
        ended = {trial.name: outcome.why for trial, outcome in self.rows if outcome.state == "failed"}
        return self.refused | ended


def run_sweep(file: Path, *, dry: bool = False) -> SweepReport:
    """Run every trial of a SWEEP.yaml that is not done; writes `folder`/sweep.csv after each.

    Args:
        file: The sweep; see `spec.Sweep`.
        dry: Make the plans, and run nothing.

    Raises:
        PlanError: A key of the sweep or of a plan is unknown or nonsense; nothing was begun.
        UsageError: The sweep was started with another dataset or budget, or another one works in its folder; Optuna is
            not installed.
        DatasetError: There are too few cases; a structure occurs in none to train on.
    """
    sweep = read_sweep(file)
    if sweep.search is not None:
        check_optuna()
    dataset = Dataset.open(Path(sweep.dataset))
    fingerprint = measure_fingerprint(dataset, workers=sweep.workers)
    factory = TrialFactory(sweep, dataset, fingerprint, sizing_kind(resolve_device(sweep.device)))
    first = grid_values(sweep) if sweep.search is None else extreme_values(sweep.search)
    planned = [trial for values in first for trial in factory.trials(values)]
    for trial in planned:
        check_options(trial.options, trial.plan)
        check_trial(trial)
    shown = CaseContents({case.id: case.structures for case in fingerprint.cases})
    training, _ = split_cases(dataset, sweep.options(sweep.seeds[0]), shown)
    check_structures(dataset, dataset.structures, shown.present, {0: training})
    folder = Path(sweep.folder or file.stem)
    _check_record(folder, sweep)
    if dry:
        return SweepReport(folder, sweep.keys, [(trial, read_outcome(trial)) for trial in planned], {})
    with lock_folder(folder, "another sweep", "wait until it has ended, or give this sweep a folder of its own"):
        return _run_trials(folder, sweep, factory, len(planned))


def _run_trials(folder: Path, sweep: Sweep, factory: TrialFactory, planned: int) -> SweepReport:
    tried = _check_record(folder, sweep)  # as it is now that no other sweep works in it
    write_yaml(folder / RECORD, _record_of(sweep) | {"tried": tried})
    facts = {"keys": ", ".join(sweep.keys), "seeds": len(sweep.seeds), "budget_s": sweep.budget, "epochs": sweep.epochs}
    with track_run(folder, factory.dataset.manifest.name, sweep.track, facts) as tracker:
        return _run_tracked(folder, sweep, factory, planned, tried, None if tracker is None else tracker.run_id)


def _run_tracked(
    folder: Path, sweep: Sweep, factory: TrialFactory, planned: int, tried: list[dict[str, Any]], parent: str | None
) -> SweepReport:
    rows = _TrialRows(folder, sweep, parent)
    source = _grid_trials(factory, rows) if sweep.search is None else _search_trials(factory, rows, tried)
    trials = (trial for group in source for trial in group)
    if console.is_terminal and not is_quiet():
        with Live(console=console, auto_refresh=False) as live:
            for trial in trials:
                rows.run(trial, live)
    else:
        total = planned if sweep.search is None else sweep.search.trials * len(sweep.seeds)
        for trial in track(trials, "trials", total=total):
            rows.run(trial, None)
    return SweepReport(folder, sweep.keys, rows.all, rows.refused)


class _TrialRows:
    """The trials so far, shown and written."""

    def __init__(self, folder: Path, sweep: Sweep, parent: str | None) -> None:
        self.folder, self.sweep, self.parent = folder, sweep, parent
        self.by_name: dict[str, tuple[Trial, TrialOutcome]] = {}
        self.refused: dict[str, str] = {}

    @property
    def all(self) -> list[tuple[Trial, TrialOutcome]]:
        return list(self.by_name.values())

    def put(self, trial: Trial, outcome: TrialOutcome) -> None:
        self.by_name[trial.name] = (trial, outcome)

    def run(self, trial: Trial, live: Live | None) -> None:
        def show(outcome: TrialOutcome) -> None:
            self.put(trial, outcome)
            if live is not None:
                live.update(
                    sweep_table(self.all, self.sweep.keys, several_seeds=len(self.sweep.seeds) > 1), refresh=True
                )

        trial = replace(trial, options=replace(trial.options, track_parent=self.parent))
        outcome = run_trial(trial, Path(self.sweep.dataset), lambda: self._others(trial), self.sweep.stop, show)
        show(outcome)
        write_table(self.folder / TABLE, self.all, self.sweep.keys)
        if live is None:
            dice = "no Dice" if outcome.dice is None else f"Dice {outcome.dice:.3f}"
            progress_logger.info(f"{trial.name}: {outcome.state}, {dice}{': ' * bool(outcome.why)}{outcome.why}")

    def dice(self, trials: list[Trial]) -> float | None:
        """Mean over the seeds; None where all failed."""
        scores = [self.by_name[trial.name][1] for trial in trials]
        known = [outcome.dice for outcome in scores if outcome.state != "failed" and outcome.dice is not None]
        return fmean(known) if known else None

    def _others(self, trial: Trial) -> list[tuple[CurvePoint, ...]]:
        return [
            outcome.curve
            for other, outcome in self.by_name.values()
            if other.values != trial.values and outcome.state in ("done", "stopped")
        ]


def _grid_trials(factory: TrialFactory, rows: _TrialRows) -> Iterator[list[Trial]]:
    every = [factory.trials(values) for values in grid_values(factory.sweep)]
    for trials in every:
        for trial in trials:
            rows.put(trial, read_outcome(trial))
    yield from every


def _search_trials(factory: TrialFactory, rows: _TrialRows, tried: list[dict[str, Any]]) -> Iterator[list[Trial]]:
    """Values that were asked for once stay what they were, however an interrupted search went on."""
    search = factory.sweep.search
    history: list[tuple[dict[str, Any], float | None]] = []
    while search is not None and len(history) < search.trials:
        if len(history) == len(tried):
            tried.append(propose(search, history))
            write_yaml(rows.folder / RECORD, _record_of(factory.sweep) | {"tried": tried})
        values = tried[len(history)]
        try:
            trials = factory.trials(values)
            for trial in trials:
                check_trial(trial)
        except UsageError as error:
            rows.refused[trial_name(values, None)] = error.message
            history.append((values, None))
            continue
        yield trials
        history.append((values, rows.dice(trials)))


def _record_of(sweep: Sweep) -> dict[str, Any]:
    over = {} if sweep.search is None else sweep.search.model_dump(mode="json", include={"over"})
    return sweep.model_dump(mode="json", include=set(FIXED_KEYS)) | over


def _check_record(folder: Path, sweep: Sweep) -> list[dict[str, Any]]:
    """What a search has tried already. Raises UsageError where the folder holds another sweep, or other things."""
    path = folder / RECORD
    if not path.is_file():
        if folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
            raise UsageError(f"{folder}: holds other things than a sweep", hint="give the sweep another folder")
        return []
    hint = "restore it, or give the sweep another folder"
    before = read_record(path, "the sweep's record", dict[str, Any], hint)
    now = _record_of(sweep)
    defaults = {key: Sweep.model_fields[key].default for key in FIXED_KEYS}  # an earlier record lacks what came later
    changed = [key for key in (*FIXED_KEYS, "over") if before.get(key, defaults.get(key)) != now.get(key)]
    if changed:
        raise UsageError(
            f"{folder}: the sweep was started with other choices: {', '.join(changed)}",
            hint="give the same to continue, or another folder",
        )
    return before.get("tried") or []
