"""How commands print results, notes and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from osteon.core.errors import OsteonError
from osteon.core.progress import console
from osteon.core.text import pluralise, shorten_list

if TYPE_CHECKING:
    from osteon.plan.schema import Plan

out = Console(highlight=False, soft_wrap=True)
"""Standard output, for a command's result; lines are not broken."""


def info(text: str) -> None:
    """Print a line of markup to standard error."""
    console.print(text, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line of markup to standard error, in yellow."""
    info(f"[yellow]{text}[/]")


def plain_table(columns: Sequence[str], left: Sequence[str] = ()) -> Table:
    """A table without lines; columns are aligned on the right where some are named in `left`, but for those."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if left and column not in left else "left", overflow="fold")
    return table


def report_notes(notes: Sequence[str]) -> None:
    """Print what a user should know, a line each."""
    for line in notes:
        info(f"[yellow]note:[/] {escape(line)}")


def report_failures(failed: Mapping[str, OsteonError], what: str) -> None:
    """Print every case that failed and end with exit code 1; nothing where none did."""
    if not failed:
        return
    info(f"[bold red]{pluralise(len(failed), 'case')} {what}:[/]")
    for case, error in failed.items():
        info(f"  {escape(case)}: {escape(error.message)}")
        if error.hint:
            info(f"    → {escape(error.hint)}")
    raise typer.Exit(1)


def report_not_imported(lost: Sequence[str]) -> None:
    """Print what was there and not imported; the command should then end with 1. Nothing where all was imported."""
    if lost:
        info(f"[bold red]{len(lost)} skipped:[/]")
    for line in lost:
        info(f"  {escape(line)}")


def shorten(names: Sequence[str], max_names: int = 8) -> str:
    """The first names and the number of the others, as markup."""
    return escape(shorten_list(names, max_names))


def describe_devices(plan: Plan, devices: int, nodes: int = 1) -> str:
    """`2 devices on each of 3 nodes, 4 patches on each: 24 in an iteration`."""
    where = pluralise(devices, "device") + (f" on each of {nodes} nodes" if nodes > 1 else "")
    batch = plan.patch.batch
    return f"{where}, {pluralise(batch, 'patch', 'patches')} on each: {devices * nodes * batch} in an iteration"
