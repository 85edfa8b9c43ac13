"""`osteon compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.dataset import parse_structures
from osteon.cli.output import out, plain_table, report_failures
from osteon.core.errors import UsageError
from osteon.core.quantities import parse_numbers


def compare(
    predictions: Annotated[
        list[Path], typer.Argument(help="Runs (their validation), folders of predictions, or CSVs of RLE.")
    ],
    reference: Annotated[Path, typer.Option(help="The dataset, or a folder of label files.")],
    to: Annotated[Path, typer.Option(help="Folder of report.html, comparison.csv, cases.csv (and pieces.csv).")] = Path(
        "comparison"
    ),
    tolerance: Annotated[str, typer.Option(help="Tolerance of the NSD, in mm (px in pictures): 2, or 1,2,3.")] = "2",
    overlap_only: Annotated[bool, typer.Option("--overlap-only", help="No distances and no pieces: faster.")] = False,
    labels: Annotated[
        str | None,
        typer.Option(help="NAME=VALUE,… (NAME=FIRST-LAST of numbered pieces): what numbers without names mean."),
    ] = None,
) -> None:
    """Compare runs, predictions and tables on the same scans: tables, tests, charts and pictures on one page."""
    import osteon
    from osteon.evaluating.table import piece_table

    if to.exists() and not to.is_dir():
        raise UsageError(f"{to}: is a file, and a folder is needed", hint="give another one with --to")
    tolerances = parse_numbers(tolerance, "a tolerance")
    comparison = osteon.compare(
        predictions, reference, to, tolerances=tolerances, surfaces=not overlap_only, labels=parse_structures(labels)
    )
    table = plain_table(("rank", "", "Dice", "95% interval", "volume error %", "cases"), left=("",))
    ranks = {place.run: str(place.rank) for place in comparison.ranking.places} if comparison.ranking else {}
    for entry in comparison.entries:
        dice, error = entry.overall.dice, entry.overall.volume_error_percent
        interval = "–" if dice.low is None or dice.high is None else f"{dice.low:.3f}–{dice.high:.3f}"
        mean = "–" if dice.mean is None else f"{dice.mean:.3f}"
        percent = "–" if error.mean is None else f"{error.mean:+.1f}"
        table.add_row(
            ranks.get(entry.name, "1"), escape(entry.name), mean, interval, percent, str(len(comparison.cases))
        )
    out.print(table, soft_wrap=False)
    lines = [(f"{e.name}: {s.structure}", s) for e in comparison.entries for s in e.piece_summaries]
    if lines:
        out.print(piece_table(lines, first="", width=out.width), soft_wrap=False)
    if comparison.ranking:
        out.print(escape(comparison.ranking.verdict))
    out.print(f"the page: {escape(str(comparison.page))}")
    report_failures(comparison.failures, "could not be scored")
