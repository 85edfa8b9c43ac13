"""Models: trained, swept, loaded, converted, and the machine they run on. A verb imports what it needs when called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from osteon.api.paths import PathLike

if TYPE_CHECKING:
    from osteon.converting.convert import ConvertedModel
    from osteon.exporting.publish import PublishReport
    from osteon.machine.doctor import DoctorReport
    from osteon.plan.schema import Plan
    from osteon.planning.options import PlanKeywords, PlanOptions
    from osteon.predicting.model import Model
    from osteon.runs.fit import TrainReport
    from osteon.runs.options import RunKeywords
    from osteon.sweeping.run import SweepReport

    class TrainKeywords(PlanKeywords, RunKeywords, total=False):
        """Keywords of `train`."""


def train(
    dataset: PathLike,
    run: PathLike,
    *,
    plan: Plan | PathLike | None = None,
    plan_options: PlanOptions | None = None,
    restart: bool = False,
    measure_cost: bool = True,
    **options: Unpack[TrainKeywords],
) -> TrainReport:
    """Train a model, or go on with an interrupted training.

    Args:
        dataset: A folder with dataset.yaml.
        run: The run's folder; `run/model` is made in it.
        plan: A plan or its file; the dataset's plan.yaml when None, which is made where it is missing. With `init`
            and no plan: network, grid and patch of that model, the rest the dataset's.
        plan_options: A plan is made by these for this run alone, and the dataset's plan is not used. Of a plan that is
            given only single keys can be changed (`settings`).
        restart: Throw away what the run has done.
        measure_cost: Measure the forecast and the faster precision of a plan that `plan_options` make (some 20 s).
        **options: Fields of `osteon.runs.options.TrainOptions` (budget_s, epochs, fold, seed, init, update, devices,
            …), or of `osteon.planning.options.PlanOptions` in place of `plan_options` (recipe, network, encoder, …).

    Raises:
        UsageError: A plan is given and options that contradict it; and as `osteon.runs.fit.train`.

    Example:
        >>> report = osteon.train("spine", "small", epochs=1, device="cpu", settings={"training.epoch_iterations": 2})
        >>> report.iterations, report.resumed
        (2, False)
    """
    from dataclasses import fields, replace

    from osteon.core.errors import UsageError
    from osteon.dataset.dataset import Dataset
    from osteon.plan.overlay import overlay
    from osteon.plan.schema import Plan, read_plan
    from osteon.planning.dataset_plan import load_or_make_plan
    from osteon.planning.inherited_plan import plan_for_update, plan_from_model
    from osteon.planning.options import DEFAULTS, PlanOptions
    from osteon.planning.run_plan import plan_for_run
    from osteon.runs.cross_validation import train_all_folds
    from osteon.runs.fit import read_report, train
    from osteon.runs.follower import follow
    from osteon.runs.options import TrainOptions
    from osteon.runs.rank_environment import resolve_ranks
    from osteon.runs.rank_launcher import dismiss_ranks
    from osteon.runs.update import update

    given: dict[str, Any] = {**options}
    by_name = {field.name: given.pop(field.name) for field in fields(PlanOptions) if field.name in given}
    wanted = replace(plan_options or DEFAULTS, **by_name) if plan_options or by_name else None
    for name in ("init", "update"):
        if given.get(name) is not None:
            given[name] = os.fspath(given[name])
    where: dict[str, Any] = {name: given.get(name) for name in ("budget_s", "workers")}
    where["device"] = given.get("device", "auto")
    ranks = resolve_ranks(given.get("devices", 1), given.get("nodes", 1), where["device"])
    given["devices"], given["nodes"] = ranks
    count = ranks[0] * ranks[1]
    if follow(count):
        return read_report(Path(run))
    if plan is not None:
        chosen = plan if isinstance(plan, Plan) else read_plan(Path(plan))
        settings = (wanted.settings if wanted else None) or {}
        if wanted is not None and wanted != replace(DEFAULTS, settings=wanted.settings):
            raise UsageError("a plan and choices contradict each other", hint="give one of them, or `settings` alone")
        chosen = overlay(chosen, settings)
    elif given.get("update") is not None:
        settings = (wanted.settings if wanted else None) or {}
        if wanted is not None and wanted != replace(DEFAULTS, settings=wanted.settings):
            raise UsageError("an update keeps its model's plan", hint="leave the choices out, or give `settings` alone")
        chosen = plan_for_update(Path(dataset), Path(run), given["update"], settings, restart=restart)
    elif given.get("init") is not None:
        begin = given["init"]
        chosen = plan_from_model(Path(dataset), Path(run), begin, wanted or DEFAULTS, restart=restart, **where)
    elif wanted is not None:
        chosen = plan_for_run(Path(dataset), Path(run), wanted, restart=restart, measure_cost=measure_cost, **where)
    else:
        chosen = load_or_make_plan(Path(dataset), **where)
    asked = TrainOptions(**given)
    start = update if asked.update is not None else train_all_folds if asked.fold == "all" else train
    try:
        return start(Dataset.open(Path(dataset)), chosen, Path(run), asked, restart=restart)
    finally:
        dismiss_ranks(count)


def sweep(file: PathLike, *, dry: bool = False) -> SweepReport:
    """Try many plans with one budget, each a run of its own; see `osteon.sweeping.spec.Sweep` for the file.

    Args:
        file: SWEEP.yaml.
        dry: Make every trial's plan, and run nothing.
    """
    from osteon.sweeping.run import run_sweep

    return run_sweep(Path(file), dry=dry)


def load_model(folder: PathLike, *, device: str = "cpu") -> Model:
    """Load a trained model: a run, its folder `model`, or `hf:ORGANISATION/NAME@COMMIT`, which is fetched once.

    `.predict(scan)` segments a file or a Volume.

    Example:
        >>> model = osteon.load_model("run")
        >>> segmentation = model.predict("phantoms/source/images/spine_001_image.nrrd")
        >>> segmentation.array.shape
        (12, 24, 8)
    """
    from osteon.core.devices import resolve_device
    from osteon.predicting.model_folder import load_model

    return load_model(os.fspath(folder), device=resolve_device(device))


def import_model(
    form: Literal["nnunet", "monai"],
    folder: PathLike,
    model: PathLike,
    *,
    folds: Sequence[str] | None = None,
    checkpoint: Literal["final", "best", "latest"] | None = None,
    before: PathLike | None = None,
    orientation: str | None = None,
    overwrite: bool = False,
) -> ConvertedModel:
    """Turn another program's trained model into one of osteon's; nothing in its files is run.

    Args:
        form: Whose it is: `nnunet`, version 2, or `monai`, a bundle.
        folder: TRAINER__PLANS__CONFIGURATION as nnU-Net wrote it, or a folder or a zip that holds a single one; of a
            bundle the folder with `configs` and `models`. The other options but `overwrite` are nnU-Net's.
        model: The model folder to make.
        folds: Those to average; None: every fold that is there.
        checkpoint: Of each fold; None: the final one, or else the best or the latest.
        before: Folder of the first model of a cascade; None: it lies beside the second.
        orientation: How the training scans lay in their files, as RAS; None: scans are taken as they lie.
        overwrite: Replace a model that is there.
    """
    from osteon.converting.convert import CONVERTERS, ConvertOptions
    from osteon.core.errors import UsageError

    if form not in CONVERTERS:
        raise UsageError(f"there are no models of {form}", hint=f"one of {', '.join(CONVERTERS)}")
    first = None if before is None else Path(before)
    return CONVERTERS[form](Path(folder), Path(model), ConvertOptions(folds, checkpoint, first, orientation, overwrite))


def publish(
    run: PathLike,
    folder: PathLike,
    *,
    licence: str,
    authors: Sequence[str],
    title: str | None = None,
    intended_use: str = "",
    onnx: bool = True,
) -> PublishReport:
    """Make a folder of a model to give away, in which no patient's scan is named: see docs/publish.md.

    Args:
        run: A run, or its folder `model`.
        folder: The folder to make; it must not exist.
        licence: A name that Hugging Face has, such as `cc-by-4.0`, or the path of a file with its text.
        authors: Family, Given of each.
        title: Of the model; the folder's name when None.
        intended_use: What it is for, in a sentence.
        onnx: Whether the network goes along in ONNX.

    Example:
        >>> done = osteon.publish("run", "spine-model", licence="cc-by-4.0", authors=["Doe, Jo"], onnx=False)
        >>> done.files[:3]
        ['.zenodo.json', 'README.md', 'SHA256SUMS']
    """
    from osteon.exporting.publish import publish
    from osteon.exporting.published_card import Publication

    made = Path(folder)
    return publish(Path(run), made, Publication(title or made.name, licence, authors, intended_use), onnx=onnx)


def doctor(model: PathLike | None = None, dataset: PathLike | None = None) -> DoctorReport:
    """Check the installation; with a model measure engines on this machine; with its dataset gate those that round.

    Example:
        >>> [check.name for check in osteon.doctor().checks][:2]
        ['Python', 'torch']
    """
    from osteon.machine.doctor import examine_machine

    return examine_machine(*(None if path is None else Path(path) for path in (model, dataset)))
