"""`osteon audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import out, report_failures, shorten
from osteon.core.errors import UsageError

MAX_SHOWN = 12
COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def audit(
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
    augmented: Annotated[
        bool, typer.Option("--augmented", help="Show augmented training patches instead, as plan.yaml describes them.")
    ] = False,
    samples: Annotated[
        int | None, typer.Option(min=1, max=1000, help="With --augmented: how many; 24 when left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="With --augmented: random seed; 0 by default.")] = None,
) -> None:
    """Show what is wrong with the data: a page with ranked findings and a picture of every case."""
    import osteon

    if augmented:
        drawn = osteon.audit_augmented(dataset, samples=samples or 24, seed=seed or 0, workers=workers)
        out.print(f"written: {escape(str(drawn.page))}")
        report_failures(drawn.failed, "could not be prepared")
        return
    if samples is not None or seed is not None:
        raise UsageError("--samples and --seed belong to --augmented", hint="add --augmented, or leave them out")
    result = osteon.audit(dataset, workers=workers)
    out.print(escape(f"{dataset}: {result.summary()}"))
    for finding in result.findings[:MAX_SHOWN]:
        where = shorten(finding.cases, 4) if finding.cases else "all"
        out.print(f"[{COLOURS[finding.severity]}]{finding.severity:8}[/] {where}: {escape(finding.what)}")
        if finding.severity != "note":
            out.print(f"         → {escape(finding.action)}")
    rest = len(result.findings) - MAX_SHOWN
    if rest > 0:
        out.print(f"… and {rest} more")
    out.print(f"written: {escape(str(result.page))}")
    report_failures(result.failed, "could not be read")
