"""A run: from a dataset and its plan to a model folder."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from osteon.core.devices import device_kind, resolve_device
from osteon.core.errors import FileError, OsteonError, UsageError
from osteon.core.files import write_error, write_yaml
from osteon.core.heap import keep_freed_memory
from osteon.core.locks import NAME as LOCK
from osteon.core.progress import clock, progress_logger
from osteon.dataset.dataset import Dataset
from osteon.networks.registry import starts_inflated
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan
from osteon.predicting.model import load_model
from osteon.predicting.records import WEIGHTS
from osteon.predicting.training_cases import SeenScans, trained_on
from osteon.preparing.cache import CachedCase, prepare
from osteon.runs.finishing import UNORDERED, describe_end, finish
from osteon.runs.initialising import TRANSFER, begin_with, initial_weights, seen_before
from osteon.runs.options import DEFAULTS, TrainOptions, check_options
from osteon.runs.record import RUN, SPLITS, check_plan_fits, hold_run, record_choices, recorded_splits
from osteon.runs.resuming import enough_memory
from osteon.runs.splits import Shown, check_structures, shown_on_grid, split
from osteon.training.batches import Batches
from osteon.training.callback import CHECKPOINT_EVERY_S, Conductor, Limits
from osteon.training.checkpoint import BEFORE, BEST, LAST, State, last_state, load_checkpoint
from osteon.training.compilation import compile_forward, pays
from osteon.training.hardware import let_cuda_be_fast, lightning_precision, trainer_device
from osteon.training.lightning import TensorBoardLogger, lightning
from osteon.training.losses import told_loss
from osteon.training.module import TrainingModule
from osteon.training.progress_display import Display
from osteon.training.sample_pictures import FOLDER as SAMPLES
from osteon.training.sampling import PatchSampler

logger = logging.getLogger(__name__)
RECALIBRATION_BATCHES = 8
"""With which an inflated encoder's batch norms are set before the first iteration."""


@dataclass(frozen=True)
class TrainReport:
    """What a run came to.

    Attributes:
        run: Its folder; the model is in `run/model`.
        validation: validation.json's content.
        failed: Cases that could not be prepared or validated, with the reason; they were left out.
        iterations: Iterations done.
        resumed: Whether the run went on from a checkpoint.
    """

    run: Path
    validation: dict[str, Any]
    failed: dict[str, OsteonError]
    iterations: int
    resumed: bool


