"""Lightning's loop: the network of a plan, trained on prepared cases."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from osteon.core.devices import device_kind
from osteon.core.errors import FileError
from osteon.core.files import write_error
from osteon.core.progress import format_duration
from osteon.networks.registry import needs_recalibration
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase
from osteon.runs.options import TrainOptions
from osteon.runs.resuming import explain_out_of_memory
from osteon.training import ranks
from osteon.training.batches import BatchStream
from osteon.training.callback import TrainingCallback
from osteon.training.checkpoint import BEST, TrainingState, load_checkpoint
from osteon.training.compilation import compile_forward, is_worth_compiling
from osteon.training.hardware import enable_fast_cuda, lightning_device, lightning_precision
from osteon.training.lightning import LightningEnvironment, TensorBoardLogger, lightning
from osteon.training.limits import TrainingLimits
from osteon.training.module import TrainingModule
from osteon.training.progress_display import TrainingDisplay
from osteon.training.sampling import PatchSampler
from osteon.training.tracking import Loggers, MetricsLogger

logger = logging.getLogger(__name__)
RECALIBRATION_BATCHES = 8
"""With which an inflated encoder's batch norms are set before the first iteration."""
UPDATE_RATE = 0.3
"""The part of the plan's learning rate with which a trained model learns on: at all of it, it first unlearns."""


def fit_network(
    plan: Plan,
    run: Path,
    options: TrainOptions,
    state: TrainingState,
    training: list[CachedCase],
    validation: list[CachedCase],
    device: str,
    checkpoint_every_s: float,
    initial_state: dict[str, torch.Tensor] | None,
    repeats: Mapping[str, int] | None = None,
    tracker: MetricsLogger | None = None,
) -> TrainingModule:
    """Train the network of a plan until its limits, or go on from the last checkpoint.

    Args:
        plan: All decisions.
        run: The run's folder.
        options: What the plan does not decide.
        state: Where the training stands; it is kept up to date.
        training: Prepared cases to train on.
        validation: Prepared cases to validate on.
        device: Resolved; of several ranks, each has its own, and is given the same otherwise.
        checkpoint_every_s: How much work may be lost at most when the process is killed.
        initial_state: Tensors of a model to begin with; None: a start of its own. Rank 0's count for all.
        repeats: Case id → how often it is drawn where others are drawn once.
        tracker: Gets the figures of each epoch, beside TensorBoard.

    Raises:
        UsageError: Memory does not suffice.
        DivergedError: The loss is no number any more.
        FileError: The disk is full.
        KeyboardInterrupt: Ctrl-C, after the last iteration was saved.
    """
    epochs = options.epochs or plan.training.epochs
    iterations = None if options.budget_s is not None else epochs * plan.training.epoch_iterations
    limits = TrainingLimits(iterations, options.budget_s)
    tensorboard = TensorBoardLogger(run, name="tensorboard", version="")
    with explain_out_of_memory(run, plan), TrainingDisplay() as display:
        callback = TrainingCallback(
            plan,
            limits,
            validation,
            run,
            display,
            tensorboard if tracker is None else Loggers([tensorboard, tracker]),
            state,
            checkpoint_every_s=checkpoint_every_s,
            seed=options.seed,
        )
        transferred = options.begins_with is not None
        fresh = not state.iteration and not transferred
        rate = 1.0 if options.update is None else UPDATE_RATE
        module = TrainingModule(plan, options.seed, callback.progress, fresh=fresh, transferred=transferred, rate=rate)
        sampler = PatchSampler(training, plan, options.seed, repeats)
        if ranks.world_size() > 1 and not ranks.synchronise_batch_norms(module.network, device) and not state.iteration:
            logger.info("batch norms measure each process's own part of a batch: on a CPU torch has no common ones")
        if fresh and needs_recalibration(plan) and ranks.rank() == 0:
            initial_state = _recalibrate_encoder(module.network, sampler)
        if initial_state is not None:
            for network in filter(None, (module.network, module.ema_network)):
                network.load_state_dict(initial_state)
        if state.epoch_open:
            callback.close_epoch(module.to(device))
        if state.finished:
            callback.restore(module, module.configure_optimizers())
            return module
        if state.iteration:
            logger.info(
                f"continuing from iteration {state.iteration}, {format_duration(state.elapsed_s)} into the training"
            )
        remaining_s = limits.remaining_s(state, plan.forecast, device_kind(device))
        batches = DataLoader(BatchStream(sampler, state.iteration, device), batch_size=None, num_workers=0)
        enable_fast_cuda(device, deterministic=options.deterministic)
        if is_worth_compiling(device, remaining_s, deterministic=options.deterministic):
            module.stand_in = compile_forward(module.network)
        with warnings.catch_warnings():
            # The reading of a patch takes a fraction of a millisecond: worker processes would only cost memory.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # The average of the weights is never trained.
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            # osteon needs no srun on one machine.
            warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
            # Lightning's own call of torch.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
            # Channels lie innermost in activations and gradients, not in weights: a copy, and a small one.
            warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
            for name in ("lightning.pytorch", "lightning.fabric"):
                logging.getLogger(name).setLevel(logging.WARNING)
            trainer = lightning.Trainer(
                **lightning_device(device),
                plugins=[LightningEnvironment()],  # of ranks it knows nothing: else it would look for SLURM's
                precision=lightning_precision(options.precision, plan, device),
                max_epochs=-1,
                max_steps=-1,
                logger=tensorboard,
                callbacks=[callback],
                deterministic=options.deterministic,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            try:
                with callback.interruption.watch():
                    trainer.fit(module, batches)
            except OSError as error:  # the TensorBoard log's
                raise write_error(run, error) from error
            finally:
                callback.restore_threads()
    return module


def _recalibrate_encoder(network: torch.nn.Module, sampler: PatchSampler) -> dict[str, torch.Tensor]:
    """The network's state, its inflated encoder's batch norms set to what some patches of the training give."""
    from osteon.networks.inflated import recalibrate

    recalibrate(network, (sampler.read(number).image for number in range(RECALIBRATION_BATCHES)))
    return network.state_dict()


def choose_weights(run: Path, module: TrainingModule, state: TrainingState) -> torch.nn.Module:
    """The last weights; the best validated ones where the last validation fell behind them."""
    network = module.validation_network()
    last = next((row["dice"] for row in reversed(state.history) if row.get("dice") is not None), None)
    best = run / "checkpoints" / BEST
    if last is not None and state.best_dice is not None and last < state.best_dice - 5e-6 and best.is_file():
        try:
            network.load_state_dict(load_checkpoint(best)[0])
        except FileError as error:
            logger.warning(f"{error.message}: the last weights are used")
    return network.eval()
