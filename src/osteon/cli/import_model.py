"""`osteon import-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from osteon.cli.output import out, warn
from osteon.core.text import pluralise


def import_model(
    form: Annotated[Literal["nnunet", "monai"], typer.Argument(help="The program that made the model.")],
    folder: Annotated[
        Path,
        typer.Argument(help="TRAINER__PLANS__CONFIGURATION of nnU-Net v2, or a zip of it; or a MONAI bundle."),
    ],
    model: Annotated[Path, typer.Argument(help="The model folder to make.")],
    folds: Annotated[str | None, typer.Option(help="0,1,2 or all; by default every fold there is.")] = None,
    checkpoint: Annotated[
        Literal["final", "best", "latest"] | None, typer.Option(help="The first of these that there is when left out.")
    ] = None,
    before: Annotated[
        Path | None, typer.Option(help="Cascade: the first model's folder; beside the second when left out.")
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(help="Orientation of the training scans' files, such as RAS; by default scans are not turned."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
) -> None:
    """Turn a trained nnU-Net model or a MONAI bundle into one of osteon's; nothing in its files is run."""
    import osteon

    done = osteon.import_model(
        form,
        folder,
        model,
        folds=None if folds is None else [fold.strip() for fold in folds.split(",")],
        checkpoint=checkpoint,
        before=before,
        orientation=orientation,
        overwrite=overwrite,
    )
    for part, name in ((done.first, "first model"), (done, "model")):
        if part is None:
            continue
        for note in part.notes:
            warn(f"{escape(note)}")
        plan, many = part.plan, "s" * (len(part.folds) != 1)
        folds = f"; fold{many} {', '.join(part.folds)}" if part.folds else ""
        out.print(
            f"{name}: {plan.grid.dimensions}D {plan.network.description}; "
            f"{pluralise(len(plan.structures), 'structure')}{folds}"
        )
    out.print(f"osteon predict {escape(str(done.model))} SCAN OUT")
