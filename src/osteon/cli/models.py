"""`osteon train` and `osteon predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from osteon.cli.option_values import FoldsBy, Precision
from osteon.cli.output import describe_devices, info, out, report_failures, shorten, warn
from osteon.cli.plan_options import given_options, parse_plan_options, with_plan_options
from osteon.cli.shared_options import Cluster, device_option, use_cluster
from osteon.cli.update import check_update_options, print_verdict
from osteon.core.errors import UsageError
from osteon.core.progress import format_duration, is_quiet
from osteon.core.quantities import format_bytes, parse_bytes, parse_seconds
from osteon.core.text import pluralise
from osteon.planning.options import PlanOptions

if TYPE_CHECKING:
    from osteon.plan.schema import Plan

MAX_REASONS = 3
"""To look at a scan; the record has all."""


@with_plan_options
def train(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="A folder with dataset.yaml.")],
    run: Annotated[Path, typer.Argument(help="The run's folder; the model is made in RUN/model.")],
    budget: Annotated[str | None, typer.Option(help="Time to train: 90s, 20min, 1.5h.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Or a number of epochs.")] = None,
    fold: Annotated[
        str, typer.Option(help="Fold to validate on; all: each in turn, for one model; none: train on all.")
    ] = "0",
    folds: Annotated[int, typer.Option(min=2, help="Folds the cases are divided into.")] = 5,
    folds_by: Annotated[FoldsBy, typer.Option(help="What a split keeps together.")] = "subject",
    plan: Annotated[Path | None, typer.Option(help="A plan.yaml; the dataset's when left out.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="A run or model whose weights to start from; its labels may differ.")
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(help="A run to go on from with what was labelled since; its model stays unless this is as good."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides weights, patches and augmentation.")] = 0,
    device: Annotated[str, device_option("What to train on.")] = "auto",
    precision: Annotated[Precision | None, typer.Option(help="Overrides the plan.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs without better Dice.")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Give the same result each time.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Delete what RUN has done and start again.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for preparing.")] = None,
    track: Annotated[str | None, typer.Option(help="mlflow:URI of a server that gets the figures, too.")] = None,
    cluster: Cluster = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs to train on at once, on each node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, where torchrun or srun has started osteon on all.")] = 1,
    **options: Any,
) -> None:
    """Train a model. Run the same command again after an interruption: it goes on."""
    import osteon
    from osteon.dataset.dataset import Dataset
    from osteon.planning.dataset_plan import load_or_make_plan
    from osteon.planning.inherited_plan import plan_for_update, plan_from_model
    from osteon.planning.run_plan import plan_for_run
    from osteon.preparing.cache import prepare_cases
    from osteon.runs.follower import follow
    from osteon.runs.piece_scores import describe_piece_scores
    from osteon.runs.rank_environment import resolve_ranks
    from osteon.runs.record import RUN
    from osteon.runs.update import DEFAULT_BUDGET_S
    from osteon.runs.update_history import read_update

    devices, nodes = resolve_ranks(devices, nodes, device)
    if follow(devices * nodes):
        return
    choices = parse_plan_options(options)
    if resume and restart:
        raise UsageError("--resume and --restart contradict each other", hint="give one of them")
    if resume and not (run / RUN).is_file():
        raise UsageError(f"{run}: there is no run to continue", hint="leave out --resume to start one")
    seconds = None if budget is None else parse_seconds(budget)
    if update is not None:
        check_update_options(context)
        seconds = DEFAULT_BUDGET_S if seconds is None and epochs is None else seconds
    settings: dict[str, Any] = {"device": device, "budget_s": seconds, "workers": workers}
    with use_cluster(cluster):
        if update is not None:
            chosen = plan_for_update(dataset, run, str(update), choices.settings, restart=restart)
        elif plan is not None:
            chosen = _plan_from_file(plan, choices, given_options(context))
        elif init is not None:
            chosen = plan_from_model(dataset, run, str(init), choices, restart=restart, **settings)
        elif given_options(context):
            chosen = plan_for_run(dataset, run, choices, restart=restart, **settings)
        else:
            chosen = load_or_make_plan(dataset, **settings)
        if cluster is not None:
            whole = Dataset.open(dataset)
            prepare_cases(whole, chosen, whole.manifest.trainable)  # what fails is told where training looks for it
    if patience is not None:
        training = chosen.training.model_copy(update={"patience_epochs": patience})
        chosen = chosen.model_copy(update={"training": training})
    _print_cost(chosen, seconds, epochs, folds if _parse_fold(fold) == "all" else 1, devices, nodes)
    report = osteon.train(
        dataset,
        run,
        plan=chosen,
        restart=restart,
        budget_s=seconds,
        epochs=epochs,
        fold=_parse_fold(fold),
        folds=folds,
        folds_by=folds_by,
        init=None if init is None else str(init),
        update=None if update is None else str(update),
        seed=seed,
        device=device,
        precision=precision,
        deterministic=deterministic,
        workers=workers,
        track=track,
        devices=devices,
        nodes=nodes,
    )
    if update is not None and (record := read_update(run)) is not None and record.verdict is not None:
        print_verdict(run, record, record.verdict)
    validation = report.validation
    for name, value in validation["structures"].items():
        if value is not None:
            out.print(f"validation Dice  {escape(name)}  {value:.3f}")
    if validation["dice"] is not None:
        out.print(f"validation Dice  mean  {validation['dice']:.3f}  ({len(validation['cases'])} whole scans)")
    for name, figures in describe_piece_scores(validation.get("pieces", {})):
        out.print(f"validation pieces  {escape(name)}  {figures}")
    out.print(f"{report.iterations} iterations; the model: {escape(str(run / 'model'))}")
    report_failures(report.failed, "left out")


def _plan_from_file(file: Path, choices: PlanOptions, given: list[str]) -> Plan:
    """The plan of a file, with changes by --set. Raises UsageError where other options would decide it, too."""
    from osteon.plan.overlay import overlay
    from osteon.plan.schema import read_plan

    others = [option for option in given if option != "--set"]
    if others:
        raise UsageError(
            f"--plan and {others[0]} contradict each other: the plan has decided that",
            hint="leave one of them out, or change single keys of the plan with --set",
        )
    return overlay(read_plan(file), choices.settings or {})


def _parse_fold(text: str) -> int | Literal["all"] | None:
    if text.lower() == "none":
        return None
    if text.lower() == "all":
        return "all"
    if not text.isdigit():
        raise UsageError(
            f"--fold {text}: neither a number nor all or none", hint="--fold 0, --fold all, or --fold none"
        )
    return int(text)


def _print_cost(plan: Plan, budget_s: float | None, epochs: int | None, folds: int, devices: int, nodes: int) -> None:
    """What the training will cost, before it starts."""
    import psutil

    if devices * nodes > 1:
        info(describe_devices(plan, devices, nodes))
    per_iteration, bytes_needed = plan.forecast.seconds_on(devices), plan.forecast.training_bytes
    if per_iteration is None:
        return
    iterations = (epochs or plan.training.epochs) * plan.training.epoch_iterations
    if budget_s is not None:
        expected = f"{format_duration(budget_s)}, about {budget_s / per_iteration:.0f} iterations"
    else:
        expected = f"{iterations} iterations, about {format_duration(iterations * per_iteration)}"
    times = f"{folds} folds of " if folds > 1 else ""
    if not is_quiet():
        each = " on each device" if devices * nodes > 1 else ""
        info(f"training: {times}{expected}, {format_bytes(bytes_needed)} of memory{each}")
    free = psutil.virtual_memory().available
    if bytes_needed and plan.forecast.device == "cpu" and devices * bytes_needed > free:
        warn(f"only {format_bytes(free)} are free: make patch.size smaller in plan.yaml")


def _parse_first_level(text: str | None) -> str | None:
    """The name in `FIRST=NAME`. Raises UsageError."""
    if text is None:
        return None
    word, equals, name = text.partition("=")
    if word.strip().upper() != "FIRST" or not equals or not name.strip():
        raise UsageError(f"--levels {text}: is not FIRST=NAME", hint="--levels FIRST=L1 where the uppermost is L1")
    return name.strip()


def predict(
    model: Annotated[
        Path, typer.Argument(help="A model folder, the run that made it, or hf:ORGANISATION/NAME@COMMIT.")
    ],
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
        str | None, typer.Option(help="Memory limit, such as 4GB; by default most of what is free.")
    ] = None,
    device: Annotated[str, device_option("What to predict on.")] = "auto",
    series: Annotated[
        str | None,
        typer.Option(help="DICOM: of several series of a study, the one with this number, UID or description."),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(metavar="FIRST=NAME", help="The name of the first body of a series: FIRST=L1 for the uppermost."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Of the scans that are found these alone: ids with commas between, first:N, …")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Repeat what is done.")] = False,
) -> None:
    """Segment scans on their own grids. Run it again: what is done is skipped."""
    import osteon
    from osteon.core.parallel import active_backend
    from osteon.importing.case_selection import select_cases
    from osteon.machine.engine_timing import ModelSource, choose_engine, count_all_passes
    from osteon.predicting.memory import describe_memory
    from osteon.predicting.predictor import predict as predict_scans
    from osteon.predicting.records import RECORD, find_model_folder
    from osteon.predicting.scans import find_scans
    from osteon.predicting.speed import find_speed
    from osteon.predicting.stages import PredictOptions

    if len(scans) < 2:
        raise UsageError("scans and an output folder are needed", hint="osteon predict MODEL SCAN… OUT")
    *sources, folder = scans
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: the last argument is the output's folder, and this is a file", hint="add OUT")
    limit = None if memory is None else parse_bytes(memory)
    first_level = _parse_first_level(levels)
    here = device if active_backend() is None else "cpu"  # workers have theirs
    loaded = osteon.load_model(model, device=here).with_postprocessing(postprocess)
    found = find_scans(sources, loaded.plan, series, seen=loaded.seen)
    if only is not None:
        chosen = select_cases(only, [scan.id for scan in found], "--only")
        found = [scan for scan in found if scan.id in chosen]
    inner, passes = find_model_folder(model).absolute(), count_all_passes(loaded.plan, found)
    load = ModelSource(inner, device, postprocess, engine, passes)
    loaded = choose_engine(loaded, inner, engine, passes)
    info(describe_memory(loaded.plan, found, limit, probabilities=probabilities))
    options = PredictOptions(find_speed(speed), overwrite, limit, probabilities, first_level)
    report = predict_scans(loaded, found, folder, options, load=load)
    skipped = f", {len(report.skipped)} were done already" if report.skipped else ""
    out.print(f"{pluralise(len(report.done), 'scan')} segmented{skipped}: {escape(str(folder))}")
    if report.trained_on:
        warn(
            f"the model was trained on {len(report.trained_on)} of these scans, so they do not show how it "
            f"does on new ones: {shorten(report.trained_on)}"
        )
    if (report.done or report.skipped) and not loaded.calibration.is_known:
        warn(
            "the confidence is uncalibrated, since this model was validated on too few structures: it is the "
            "network's own figure, not an expected Dice"
        )
    if report.review:
        warn(f"{len(report.review)} to be looked at by a person:")
        for name, reasons in report.review.items():
            more = f"; {len(reasons) - MAX_REASONS} more in {RECORD}" if len(reasons) > MAX_REASONS else ""
            info(f"  {escape(name)}: {escape('; '.join(reasons[:MAX_REASONS]) + more)}")
    report_failures(report.failed, "failed")