def train(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    options: TrainOptions = DEFAULTS,
    *,
    restart: bool = False,
    part: bool = False,
    folds: Sequence[Collection[str]] | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> TrainReport:
    """Train, or go on with a training that was interrupted, and write `run/model`.

    Args:
        dataset: Its trainable cases are used; those held out are never read.
        plan: All decisions; copied into the run.
        run: The run's folder. A finished run is left as it is; an unfinished one goes on.
        options: What the plan does not decide.
        restart: Throw away what the run has done.
        part: The run is one of several folds, which are put together later.
        folds: The cases of each fold; made when None.
        checkpoint_every_s: How much work may be lost at most when the process is killed.

    Raises:
        UsageError: The options contradict each other or those the run was begun with; the model to begin with
            is of another architecture; another training works in the run.
        ModelError: The model to begin with lacks a file or is damaged.
        PlanError: The plan was made for other data.
        DatasetError: Too few cases for the folds; a structure occurs in no training case; no case could be prepared.
        FileError: The disk is full.
    """
    check_options(options, plan)
    check_plan_fits(dataset, plan)
    if run.resolve() == dataset.folder.resolve():
        raise UsageError(f"{run}: is the dataset's own folder", hint="give the run a folder of its own")
    if options.init is not None and Path(options.init).resolve() in (run.resolve(), (run / "model").resolve()):
        raise UsageError(
            f"--init {options.init}: is this run itself",
            hint="give the new run a folder of its own, or leave --init out",
        )
    if restart and run.exists() and not (run / RUN).is_file() and any(path.name != LOCK for path in run.iterdir()):
        raise UsageError(
            f"{run}: is no run ({RUN} is missing), so nothing in it is thrown away", hint="give the run's folder"
        )
    with hold_run(run, restart=restart):
        return _train(dataset, plan, run, options, folds, restart, part, checkpoint_every_s)


def _train(
    dataset: Dataset,
    plan: Plan,
    run: Path,
    options: TrainOptions,
    folds: Sequence[Collection[str]] | None,
    restart: bool,
    part: bool,
    checkpoint_every_s: float,
) -> TrainReport:
    if restart:
        for folder in ("checkpoints", "model", "predictions", SAMPLES, UNORDERED, "tensorboard"):
            shutil.rmtree(run / folder, ignore_errors=True)
        for file in (RUN, PLAN, SPLITS, TRANSFER, "metrics.csv"):
            (run / file).unlink(missing_ok=True)
    done = (run / "model" / WEIGHTS).is_file()
    record_choices(run, plan, options, begun=done or (run / "checkpoints" / LAST).is_file())
    state = State() if done else last_state(run / "checkpoints")
    resumed = state.iteration > 0
    splits = recorded_splits(run, dataset.manifest, options.folds_by) if done or resumed else None
    if splits is None:
        split(dataset, options, folds=folds)  # too few cases are said before they are prepared
    if done:
        logger.info(f"{run}: is trained already; --restart begins anew")
        before = load_model(run / "model").validation
        return TrainReport(run, before, {}, before["training"]["iterations"], resumed=False)
    device = resolve_device(options.device)
    keep_freed_memory()
    begin = None if options.init is None or resumed else initial_weights(plan, options.init, options.seed, run)
    cached, failed = prepare(dataset, plan, dataset.manifest.trainable, workers=options.workers)
    for case_id, error in failed.items():
        logger.warning(f"left out: {case_id}: {error}")
    if splits is None:
        training_ids, validation_ids = split(dataset, options, Shown.of(cached), folds)
        splits = {"training": training_ids, "validation": validation_ids}
        write_yaml(run / SPLITS, splits)
    training = [cached[i] for i in splits["training"] if i in cached]
    validation = [cached[i] for i in splits["validation"] if i in cached]
    check_structures(dataset, plan.structures, shown_on_grid(plan, cached), {0: splits["training"]})
    if not resumed and (told := told_loss(plan)):
        logger.info(told)
    if validation and not part:
        progress_logger.info(describe_end(plan, len(validation), _expected_s(plan, options, device)))
    seen = _seen(run, training, validation, begun=options.init is not None)
    module = _fit(plan, run, options, state, training, validation, device, checkpoint_every_s, begin)
    network = _chosen_weights(run, module, state)
    report = finish(
        dataset,
        plan,
        run,
        network,
        device,
        [case.id for case in validation],
        training,
        seen,
        state,
        options,
        failed,
        part=part,
    )
    (run / "checkpoints" / BEFORE).unlink(missing_ok=True)
    return TrainReport(run, report, failed, state.iteration, resumed)


def _seen(run: Path, training: list[CachedCase], validation: list[CachedCase], *, begun: bool) -> SeenScans:
    """What the model will have seen; validation scans that the weights it begins with were trained on are told."""
    trained, validated = ({case.id: case.content for case in cases} for cases in (training, validation))
    seen = SeenScans(trained, validated, seen_before(run) if begun else {})
    known = trained_on({case.id: seen.sight_in_run(case.id, case.content) for case in validation})
    if known:
        logger.warning(
            f"{len(known)} of the {len(validation)} validation cases were trained on by the model that this "
            f"one begins with, so that its validation says too much: {', '.join(known)}"
        )
    return seen


def _expected_s(plan: Plan, options: TrainOptions, device: str) -> float | None:
    """Seconds that the training will take; None where nothing was measured on such a device."""
    measured = device_kind(plan.forecast.device) == device_kind(device)
    if options.budget_s is not None or plan.forecast.seconds_per_iteration is None or not measured:
        return options.budget_s
    epochs = options.epochs or plan.training.epochs
    return epochs * plan.training.epoch_iterations * plan.forecast.seconds_per_iteration


def _fit(
    plan: Plan,
    run: Path,
    options: TrainOptions,
    state: State,
    training: list[CachedCase],
    validation: list[CachedCase],
    device: str,
    checkpoint_every_s: float,
    begin: dict[str, torch.Tensor] | None,
) -> TrainingModule:
    epochs = options.epochs or plan.training.epochs
    iterations = None if options.budget_s is not None else epochs * plan.training.epoch_iterations
    tensorboard = TensorBoardLogger(run, name="tensorboard", version="")
    with enough_memory(run, plan), Display() as display:
        conductor = Conductor(
            plan,
            Limits(iterations, options.budget_s),
            validation,
            run,
            display,
            tensorboard,
            state,
            checkpoint_every_s=checkpoint_every_s,
            seed=options.seed,
        )
        transferred = options.init is not None
        fresh = not state.iteration and not transferred
        module = TrainingModule(plan, options.seed, conductor.progress, fresh=fresh, transferred=transferred)
        sampler = PatchSampler(training, plan, options.seed)
        if fresh and starts_inflated(plan):
            begin = _recalibrated(module.network, sampler)
        if begin is not None:
            begin_with({"network": module.network, "average": module.average}, begin)
        if state.epoch_open:
            conductor.close_epoch(module.to(device))
        if state.finished:
            conductor.restore(module, module.configure_optimizers())
            return module
        if state.iteration:
            logger.info(f"going on from iteration {state.iteration}, {clock(state.elapsed_s)} into the training")
        batches = DataLoader(Batches(sampler, state.iteration, device), batch_size=None, num_workers=0)
        let_cuda_be_fast(device, deterministic=options.deterministic)
        if pays(device, conductor.left_s(device_kind(device)), deterministic=options.deterministic):
            module.compiled = compile_forward(module.network)
        with warnings.catch_warnings():
            # The reading of a patch takes a fraction of a millisecond: worker processes would only cost memory.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # The average of the weights is never trained.
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            # Lightning's own call of torch.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
            for name in ("lightning.pytorch", "lightning.fabric"):
                logging.getLogger(name).setLevel(logging.WARNING)
            trainer = lightning.Trainer(
                **trainer_device(device),
                precision=lightning_precision(options.precision, plan, device),
                max_epochs=-1,
                max_steps=-1,
                logger=tensorboard,
                callbacks=[conductor],
                deterministic=options.deterministic,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            try:
                with conductor.interruptible():
                    trainer.fit(module, batches)
            except OSError as error:  # the TensorBoard log's
                raise write_error(run, error) from error
            finally:
                conductor.give_threads_back()
    return module


def _recalibrated(network: torch.nn.Module, sampler: PatchSampler) -> dict[str, torch.Tensor]:
    """The network's state, its inflated encoder's batch norms set to what some patches of the training give."""
    from osteon.networks.inflated import recalibrate

    recalibrate(network, (sampler.read(number).image for number in range(RECALIBRATION_BATCHES)))
    return network.state_dict()


def _chosen_weights(run: Path, module: TrainingModule, state: State) -> torch.nn.Module:
    """The last weights; the best validated ones where the last validation fell behind them."""
    network = module.validation_network()
    last = next((row["dice"] for row in reversed(state.history) if row.get("dice") is not None), None)
    best = run / "checkpoints" / BEST
    if last is not None and state.best_dice is not None and last < state.best_dice - 5e-6 and best.is_file():
        try:
            network.load_state_dict(load_checkpoint(best)[0])
        except FileError as error:
            logger.warning(f"{error.message}: the last weights are taken")
    return network.eval()
