"""`osteon sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import info, out
from osteon.core.text import pluralise


def sweep(
    file: Annotated[Path, typer.Argument(help="SWEEP.yaml: dataset, budget or epochs, and a grid or a search.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make every trial's plan, list the trials, run nothing.")
    ] = False,
) -> None:
    """Try many plans with one budget, and rank them. Run it again after an interruption: it goes on."""
    import osteon
    from osteon.sweeping.table import seeds_table, sweep_table

    report = osteon.sweep(file, dry=dry_run)
    several = len({trial.seed for trial, _ in report.rows}) > 1
    out.print(sweep_table(report.rows, report.keys, several_seeds=several), soft_wrap=False)
    if several:
        out.print(seeds_table(report.rows, report.keys), soft_wrap=False)
    for trial, outcome in report.rows:
        if outcome.state == "stopped":
            out.print(f"stopped early: {escape(f'{trial.name}: {outcome.why}')}")
    if not dry_run:
        out.print(f"each trial is a run: {escape(str(report.folder))}/TRIAL; the table: sweep.csv")
    if report.failed:
        info(f"[bold red]{pluralise(len(report.failed), 'trial')} failed:[/]")
        for name, why in report.failed.items():
            info(f"  {escape(name)}: {escape(why)}")
        raise typer.Exit(1)
