"""`osteon import` and `osteon plan`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from osteon.cli.device_option import device_option
from osteon.cli.option_values import Between, Groups, MaskMarks, MeshSpaces, MeshUnits, RleOrders
from osteon.cli.output import out, report_failures, report_lost
from osteon.cli.plan_options import asked, is_given, takes_choices
from osteon.core.errors import UsageError
from osteon.core.progress import console, format_duration
from osteon.core.quantities import format_bytes, parse_seconds
from osteon.core.text import pluralise
from osteon.planning.options import Choices

if TYPE_CHECKING:
    from osteon.plan.schema import Plan


def import_(
    source: Annotated[Path, typer.Argument(help="The data, as it is: a folder or a list; the form is recognised.")],
    dataset: Annotated[Path, typer.Argument(help="The folder that becomes the dataset.")],
    form: Annotated[
        str | None, typer.Option(help="Its form, such as meshes or pairs; recognised when left out.")
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Keep cases for the final test: last:6, first:6, 0.2, or ids by comma.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Import these cases alone; the same selectors.")] = None,
    labels: Annotated[str | None, typer.Option(help="NAME=VALUE,… over what the source says.")] = None,
    modality: Annotated[str | None, typer.Option(help="ct, mr, xray or other, over what the source says.")] = None,
    subject: Annotated[str | None, typer.Option(help="Regular expression; its first group is the subject.")] = None,
    site: Annotated[str | None, typer.Option(help="The same for the site.")] = None,
    case_pattern: Annotated[
        str | None, typer.Option(help="Regular expression; its first group in a file's path is the case.")
    ] = None,
    group: Annotated[Groups, typer.Option(help="Meshes: which of them become one structure.")] = Groups.color,
    mesh_unit: Annotated[MeshUnits | None, typer.Option(help="Meshes: found out when left out.")] = None,
    mesh_space: Annotated[MeshSpaces | None, typer.Option(help="Meshes: found out when left out.")] = None,
    priority: Annotated[
        str | None, typer.Option(help="NAME,…: the first wins where structures overlap; overlaps stay when left out.")
    ] = None,
    accept_gaps: Annotated[
        bool, typer.Option("--accept-gaps", help="DICOM: take series with missing or uneven slices, resampled.")
    ] = False,
    resample_tilt: Annotated[
        bool, typer.Option("--resample-tilt", help="DICOM: take series with a tilted gantry, resampled.")
    ] = False,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="DICOM: let names, ids and dates into the dataset.")
    ] = False,
    series: Annotated[
        str | None,
        typer.Option(help="DICOM: of several series of a case, the one with this number, UID or description."),
    ] = None,
    ignore_references: Annotated[
        bool,
        typer.Option(
            "--ignore-references", help="DICOM: take SEG and RTSTRUCT by grid, though they name another scan."
        ),
    ] = False,
    between_slices: Annotated[
        Between, typer.Option(help="Labels on every second slice or so: draw those between, or not.")
    ] = Between.fill,
    rle_order: Annotated[
        RleOrders | None, typer.Option(help="RLE: along what pixels are counted; by the column's name when left out.")
    ] = None,
    rle_base: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="RLE: the first pixel's number; by the column's name when left out."),
    ] = None,
    mask_marks: Annotated[
        MaskMarks | None,
        typer.Option(help="Masks of pictures: which pixels are the structure; found out when left out."),
    ] = None,
    repair_geometry: Annotated[
        bool, typer.Option("--repair-geometry", help="Resample labels that do not lie on their image's grid.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Take cases whose label is empty.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset.yaml that is there.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
) -> None:
    """Check every case of a source and write dataset.yaml. Your files stay where and as they are."""
    import osteon

    report = osteon.import_dataset(
        source,
        dataset,
        form=form,
        hold_out=hold_out,
        only=only,
        structures=labels_of(labels),
        modality=modality,
        subject_pattern=subject,
        site_pattern=site,
        case_pattern=case_pattern,
        group=group.value,
        mesh_unit=mesh_unit and mesh_unit.value,
        mesh_space=mesh_space and mesh_space.value,
        priority=None if priority is None else [name.strip() for name in priority.split(",")],
        accept_gaps=accept_gaps,
        resample_tilt=resample_tilt,
        keep_identity=keep_identity,
        series=series,
        ignore_references=ignore_references,
        between_slices=between_slices.value,
        rle_order=rle_order and rle_order.value,
        rle_base=None if rle_base is None else (1 if rle_base else 0),
        mask_marks=mask_marks and mask_marks.value,
        repair_geometry=repair_geometry,
        allow_empty=allow_empty,
        overwrite=overwrite,
        workers=workers,
        announce=lambda line: out.print(escape(line), soft_wrap=True),
    )
    if report.repeated:
        console.print(
            f"{escape(str(dataset))}: was imported already, from the same files with the same options; "
            "--overwrite does it again",
            soft_wrap=True,
        )
    for warning in report.warnings:
        console.print(f"[yellow]note:[/] {escape(warning)}", soft_wrap=True)
    manifest = report.manifest
    held = sum(case.held_out for case in manifest.cases)
    unlabelled = sum(case.segmentation is None for case in manifest.cases)
    parts = [f"{len(manifest.trainable)} to train on", f"{held} held out", f"{unlabelled} without a label"]
    out.print(
        f"{escape(str(dataset))}: {pluralise(len(manifest.cases), 'case')} "
        f"({', '.join(p for p in parts if p[0] != '0')}), "
        f"structures {', '.join(escape(s.name) for s in manifest.structures) or 'none'}",
        soft_wrap=True,
    )
    report_lost(report.lost)
    report_failures(report.failed, "left out")
    if report.lost:
        raise typer.Exit(1)


def labels_of(text: str | None) -> dict[str, int] | None:
    """`NAME=VALUE,…` of `--labels`. Raises UsageError where it is something else."""
    if text is None:
        return None
    found: dict[str, int] = {}
    hint = "--labels L1=1,L2=2, for example"
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or re.fullmatch(r"-?[0-9]+", value) is None:
            raise UsageError(f"--labels: {part!r} is not NAME=VALUE", hint=hint)
        if name in found:
            raise UsageError(f"--labels: {name} is given twice", hint=hint)
        found[name] = int(value)
    return found


@takes_choices
def plan(
    context: typer.Context,
    choices: Choices,
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    device: Annotated[str, device_option("What sizes are chosen for.")] = "auto",
    budget: Annotated[
        str | None, typer.Option(help="Time that a training will have (30min): sizes for what this machine does in it.")
    ] = None,
    measure_budget: Annotated[
        str | None, typer.Option(help="Most time for trying out what the plan costs; 15s, or a fifth of --budget.")
    ] = None,
    no_cost: Annotated[bool, typer.Option("--no-cost", help="Leave the forecast out: nothing is tried.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a plan.yaml that is there.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
) -> None:
    """Measure the cases and write plan.yaml: every decision with its reason, and what training will cost."""
    from osteon.dataset.dataset import Dataset
    from osteon.plan.schema import FILE_NAME, read_plan
    from osteon.planning.dataset_plan import plan_dataset, tell_outdated
    from osteon.runs.record import check_plan_fits

    seconds = None if budget is None else parse_seconds(budget)
    for option, limit in (("--budget", budget), ("--measure-budget", measure_budget)):
        if limit is not None and no_cost:
            raise UsageError(
                f"{option} and --no-cost contradict each other: without measuring there is nothing to spend it on",
                hint="leave one of them out",
            )
    path = dataset / FILE_NAME
    if path.is_file() and not force:
        given = [*asked(context), *(f"--{name}" for name in ("device", "budget") if is_given(context, name))]
        if given:
            raise UsageError(
                f"{path} is there already; {given[0]} would change it",
                hint="edit it, or --force to make it anew",
            )
        before = read_plan(path)
        check_plan_fits(Dataset.open(dataset), before)
        show_plan(before)
        tell_outdated(dataset)
        out.print(f"is there already: {escape(str(path))}; --force makes it anew", soft_wrap=True)
        return
    planned = plan_dataset(
        dataset,
        choices,
        device=device,
        measure_cost=not no_cost,
        measure_budget_s=None if measure_budget is None else parse_seconds(measure_budget),
        budget_s=seconds,
        workers=workers,
    )
    show_plan(planned.plan)
    out.print(f"written: {escape(str(path))}", soft_wrap=True)
    report_failures(planned.failed, "not measured")


def show_plan(plan: Plan) -> None:
    """The plan's main decisions, and its forecast, in a few lines."""
    grid, cost = plan.grid, plan.forecast
    size = "×".join(map(str, plan.patch.size))
    spacing = "×".join(f"{s:.3g}" for s in grid.spacing_mm)
    out.print(f"grid      {grid.dimensions}D, {spacing} {plan.unit} along {'-'.join(grid.axes)}")
    out.print(f"patch     {size}, batch {plan.patch.batch}")
    out.print(f"network   {escape(plan.network.told)}")
    training = plan.training
    out.print(f"training  recipe {training.recipe}, {training.optimiser}, loss {training.loss}, {training.precision}")
    if plan.zoom is not None:
        out.print(f"zoom      on {escape(', '.join(plan.zoom.structures))}", soft_wrap=True)
    out.print(
        f"forecast  cache {format_bytes(cost.cache_bytes)}, training {format_bytes(cost.training_bytes)}, "
        f"predicting {format_bytes(cost.predicting_bytes)} of memory"
    )
    if cost.seconds_per_iteration:
        total = training.epochs * training.epoch_iterations * cost.seconds_per_iteration
        out.print(
            f"time      {cost.seconds_per_iteration:.2g} s an iteration; {training.epochs} epochs take about "
            f"{format_duration(total)}, or as long as --budget says"
        )
