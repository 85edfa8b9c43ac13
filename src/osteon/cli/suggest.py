"""`osteon suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.option_values import Speed
from osteon.cli.output import info, out, plain_table, report_failures
from osteon.cli.shared_options import device_option
from osteon.core.errors import UsageError
from osteon.core.quantities import parse_bytes
from osteon.core.text import pluralise


def suggest(
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    run: Annotated[Path, typer.Argument(help="A run on it, or its model folder.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of suggestions.csv and suggestions.json; DATASET/suggestions when left out."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Scans to suggest.")] = 10,
    labelled: Annotated[bool, typer.Option("--all", help="Labelled scans, too, to check their labels again.")] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="A folder of earlier predictions, which are not made again.")
    ] = None,
    speed: Annotated[Speed, typer.Option(help="Of predictions.")] = "balanced",
    engine: Annotated[str, typer.Option(help="What runs the network in predictions: auto, torch, …")] = "auto",
    memory: Annotated[
        str | None, typer.Option(help="Memory limit of predictions, such as 4GB; by default most of what is free.")
    ] = None,
    device: Annotated[str, device_option("What to predict on.")] = "auto",
) -> None:
    """Which unlabelled scans to label next, and why. Run it again: what is done is skipped."""
    import osteon
    from osteon.labelling.suggestion_files import FOLDER, TABLE

    folder = to or dataset / FOLDER
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file, and a folder is needed", hint="give another one with --to")
    report = osteon.suggest(
        dataset,
        run,
        folder,
        count=count,
        labelled=labelled,
        predictions=predictions,
        speed=speed,
        engine=engine,
        device=device,
        memory=None if memory is None else parse_bytes(memory),
    )
    table = plain_table(("", "scan", "score", "why"), left=("scan", "why"))
    for each in report.suggestions[: len(report.suggested)]:
        table.add_row(str(each.rank), escape(each.case), f"{each.score:.2f}", escape("\n".join(each.reasons)))
    out.print(table, soft_wrap=False)
    if len(report.suggestions) < count:
        info(f"only {pluralise(len(report.suggestions), 'scan')} could be suggested; {count} were asked for")
    out.print(f"all {pluralise(len(report.suggestions), 'scan')} in their order: {escape(str(folder / TABLE))}")
    report_failures(report.failed, "could not be read or predicted")
