"""`osteon import-model`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import out
from osteon.core.progress import console
from osteon.core.text import pluralise


class ModelForm(StrEnum):
    """Whose models can be taken over."""

    nnunet = "nnunet"


class Which(StrEnum):
    """Of a fold's checkpoints."""

    final = "final"
    best = "best"
    latest = "latest"


def import_model(
    form: Annotated[ModelForm, typer.Argument(help="Whose model it is.")],
    folder: Annotated[
        Path, typer.Argument(help="TRAINER__PLANS__CONFIGURATION, as nnU-Net v2 wrote it, or a zip of it.")
    ],
    model: Annotated[Path, typer.Argument(help="The model folder to make.")],
    folds: Annotated[str | None, typer.Option(help="0,1,2 or all; every fold that is there when left out.")] = None,
    checkpoint: Annotated[Which | None, typer.Option(help="The first of these that there is when left out.")] = None,
    before: Annotated[
        Path | None, typer.Option(help="Cascade: the first model's folder; beside the second when left out.")
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(help="How the training scans lay, as RAS; scans are taken as they lie when left out."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that is there.")] = False,
) -> None:
    """Turn a trained nnU-Net model into one of osteon's; nothing in its files is run."""
    import osteon

    done = osteon.import_model(
        form.value,
        folder,
        model,
        folds=None if folds is None else [fold.strip() for fold in folds.split(",")],
        checkpoint=None if checkpoint is None else checkpoint.value,
        before=before,
        orientation=orientation,
        overwrite=overwrite,
    )
    for part, name in ((done.first, "first model"), (done, "model")):
        if part is None:
            continue
        for note in part.notes:
            console.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
        plan, many = part.plan, "s" * (len(part.folds) != 1)
        out.print(
            f"{name}: {plan.grid.dimensions}D {plan.network.told}; {pluralise(len(plan.structures), 'structure')}; "
            f"fold{many} {', '.join(part.folds)}",
            soft_wrap=True,
        )
    out.print(f"osteon predict {escape(str(done.model))} SCAN OUT", soft_wrap=True)
