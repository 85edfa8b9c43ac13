"""`osteon import` and `osteon plan`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from osteon.cli.import_options import with_import_options
from osteon.cli.output import describe_devices, info, out, report_failures, report_not_imported, report_notes
from osteon.cli.plan_options import given_options, is_given, parse_plan_options, with_plan_options
from osteon.cli.shared_options import device_option
from osteon.cli.terminal import can_ask
from osteon.core.errors import UsageError
from osteon.core.progress import format_duration
from osteon.core.quantities import format_bytes, parse_seconds
from osteon.core.text import pluralise
from osteon.importing.options import parse_option

if TYPE_CHECKING:
    from osteon.plan.schema import Plan


@with_import_options
def import_(
    source: Annotated[Path, typer.Argument(help="The data: a folder or a list; the form is recognised.")],
    dataset: Annotated[Path, typer.Argument(help="The folder that becomes the dataset.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing dataset.yaml.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
    **options: Any,
) -> None:
    """Check every case of a source and write dataset.yaml. Your files stay where and as they are."""
    import osteon

    given = {name: parse_option(name, value) if isinstance(value, str) else value for name, value in options.items()}
    report = osteon.import_dataset(
        source,
        dataset,
        **given | {"structures": parse_structures(options["structures"])},
        overwrite=overwrite,
        workers=workers,
        announce=lambda line: out.print(escape(line)),
        ask=partial(typer.confirm, default=True, err=True) if can_ask() else None,
    )
    if report.repeated:
        info(
            f"{escape(str(dataset))}: was imported already, from the same files with the same options; "
            "--overwrite does it again"
        )
    report_notes(report.warnings)
    manifest = report.manifest
    held = sum(case.held_out for case in manifest.cases)
    unlabelled = sum(case.segmentation is None for case in manifest.cases)
    parts = [f"{len(manifest.trainable)} to train on", f"{held} held out", f"{unlabelled} without a label"]
    out.print(
        f"{escape(str(dataset))}: {pluralise(len(manifest.cases), 'case')} "
        f"({', '.join(p for p in parts if p[0] != '0')}), "
        f"structures {', '.join(escape(s.name) for s in manifest.structures) or 'none'}"
    )
    report_not_imported(report.lost)
    report_failures(report.failed, "left out")
    if report.lost:
        raise typer.Exit(1)


def parse_labels(text: str | None) -> dict[str, int] | None:
    """`NAME=VALUE,…` of `--labels`. Raises UsageError where it is something else."""
    values = parse_structures(text)
    if values is None:
        return None
    labels: dict[str, int] = {}
    for name, value in values.items():
        if isinstance(value, str):
            raise UsageError(f"--labels: {name}={value}: is a range", hint="--labels L1=1,L2=2, for example")
        labels[name] = value
    return labels


def parse_structures(text: str | None) -> dict[str, int | str] | None:
    """`NAME=VALUE,…` or `NAME=FIRST-LAST,…` of `--labels`; ranges stay text. Raises UsageError for something else."""
    if text is None:
        return None
    labels: dict[str, int | str] = {}
    hint = "--labels L1=1,L2=2, for example"
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or re.fullmatch(r"-?[0-9]+|[0-9]+ *- *[0-9]+", value) is None:
            raise UsageError(f"--labels: {part!r} is not NAME=VALUE", hint=hint)
        if name in labels:
            raise UsageError(f"--labels: {name} is given twice", hint=hint)
        labels[name] = int(value) if "-" not in value[1:] else value
    return labels


@with_plan_options
def plan(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    device: Annotated[str, device_option("The device that sizes are chosen for.")] = "auto",
    budget: Annotated[
        str | None, typer.Option(help="Time for the training (30min): sizes are chosen to suit it on this machine.")
    ] = None,
    measure_budget: Annotated[
        str | None, typer.Option(help="Time limit for measuring what the plan costs; 15s, or a fifth of --budget.")
    ] = None,
    no_cost: Annotated[bool, typer.Option("--no-cost", help="No forecast: nothing is measured.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing plan.yaml.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as memory allows when left out.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Say what training on so many devices of a machine costs.")] = 1,
    **options: Any,
) -> None:
    """Measure the cases and write plan.yaml: every decision with its reason, and what training will cost."""
    from osteon.dataset.dataset import Dataset
    from osteon.plan.schema import FILE_NAME, read_plan, write_plan
    from osteon.planning.dataset_plan import plan_dataset, warn_outdated
    from osteon.runs.record import check_plan_fits

    choices, seconds = parse_plan_options(options), None if budget is None else parse_seconds(budget)
    for option, limit in (("--budget", budget), ("--measure-budget", measure_budget)):
        if limit is not None and no_cost:
            raise UsageError(
                f"{option} and --no-cost contradict each other: without measuring there is nothing to spend it on",
                hint="leave one of them out",
            )
    path = dataset / FILE_NAME
    if path.is_file() and not force:
        given = [*given_options(context), *(f"--{name}" for name in ("device", "budget") if is_given(context, name))]
        if given:
            raise UsageError(
                f"{path} is there already; {given[0]} would change it", hint="edit it, or --force to make a new one"
            )
        before = read_plan(path)
        check_plan_fits(Dataset.open(dataset), before)
        print_plan(before, devices)
        warn_outdated(dataset)
        out.print(f"is there already: {escape(str(path))}; --force makes a new one")
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
    write_plan(path, planned.plan)
    print_plan(planned.plan, devices)
    out.print(f"written: {escape(str(path))}")
    report_failures(planned.failed, "not measured")


def print_plan(plan: Plan, devices: int = 1) -> None:
    """The plan's main decisions, and its forecast on so many devices, in a few lines."""
    grid, cost = plan.grid, plan.forecast
    size = "×".join(map(str, plan.patch.size))
    spacing = "×".join(f"{s:.3g}" for s in grid.spacing_mm)
    out.print(f"grid      {grid.dimensions}D, {spacing} {plan.unit} along {'-'.join(grid.axes)}")
    out.print(f"patch     {size}, batch {plan.patch.batch}")
    if devices > 1:
        out.print(f"devices   {describe_devices(plan, devices)}")
    out.print(f"network   {escape(plan.network.description)}")
    training = plan.training
    out.print(f"training  recipe {training.recipe}, {training.optimiser}, loss {training.loss}, {training.precision}")
    if plan.zoom is not None:
        out.print(f"zoom      on {escape(', '.join(plan.zoom.structures))}")
    out.print(
        f"forecast  cache {format_bytes(cost.cache_bytes)}, training {format_bytes(cost.training_bytes)}"
        f"{' on each device' if devices > 1 else ''}, "
        f"predicting {format_bytes(cost.predicting_bytes)} of memory"
    )
    if per_iteration := cost.seconds_on(devices):
        total = training.epochs * training.epoch_iterations * per_iteration
        out.print(
            f"time      {per_iteration:.2g} s an iteration; {training.epochs} epochs take about "
            f"{format_duration(total)}, or as long as --budget says"
        )
