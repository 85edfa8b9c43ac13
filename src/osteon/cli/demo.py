"""`osteon demo`: the main job from beginning to end, on fractures it makes up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import info, out
from osteon.core.errors import UsageError
from osteon.core.progress import is_quiet
from osteon.core.quantities import parse_seconds
from osteon.core.text import pluralise

MAX_PICTURES = 4


def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything is written.")] = Path("demo"),
    cases: Annotated[int, typer.Option(min=6, help="Humeri to train with.")] = 30,
    unseen: Annotated[int, typer.Option(min=1, help="Humeri to test with.")] = 6,
    budget: Annotated[str, typer.Option(help="Time to train.")] = "4min",
    seed: Annotated[int, typer.Option(help="Random seed of the cohort and the training.")] = 0,
) -> None:
    """Make up fractured humeri, import, plan, train, predict unseen cases, evaluate. On a CPU, in minutes."""
    import osteon
    from osteon.dataset.manifest import FILE_NAME as MANIFEST
    from osteon.evaluating.table import summary_table
    from osteon.plan.schema import FILE_NAME

    source, dataset, run, predictions = (folder / name for name in ("scans", "dataset", "run", "predictions"))
    seconds = parse_seconds(budget)
    _print_step("1", f"{cases + unseen} CT scans of fractured humeri, written in the form of clinical data", source)
    _make_cohort(source, cases=cases, unseen=unseen, seed=seed)
    _print_step("2", "imported: checked; the files stay where they are", dataset)
    if not (dataset / MANIFEST).is_file():
        osteon.import_dataset(source, dataset)
    _print_step("3", "measured and planned: every decision with its reason", dataset / FILE_NAME)
    if not (dataset / FILE_NAME).is_file():
        osteon.make_plan(dataset, budget_s=seconds)
    _print_step("4", f"trained for {budget}", run)
    osteon.train(dataset, run, budget_s=seconds, seed=seed)
    _print_step("5", f"predicted: {pluralise(unseen, 'scan')} that the training has not seen", predictions)
    osteon.predict(run, source / "imagesTs", predictions)
    _print_step("6", "evaluated", predictions / "metrics.csv")
    result = osteon.evaluate(predictions, source / "labelsTs", predictions)
    picture = folder / "overview.png"
    _draw_overview(picture, source, predictions, result.scores)
    out.print()
    title = "Fragments in unseen scans"
    out.print(
        summary_table(result.summaries, result.overall, result.structures, title=title, width=out.width),
        soft_wrap=False,
    )
    out.print(f"picture  {escape(str(picture))}")
    out.print(f"model    {escape(str(run / 'model'))}")
    out.print(f"scores   {escape(str(predictions / 'metrics.csv'))}")


def _make_cohort(source: Path, *, cases: int, unseen: int, seed: int) -> None:
    """Write the scans, unless they are there; another cohort never mixes with one that a model was trained on."""
    from osteon.core.files import read_json, write_json
    from osteon.phantoms.cohort import write_humerus_cohort

    record, wanted = source / "cohort.json", {"cases": cases, "unseen": unseen, "seed": seed}
    if record.is_file():
        if read_json(record, "the cohort's record") != wanted:
            raise UsageError(
                f"{source.parent}: holds a demo with other cases or another seed", hint="give another folder"
            )
        return
    write_humerus_cohort(source, cases=cases, unseen=unseen, seed=seed)
    write_json(record, wanted)


def _print_step(number: str, text: str, place: Path) -> None:
    if not is_quiet():
        info(f"[bold]{number}[/] {text}  [dim]{escape(str(place))}[/]")


def _draw_overview(picture: Path, source: Path, predictions: Path, scores: object) -> None:
    """The first cases with reference and prediction."""
    from osteon.drawing.overview import PictureRow, write_overview
    from osteon.formats import read_segmentation, read_volume

    rows = []
    for path in sorted(predictions.glob("[!.]*.nii.gz"))[:MAX_PICTURES]:
        case = path.name.removesuffix(".nii.gz")
        dice = {s.structure: s.dice for s in scores if s.case == case}  # type: ignore[attr-defined]
        rows.append(
            PictureRow(
                case,
                read_volume(source / "imagesTs" / path.name),
                read_segmentation(path),
                read_segmentation(source / "labelsTs" / path.name),
                "ct",
                dice,
            )
        )
    write_overview(picture, rows)
