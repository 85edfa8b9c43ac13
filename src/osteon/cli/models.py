"""`osteon train`, `osteon predict` and `osteon evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from osteon.cli.choices import By, Device, Precisions
from osteon.cli.plan_options import asked, takes_choices
from osteon.cli.report import memory, out, report_failures, seconds_of, some
from osteon.core.errors import CaseError, UsageError
from osteon.core.progress import console
from osteon.planning.choices import Choices

if TYPE_CHECKING:
    from osteon.planning.plan import Plan


@takes_choices
def train(
    context: typer.Context,
    choices: Choices,
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    run: Annotated[Path, typer.Argument(help="The run's folder; the model is made in RUN/model.")],
    budget: Annotated[str | None, typer.Option(help="Time to train: 90s, 20min, 1.5h.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Or a number of epochs.")] = None,
    fold: Annotated[str, typer.Option(help="The fold to validate on, or none to train on all cases.")] = "0",
    folds: Annotated[int, typer.Option(min=2, help="Folds the cases are divided into.")] = 5,
    folds_by: Annotated[By, typer.Option(help="What no split parts.")] = By.subject,
    plan: Annotated[Path | None, typer.Option(help="A plan.yaml; the dataset's when left out.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="A run or model whose weights to begin with, of any labels.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides weights, patches and augmentation.")] = 0,
    device: Annotated[Device, typer.Option(help="What to train on.")] = Device.auto,
    precision: Annotated[Precisions | None, typer.Option(help="Over what the plan says.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs without better Dice.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same result each time.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what RUN has done.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for preparing.")] = None,
) -> None:
    """Train a model. Run the same command again after an interruption: it goes on."""
    import osteon
    from osteon.training.record import RUN

    if resume and restart:
        raise UsageError("--resume and --restart contradict each other", hint="give one of them")
    if resume and not (run / RUN).is_file():
        raise UsageError(f"{run}: there is no run to go on with", hint="leave out --resume to begin one")
    seconds = None if budget is None else seconds_of(budget)
    chosen = _plan_for(dataset, run, plan, choices, asked(context), device.value, restart, seconds, workers, init)
    if patience is not None:
        training = chosen.training.model_copy(update={"patience_epochs": patience})
        chosen = chosen.model_copy(update={"training": training})
    _say_cost(chosen, seconds, epochs)
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
        device=device.value,
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
    device: Literal["auto", "cpu", "cuda"],
    restart: bool,
    budget_s: float | None,
    workers: int | None,
    init: Path | None,
) -> Plan:
    """The dataset's plan, or a file's, or one that the options or the model to begin with make for this run alone."""
    from osteon.planning.overlay import overlay
    from osteon.planning.plan import read_plan
    from osteon.training.inherited import plan_from_model
    from osteon.training.own_plan import plan_for_run
    from osteon.training.planned import plan_of

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


def _fold(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdigit():
        raise UsageError(f"--fold {text}: neither a number nor none", hint="--fold 0, or --fold none")
    return int(text)


def _say_cost(plan: Plan, budget_s: float | None, epochs: int | None) -> None:
    """What the training will cost, before it starts."""
    import psutil

    from osteon.training.display import clock

    per_iteration, bytes_needed = plan.forecast.seconds_per_iteration, plan.forecast.training_bytes
    if per_iteration is None:
        return
    iterations = (epochs or plan.training.epochs) * plan.training.epoch_iterations
    if budget_s is not None:
        expected = f"{clock(budget_s)}, about {budget_s / per_iteration:.0f} iterations"
    else:
        expected = f"{iterations} iterations, about {clock(iterations * per_iteration)}"
    console.print(f"training: {expected}, {memory(bytes_needed)} of memory")
    free = psutil.virtual_memory().available
    if bytes_needed and plan.forecast.device == "cpu" and bytes_needed > free:
        console.print(f"[yellow]only {memory(free)} are free: make patch.size smaller in plan.yaml[/]")


def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, or the run that made it.")],
    scans: Annotated[
        list[Path], typer.Argument(help="SCAN… OUT: files, folders of files, or a dataset; the last is the output.")
    ],
    mirror: Annotated[bool, typer.Option("--mirror", help="Average over mirror images: slower.")] = False,
    device: Annotated[Device, typer.Option(help="What to predict on.")] = Device.auto,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Keep them beside the results, for osteon vote --method soft.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done.")] = False,
) -> None:
    """Segment scans on their own grids. Run it again: what is done is skipped."""
    import osteon
    from osteon.predicting.predictor import find_scans
    from osteon.predicting.predictor import predict as predict_scans
    from osteon.training.options import resolve_device

    if len(scans) < 2:
        raise UsageError("scans and an output folder are needed", hint="osteon predict MODEL SCAN… OUT")
    *sources, folder = scans
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: the last argument is the output's folder, and this is a file", hint="add OUT")
    found = find_scans(sources)
    loaded = osteon.load_model(model, device=resolve_device(device.value))
    need = loaded.plan.forecast.predicting_bytes
    if need:
        console.print(f"{len(found)} scans; about {memory(need)} of memory for one like the largest of the training")
    report = predict_scans(loaded, found, folder, mirror=mirror, probabilities=probabilities, overwrite=overwrite)
    skipped = f", {len(report.skipped)} were done already" if report.skipped else ""
    out.print(f"{len(report.done)} scans segmented{skipped}: {escape(str(folder))}", soft_wrap=True)
    report_failures(report.failed, "failed")


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="A folder of predictions, or one file.")],
    reference: Annotated[Path, typer.Argument(help="A dataset, a folder of labels with the same names, or one file.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for metrics.csv and metrics.json; PREDICTION when left out.")
    ] = None,
) -> None:
    """Dice and volume error of each structure, over all cases that have a prediction."""
    import osteon
    from osteon.evaluating.table import summary_table

    folder = to or (prediction if prediction.is_dir() else None)
    result = osteon.evaluate(prediction, reference, folder)
    out.print(summary_table(result.summaries, result.overall, result.structures))
    if result.missing:
        console.print(f"[yellow]without a prediction: {some(result.missing)}[/]", soft_wrap=True)
    if result.unmatched:
        console.print(f"[yellow]without a reference: {some(result.unmatched)}[/]", soft_wrap=True)
    if folder:
        out.print(f"each case: {escape(str(folder / 'metrics.csv'))}", soft_wrap=True)
    report_failures({f.case: CaseError(f.message, hint=f.hint) for f in result.failures}, "could not be scored")
