"""`osteon report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import out, report_failures
from osteon.core.errors import UsageError
from osteon.core.text import pluralise


def report(
    folder: Annotated[Path, typer.Argument(help="A dataset, or a folder that `osteon predict` has written.")],
    cases: Annotated[list[str] | None, typer.Argument(metavar="[CASE…]", help="Their ids; all when left out.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the reports; FOLDER/reports when left out.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Of a dataset: predictions of its cases, for confidences, reasons and names.")
    ] = None,
    modality: Annotated[str, typer.Option(help="Of predictions, for the window of grey: ct, mr, xray.")] = "other",
    forms: Annotated[str, typer.Option("--form", help="html, pdf, or both.")] = "html,pdf",
) -> None:
    """A page for each case (HTML, PDF): pictures, volumes, confidence, reasons, who approved it, versions, notes."""
    import osteon
    from osteon.dataset.modality import parse_modality

    if to is not None and to.exists() and not to.is_dir():
        raise UsageError(f"{to}: is a file, and a folder is needed", hint="give another one with --to")
    wanted = [form.strip() for form in forms.split(",")]
    kind = parse_modality(modality) or "other"
    made = osteon.report(folder, cases or (), to, predictions=predictions, modality=kind, forms=wanted)
    if made.written:
        out.print(f"{pluralise(len(made.written), 'report')}: {escape(str(made.out))}")
    report_failures(made.failed, "could not be read")
