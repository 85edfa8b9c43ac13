"""How commands say what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.markup import escape

from osteon.core.errors import OsteonError
from osteon.core.progress import console
from osteon.core.text import shorten_list

out = Console(highlight=False)
"""The result of a command goes to standard output."""


def report_failures(failed: Mapping[str, OsteonError], what: str) -> None:
    """Name every case that failed and end with exit code 1; nothing where none did."""
    if not failed:
        return
    cases = f"{len(failed)} case{'s' * (len(failed) != 1)}"
    console.print(f"[bold red]{cases} {what}:[/]", soft_wrap=True)
    for case, error in failed.items():
        console.print(f"  {escape(case)}: {escape(error.message)}", soft_wrap=True)
        if error.hint:
            console.print(f"    → {escape(error.hint)}", soft_wrap=True)
    raise typer.Exit(1)


def report_lost(lost: Sequence[str]) -> None:
    """Name what was there and was not taken; the command should then end with 1. Nothing where all was taken."""
    if lost:
        console.print(f"[bold red]{len(lost)} passed over:[/]")
    for line in lost:
        console.print(f"  {escape(line)}", soft_wrap=True)


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are, as rich prints them."""
    return escape(shorten_list(names, most))
