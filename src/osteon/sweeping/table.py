"""A sweep as a table: sweep.csv, and the same on the terminal, the best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.markup import escape
from rich.table import Table

from osteon.core.files import write_text
from osteon.core.spreadsheets import to_csv
from osteon.sweeping.run_trial import TrialOutcome
from osteon.sweeping.trials import Trial

Rows = Sequence[tuple[Trial, TrialOutcome]]


def rank_trials(rows: Rows) -> list[tuple[Trial, TrialOutcome]]:
    """Done trials by Dice, then running, stopped, failed and waiting ones, each by Dice."""
    order = {"done": 0, "running": 1, "stopped": 2, "failed": 3, "waiting": 4}
    return sorted(rows, key=lambda row: (order[row[1].state], -(row[1].dice or 0.0)))


def sweep_table(rows: Rows, keys: Sequence[str], *, several_seeds: bool) -> Table:
    """Every trial, the best first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right")
    for key in [*keys, *(["seed"] if several_seeds else [])]:
        table.add_column(escape(key), overflow="fold")
    for head in ("Dice", "state", "time"):
        table.add_column(head, justify="right" if head != "state" else "left", overflow="fold")
    for number, (trial, outcome) in enumerate(rank_trials(rows), 1):
        values = [_format(trial.values.get(key)) for key in keys] + ([str(trial.seed)] if several_seeds else [])
        state = f"running {outcome.progress:.0%}" if outcome.state == "running" else outcome.state
        spent = "" if outcome.seconds is None else f"{outcome.seconds:.0f} s"
        table.add_row(str(number), *map(escape, values), _format_dice(outcome.dice), state, spent)
    return table


def seeds_table(rows: Rows, keys: Sequence[str]) -> Table:
    """Mean and standard deviation over the seeds of what is done, the best first."""
    groups: dict[str, tuple[Mapping[str, Any], list[float]]] = {}
    for trial, outcome in rows:
        if outcome.state == "done" and outcome.dice is not None:
            groups.setdefault(repr(dict(trial.values)), (trial.values, []))[1].append(outcome.dice)
    table = Table(box=None, pad_edge=False)
    for key in keys:
        table.add_column(escape(key), overflow="fold")
    for head in ("mean Dice", "SD", "seeds"):
        table.add_column(head, justify="right", overflow="fold")
    for values, scores in sorted(groups.values(), key=lambda group: -fmean(group[1])):
        spread = f"{stdev(scores):.3f}" if len(scores) > 1 else "–"
        table.add_row(
            *(escape(_format(values.get(key))) for key in keys), _format_dice(fmean(scores)), spread, str(len(scores))
        )
    return table


def write_table(path: Path, rows: Rows, keys: Sequence[str]) -> None:
    """sweep.csv: one row for each trial, the best first."""
    structures = list(dict.fromkeys(name for _, outcome in rows for name in outcome.structures or {}))
    head = ["trial", *keys, "seed", "state", "dice", *(f"dice_{name}" for name in structures)]
    head += ["progress", "iterations", "seconds", "why"]
    table: list[list[object]] = [[*head]]
    for trial, outcome in rank_trials(rows):
        each = [(outcome.structures or {}).get(name) for name in structures]
        values = ["" if key not in trial.values else _format(trial.values[key]) for key in keys]
        end = [outcome.progress, outcome.iterations, outcome.seconds, outcome.why]
        table.append([trial.name, *values, trial.seed, outcome.state, outcome.dice, *each, *end])
    write_text(path, to_csv(table))


def _format(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


def _format_dice(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
