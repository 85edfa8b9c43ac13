"""`osteon archive watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osteon.cli.output import out


def watch(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML: the archive, rules, and what is answered.")],
    once: Annotated[
        bool, typer.Option("--once", help="End when nothing is left to do now, instead of watching on.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Take as many new studies as there are, without asking.")] = False,
) -> None:
    """Segment the new studies of an archive, and answer each there: SEG, SR and a picture, exactly once."""
    from osteon.archive.watch import watch as run
    from osteon.archive.watch_config import read_watch_config

    counts = run(read_watch_config(config), once=once, ask=not yes)
    out.print(", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "no study fits the rules")
    if counts["failed"] + counts["quarantined"]:
        raise typer.Exit(1)
