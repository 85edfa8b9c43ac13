"""`osteon train` and `osteon predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from osteon.cli.device_option import device_option
from osteon.cli.option_values import By, Precisions
from osteon.cli.output import out, report_failures, some
from osteon.cli.plan_options import asked, takes_choices
from osteon.core.errors import UsageError
from osteon.core.progress import console, format_duration, is_quiet
from osteon.core.quantities import format_bytes, parse_bytes, parse_seconds
from osteon.planning.options import Choices

if TYPE_CHECKING:
    from osteon.plan.schema import Plan

MOST_REASONS = 3
"""To look at a scan; the record has all."""


@takes_choices
def train(
    context: typer.Context,
    choices: Choices,
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    run: Annotated[Path, typer.Argument(help="The run's folder; the model is made in RUN/model.")],
    budget: Annotated[str | None, typer.Option(help="Time to train: 90s, 20min, 1.5h.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Or a number of epochs.")] = None,
    fold: Annotated[
        str, typer.Option(help="To validate on; all: each in turn, one model of all; none: train on all.")
    ] = "0",
    folds: Annotated[int, typer.Option(min=2, help="Folds the cases are divided into.")] = 5,
    folds_by: Annotated[By, typer.Option(help="What no split parts.")] = By.subject,
    plan: Annotated[Path | None, typer.Option(help="A plan.yaml; the dataset's when left out.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="A run or model whose weights to begin with, of any labels.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides weights, patches and augmentation.")] = 0,
    device: Annotated[str, device_option("What to train on.")] = "auto",
    precision: Annotated[Precisions | None, typer.Option(help="Over what the plan says.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs without better Dice.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same result each time.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what RUN has done.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for preparing.")] = None,
) -> None:
    """Train a model. Run the same command again after an interruption: it goes on."""
    import osteon
    from osteon.runs.record import RUN

    if resume and restart:
        raise UsageError("--resume and --restart contradict each other", hint="give one of them")
    if resume and not (run / RUN).is_file():
        raise UsageError(f"{run}: there is no run to go on with", hint="leave out --resume to begin one")
    seconds = None if budget is None else parse_seconds(budget)
    chosen = _plan_for(dataset, run, plan, choices, asked(context), device, restart, seconds, workers, init)
    if patience is not None:
        training = chosen.training.model_copy(update={"patience_epochs": patience})
        chosen = chosen.model_copy(update={"training": training})
    _say_cost(chosen, seconds, epochs, folds if _fold(fold) == "all" else 1)
    report = osteon.train(
        dataset,
        run,
        plan=chosen,
        restart=restart,
        budget_s=seconds,
        epochs=epochs,
        fold=_fold(fold),
        folds=folds,
        folds_by=folds_by.value,
        init=None if init is None else str(init),
        seed=seed,
        device=device,
        precision=None if precision is None else precision.value,
        deterministic=deterministic,
        workers=workers,
    )
    validation = report.validation
    for name, value in validation["structures"].items():
        if value is not None:
            out.print(f"validation Dice  {escape(name)}  {value:.3f}")
    if validation["dice"] is not None:
        out.print(f"validation Dice  mean  {validation['dice']:.3f}  ({len(validation['cases'])} whole scans)")
    out.print(f"{report.iterations} iterations; the model: {escape(str(run / 'model'))}", soft_wrap=True)
    report_failures(report.failed, "left out")


def _plan_for(
    dataset: Path,
    run: Path,
    file: Path | None,
    choices: Choices,
    given: list[str],
    device: str,
    restart: bool,
    budget_s: float | None,
    workers: int | None,
    init: Path | None,
) -> Plan:
    """The dataset's plan, or a file's, or one that the options or the model to begin with make for this run alone."""
    from osteon.plan.overlay import overlay
    from osteon.plan.schema import read_plan
    from osteon.planning.dataset_plan import plan_of
    from osteon.planning.inherited_plan import plan_from_model
    from osteon.planning.run_plan import plan_for_run

    if file is not None:
        others = [option for option in given if option != "--set"]
        if others:
            raise UsageError(
                f"--plan and {others[0]} contradict each other: the plan has decided that",
                hint="leave one of them out, or change single keys of the plan with --set",
            )
        return overlay(read_plan(file), choices.settings or {})
    if init is not None:
        return plan_from_model(
            dataset, run, str(init), choices, device=device, restart=restart, budget_s=budget_s, workers=workers
        )
    if given:
        return plan_for_run(dataset, run, choices, device=device, restart=restart, budget_s=budget_s, workers=workers)
    return plan_of(dataset, device=device, budget_s=budget_s, workers=workers)


def _fold(text: str) -> int | Literal["all"] | None:
    if text.lower() == "none":
        return None
    if text.lower() == "all":
        return "all"
    if not text.isdigit():
        raise UsageError(
            f"--fold {text}: neither a number nor all or none", hint="--fold 0, --fold all, or --fold none"
        )
    return int(text)


def _say_cost(plan: Plan, budget_s: float | None, epochs: int | None, folds: int) -> None:
    """What the training will cost, before it starts."""
    import psutil

    per_iteration, bytes_needed = plan.forecast.seconds_per_iteration, plan.forecast.training_bytes
    if per_iteration is None:
        return
    iterations = (epochs or plan.training.epochs) * plan.training.epoch_iterations
    if budget_s is not None:
        expected = f"{format_duration(budget_s)}, about {budget_s / per_iteration:.0f} iterations"
    else:
        expected = f"{iterations} iterations, about {format_duration(iterations * per_iteration)}"
    times = f"{folds} folds of " if folds > 1 else ""
    if not is_quiet():
        console.print(f"training: {times}{expected}, {format_bytes(bytes_needed)} of memory")
    free = psutil.virtual_memory().available
    if bytes_needed and plan.forecast.device == "cpu" and bytes_needed > free:
        console.print(f"[yellow]only {format_bytes(free)} are free: make patch.size smaller in plan.yaml[/]")


def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, or the run that made it.")],
    scans: Annotated[
        list[Path], typer.Argument(help="SCAN… OUT: files, folders of files, or a dataset; the last is the output.")
    ],
    speed: Annotated[
        str, typer.Option(help="fast, balanced, or best, which averages over mirror images, too.")
    ] = "balanced",
    postprocess: Annotated[
        str, typer.Option(help="What follows: auto, as the model has it; none; or a postprocessing.yaml.")
    ] = "auto",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Keep them beside the results, for osteon vote --method soft.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="What runs the network: auto, as `osteon doctor MODEL` measured, torch, openvino, …")
    ] = "auto",
    memory: Annotated[
        str | None, typer.Option(help="Most that may be used, as 4GB; most of what is free when left out.")
    ] = None,
    device: Annotated[str, device_option("What to predict on.")] = "auto",
    series: Annotated[
        str | None,
        typer.Option(help="DICOM: of several series of a study, the one with this number, UID or description."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done.")] = False,
) -> None:
    """Segment scans on their own grids. Run it again: what is done is skipped."""
    import osteon
    from osteon.machine.engine_timing import all_passes, choose_engine
    from osteon.predicting.memory import told_needs
    from osteon.predicting.model import model_folder
    from osteon.predicting.predictor import predict as predict_scans
    from osteon.predicting.records import RECORD
    from osteon.predicting.scans import find_scans
    from osteon.predicting.speed import speed_of
    from osteon.predicting.stages import How

    if len(scans) < 2:
        raise UsageError("scans and an output folder are needed", hint="osteon predict MODEL SCAN… OUT")
    *sources, folder = scans
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: the last argument is the output's folder, and this is a file", hint="add OUT")
    limit = None if memory is None else parse_bytes(memory)
    loaded = osteon.load_model(model, device=device).with_postprocessing(postprocess)
    found = find_scans(sources, loaded.plan, series, seen=loaded.seen)
    loaded = choose_engine(loaded, model_folder(model), engine, all_passes(loaded.plan, found))
    console.print(told_needs(loaded.plan, found, limit, probabilities=probabilities), soft_wrap=True)
    report = predict_scans(loaded, found, folder, How(speed_of(speed), overwrite, limit, probabilities))
    skipped = f", {len(report.skipped)} were done already" if report.skipped else ""
    count = len(report.done)
    out.print(f"{count} scan{'s' * (count != 1)} segmented{skipped}: {escape(str(folder))}", soft_wrap=True)
    if report.trained_on:
        console.print(
            f"[yellow]the model was trained on {len(report.trained_on)} of these scans, which say nothing of how it "
            f"does on new ones: {some(report.trained_on)}[/]",
            soft_wrap=True,
        )
    if (report.done or report.skipped) and not loaded.calibration.is_known:
        console.print(
            "[yellow]the confidence is uncalibrated, since this model was validated on too few structures: it is the "
            "network's own figure, and no Dice to be expected[/]",
            soft_wrap=True,
        )
    if report.review:
        console.print(f"[yellow]{len(report.review)} to be looked at by a person:[/]")
        for name, reasons in report.review.items():
            more = f"; {len(reasons) - MOST_REASONS} more in {RECORD}" if len(reasons) > MOST_REASONS else ""
            console.print(f"  {escape(name)}: {escape('; '.join(reasons[:MOST_REASONS]) + more)}", soft_wrap=True)
    report_failures(report.failed, "failed")
