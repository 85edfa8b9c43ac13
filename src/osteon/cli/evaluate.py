"""`osteon evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.dataset import parse_structures
from osteon.cli.output import info, out, report_failures, report_notes, shorten, warn
from osteon.core.errors import CaseError
from osteon.core.quantities import parse_numbers


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="A folder of predictions, or one file.")],
    reference: Annotated[Path, typer.Argument(help="A dataset, a folder of labels with the same names, or one file.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for metrics.csv and metrics.json (and pieces.csv); PREDICTION when left out."),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Group by a field of dataset.yaml's cases, such as site.")] = None,
    tolerance: Annotated[str, typer.Option(help="Tolerance of the NSD, in mm (px in pictures): 2, or 1,2,3.")] = "2",
    match_iou: Annotated[
        float, typer.Option(min=0, max=1, help="Pieces (fragments, tumours) match above this IoU.")
    ] = 0.5,
    overlap_only: Annotated[bool, typer.Option("--overlap-only", help="No distances and no pieces: faster.")] = False,
    labels: Annotated[
        str | None,
        typer.Option(help="NAME=VALUE,… (NAME=FIRST-LAST of numbered pieces): what numbers without names mean."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
) -> None:
    """Dice, distances, NSD and volume error of each structure, over all cases that have a prediction."""
    import osteon
    from osteon.evaluating.instance_summary import summarise_instances
    from osteon.evaluating.table import group_table, piece_table, summary_table
    from osteon.predicting.training_cases import VALIDATED

    folder = to or (prediction if prediction.is_dir() else None)
    result = osteon.evaluate(
        prediction,
        reference,
        folder,
        by=by,
        tolerances=parse_numbers(tolerance, "a tolerance"),
        match_iou=match_iou,
        surfaces=not overlap_only,
        labels=parse_structures(labels),
        workers=workers,
    )
    known = result.cases_trained_on
    pieces = [(summary.structure, summary) for summary in result.piece_summaries]
    if result.cases_unseen or not known:
        out.print(summary_table(result.summaries, result.overall, result.structures, width=out.width), soft_wrap=False)
    if pieces:
        out.print(piece_table(pieces, result.structures, width=out.width), soft_wrap=False)
    if known:
        title = "trained on: no test"
        out.print(
            summary_table(
                result.trained_on, result.overall_trained_on, result.structures, title=title, width=out.width
            ),
            soft_wrap=False,
        )
        if own := summarise_instances([score for score in result.pieces if score.case in known]):
            lines = [(summary.structure, summary) for summary in own]
            heading = f"numbered pieces, {title}"
            out.print(piece_table(lines, result.structures, title=heading, width=out.width), soft_wrap=False)
        warn(
            f"the model was trained on {len(known)} of {len(known) + len(result.cases_unseen)} cases, which "
            f"are in none of the other metrics: {shorten(known)}"
        )
    validated = [case for case, role in result.training_roles.items() if role == VALIDATED]
    if validated:
        info(
            f"{len(validated)} cases were validated on: they chose the model's epoch, post-processing and calibration, "
            f"and a final test needs others: {shorten(validated)}"
        )
    if by is not None:
        out.print(group_table(result.groups, by, width=out.width), soft_wrap=False)
        several = len(pieces) > 1
        lines = [(f"{g.name}: {s.structure}" if several else g.name, s) for g in result.groups for s in g.pieces]
        if lines:
            out.print(piece_table(lines, first=by, width=out.width), soft_wrap=False)
    wrong = {s.structure: s.wrong_level for s in result.summaries if s.wrong_level}
    if wrong:
        listed = shorten([f"{name} {count}×" for name, count in wrong.items()])
        warn(f"on the wrong level: {listed}")
    if result.missing:
        warn(f"without a prediction: {shorten(result.missing)}")
    if result.unmatched:
        warn(f"without a reference: {shorten(result.unmatched)}")
    report_notes(result.notes)
    if folder:
        out.print(f"each case: {escape(str(folder / 'metrics.csv'))}")
    report_failures({f.case: CaseError(f.message, hint=f.hint) for f in result.failures}, "could not be scored")
