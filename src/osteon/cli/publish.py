"""`osteon publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import out, report_notes
from osteon.core.quantities import format_bytes
from osteon.core.text import pluralise


def publish(
    run: Annotated[Path, typer.Argument(help="A model folder, or the run that made it.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    licence: Annotated[
        str, typer.Option(help="Under which others may use it: cc-by-4.0, apache-2.0, …, or a file with its text.")
    ] = "",
    author: Annotated[list[str] | None, typer.Option(help="Family, Given; once for each author.")] = None,
    title: Annotated[str | None, typer.Option(help="Its name; the folder's when left out.")] = None,
    intended_use: Annotated[str, typer.Option(help="What it is for, in a sentence.")] = "",
    no_onnx: Annotated[bool, typer.Option("--no-onnx", help="Leave the network in ONNX out.")] = False,
) -> None:
    """Make a folder of a model to give away: card, checksums, ONNX, and no name of any scan. Nothing is uploaded."""
    import osteon

    done = osteon.publish(
        run,
        folder,
        licence=licence,
        authors=author or [],
        title=title,
        intended_use=intended_use,
        onnx=not no_onnx,
    )
    report_notes(done.notes)
    size = sum((done.folder / name).stat().st_size for name in done.files)
    out.print(f"{pluralise(len(done.files), 'file')}, {format_bytes(size)}: {escape(str(done.folder))}")
