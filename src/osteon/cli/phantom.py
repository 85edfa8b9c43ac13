"""`osteon phantom`: made-up cohorts in the forms in which hospitals hand data over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.option_values import PhantomKind, PhantomLayout, PhantomVariants, choices
from osteon.cli.output import out


def phantom(
    kind: Annotated[str, typer.Argument(metavar=choices(PhantomKind), help="What to make up.")],
    folder: Annotated[Path, typer.Argument(help="Where it is written: a new or an empty folder.")],
    cases: Annotated[int, typer.Option(min=1, help="How many.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; a case depends only on it and on its number.")] = 0,
    size: Annotated[
        int | None, typer.Option(help="Voxels or pixels along the longest axis, in the same field of view.")
    ] = None,
    layout: Annotated[
        PhantomLayout | None, typer.Option(help="Humerus: a folder for each case, all in one folder, or mixed (usual).")
    ] = None,
    variants: Annotated[
        PhantomVariants | None,
        typer.Option(
            help="Spine: thoracic and lumbar levels with exceptions as often as in people, or each in turn. "
            "Humerus: numbered pieces without names."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing phantoms.")] = False,
) -> None:
    """Make up a cohort in one job's own form, with the truth beside it, to try osteon on."""
    from osteon.phantoms.record import TRUTH
    from osteon.phantoms.registry import SIDECAR, find_kind, make_request, write_phantoms

    request = make_request(kind, cases=cases, seed=seed, size=size, layout=layout, variants=variants)
    made = write_phantoms(folder, request, overwrite=overwrite)
    row = find_kind(request.kind, request.variants)
    state = "written" if made else "is there already"
    out.print(f"{state}: {escape(row.what)}")
    out.print(f"truth   {escape(str(folder / TRUTH))}, sizes in {escape(str(folder / SIDECAR))}")
    command = f"osteon import {folder / row.source} DATASET {row.options}".rstrip()
    out.print(f"import  {escape(command)}")
