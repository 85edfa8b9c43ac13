"""`osteon audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.report import out, report_failures, some

SHOWN = 12
COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def audit(
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
) -> None:
    """Show what is wrong with the data: a page with ranked findings and a picture of every case."""
    import osteon

    result = osteon.audit(dataset, workers=workers)
    out.print(escape(f"{dataset}: {result.summary()}"), soft_wrap=True)
    for finding in result.findings[:SHOWN]:
        where = some(finding.cases, 4) if finding.cases else "all"
        out.print(
            f"[{COLOURS[finding.severity]}]{finding.severity:8}[/] {where}: {escape(finding.what)}", soft_wrap=True
        )
        if finding.severity != "note":
            out.print(f"         → {escape(finding.action)}", soft_wrap=True)
    rest = len(result.findings) - SHOWN
    if rest > 0:
        out.print(f"… and {rest} more", soft_wrap=True)
    out.print(f"written: {escape(str(result.page))}", soft_wrap=True)
    report_failures(result.failed, "could not be read")
