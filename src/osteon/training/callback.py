"""What happens around the iterations: time, validation, checkpoints, the record of epochs, stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from osteon.core.cpu_load import ThreadLimiter, make_thread_limiter
from osteon.core.errors import DivergedError
from osteon.core.files import write_text
from osteon.core.spreadsheets import tabulate, to_csv
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase
from osteon.training import ranks
from osteon.training.checkpoint import (
    BEST,
    LAST,
    TrainingState,
    keep_previous,
    load_checkpoint,
    pack_optimiser,
    save_checkpoint,
    unpack_optimiser,
)
from osteon.training.interruption import Interruption
from osteon.training.lightning import lightning
from osteon.training.limits import TrainingLimits
from osteon.training.module import TrainingModule
from osteon.training.progress_display import TrainingDisplay
from osteon.training.sample_pictures import write_sample_picture
from osteon.training.sampling import Batch
from osteon.training.schedule import rate_factor
from osteon.training.tracking import MetricsLogger
from osteon.training.validation import mean_over_structures, validate
from osteon.training.validation_schedule import ValidationSchedule

CHECKPOINT_EVERY_S = 60.0
"""At most this much work is lost when a run is killed."""
SAVE_BEFORE_VALIDATION_S = 10.0
"""A validation may take long: what was done in more than this is saved first."""


class TrainingCallback(lightning.Callback):
    """Accompanies Lightning's loop. All ranks decide the same, and rank 0 writes.

    Args:
        plan: Epoch length, patience, learning rate.
        limits: When to stop.
        validation: Cached cases that are not trained on; may be empty.
        run: The run's folder: metrics.csv and checkpoints/ are written there.
        display: Shows the progress.
        logger: Gets the same rows as metrics.csv.
        state: Where the training stands.
        clock: Seconds; replaced in tests.
        checkpoint_every_s: How often to write a checkpoint.
        seed: Which validation cases stand for all of them, where these take too long.
    """

    def __init__(
        self,
        plan: Plan,
        limits: TrainingLimits,
        validation: Sequence[CachedCase],
        run: Path,
        display: TrainingDisplay,
        logger: MetricsLogger,
        state: TrainingState,
        *,
        clock: Callable[[], float] = ranks.clock,
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
        seed: int = 0,
    ) -> None:
        self.plan, self.limits, self.run = plan, limits, run
        self.display, self.logger, self.state, self.clock = display, logger, state, clock
        self.checkpoint_every_s = checkpoint_every_s
        self.validation = ValidationSchedule(validation, limits, state, clock, seed)
        self.interruption = Interruption()
        self.folder = run / "checkpoints"
        self.started = self.saved_at = self.epoch_at = clock()
        self.before_s = state.elapsed_s
        self.losses: list[torch.Tensor] = []
        self.epoch_from = state.iteration
        self.thread_limiter: ThreadLimiter | None = None
        display.update(limits.done(state, self.before_s), self.before_s, state.iteration)

    def elapsed_s(self) -> float:
        """Seconds of training, over all starts."""
        return self.before_s + self.clock() - self.started

    def progress(self) -> float:
        """The part of the training that is done."""
        return self.limits.done(self.state, self.elapsed_s())

    def restore(self, module: TrainingModule, optimiser: torch.optim.Optimizer) -> None:
        """Put the newest checkpoint's tensors into module and optimiser, where there is one."""
        path = self.folder / LAST
        if path.is_file() and self.state.iteration:
            tensors, _ = load_checkpoint(path)
            for name, network in (("network", module.network), ("average", module.ema_network)):
                if network is None:
                    continue
                prefix = f"{name}."
                network.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
            unpack_optimiser(optimiser, tensors)
            module.iteration = self.state.iteration

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock: what came before (preparing, loading) is not training."""
        module = _training_module(pl_module)
        self.restore(module, trainer.optimizers[0])
        if ranks.world_size() > 1:
            ranks.share_state(module)
            may_rest = self.plan.training.frozen_epochs > 0
            module.stand_in = ranks.average_gradients(
                module.network, module.stand_in or module.network, may_rest=may_rest
            )
        self.losses = [torch.tensor(loss, device=pl_module.device) for loss in self.state.losses]
        self.started = self.saved_at = self.epoch_at = self.clock()
        self.interruption.install_handlers()  # Lightning's handler would end the loop unsaved, and with 0
        # The same weights each time need the same threads: only where the machine's speed decides anyway.
        if self.limits.budget_s is not None and pl_module.device.type == "cpu" and ranks.world_size() == 1:
            self.thread_limiter = make_thread_limiter()

    def restore_threads(self) -> None:
        """After the training, however it ended."""
        if self.thread_limiter is not None:
            self.thread_limiter.restore()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the iteration; at an epoch's end validate and record; write a checkpoint when it is time."""
        module = _training_module(pl_module)
        module.update_ema(batch)
        if self.thread_limiter is not None:
            self.thread_limiter.update()
        self.state.iteration = module.iteration
        self.losses.append(outputs["loss"].detach())
        done = self.progress()
        if self.state.iteration % self.plan.training.epoch_iterations == 0 or done >= 1:
            self._end_epoch(module, trainer.optimizers[0], done)
        self._finish_at(done)
        self.display.update(done, self.elapsed_s(), self.state.iteration, outputs["loss"].detach())
        self.interruption.agree()
        stop = bool(self.state.finished) or self.interruption.signal is not None
        if stop or self.clock() - self.saved_at >= self.checkpoint_every_s:
            self.save(module, trainer.optimizers[0])
        if stop:
            trainer.should_stop = True

    def close_epoch(self, module: TrainingModule) -> None:
        """Do what an earlier start was killed in: the validation at an epoch's end."""
        optimiser = module.configure_optimizers()
        self.restore(module, optimiser)
        self.losses = [torch.tensor(loss) for loss in self.state.losses]
        self._end_epoch(module, optimiser, self.progress())
        self._finish_at(self.progress())
        self.save(module, optimiser)

    def _finish_at(self, done: float) -> None:
        if done >= 1 and not self.state.finished:
            self.state.finished = "budget spent" if self.limits.budget_s is not None else "all epochs done"

    def _end_epoch(self, module: TrainingModule, optimiser: torch.optim.Optimizer, done: float) -> None:
        epoch = math.ceil(self.state.iteration / self.plan.training.epoch_iterations)
        loss = float(torch.stack(self.losses).mean())
        if not math.isfinite(loss):
            raise DivergedError(
                f"{self.run}: the loss is {loss} in epoch {epoch}",
                hint="lower training.learning_rate in plan.yaml or set training.precision to fp32, then --restart",
            )
        training = self.plan.training
        rate = training.learning_rate * rate_factor(training, done, self.state.iteration // training.epoch_iterations)
        count = max(1, self.state.iteration - self.epoch_from)
        row: dict[str, float | int | None] = {
            "epoch": epoch,
            "iteration": self.state.iteration,
            "elapsed_s": round(self.elapsed_s(), 2),
            "learning_rate": float(f"{rate:.6g}"),
            "loss": round(loss, 6),
            "s_per_iteration": round((self.clock() - self.epoch_at) / count, 4),
        }
        if ranks.world_size() > 1:
            row["ranks"] = ranks.world_size()
        if self.validation.is_due(epoch, training.epoch_iterations, done, self.elapsed_s()):
            if self.clock() - self.saved_at > SAVE_BEFORE_VALIDATION_S:
                self.state.epoch_open = True
                self.save(module, optimiser)
            row |= self._validate(module, done)
        self.losses, self.state.epoch_open = [], False
        numbers = {k: float(v) for k, v in row.items() if v is not None}
        self.state.history.append(row)
        if ranks.rank() == 0:
            self.logger.log_metrics(numbers, step=self.state.iteration)
            write_metrics(self.run / "metrics.csv", self.state.history)
        self.display.row = row
        patience = self.plan.training.patience_epochs
        best_epoch = self.state.best_iteration / self.plan.training.epoch_iterations
        judged = row.get("dice") is not None and self.state.best_dice is not None
        if patience and judged and epoch - best_epoch >= patience:
            self.state.finished = f"no better validation Dice for {patience} epochs"
        self.epoch_at, self.epoch_from = self.clock(), self.state.iteration

    def _validate(self, module: TrainingModule, done: float) -> dict[str, float | int | None]:
        began, cases = self.clock(), self.validation.chosen_cases()
        ranks.share_state(module.validation_network())  # batch norms that measure each rank's own batches
        scores = validate(module.validation_network(), cases, self.plan, partial(write_sample_picture, self.run))
        self.validation.note(began, self.elapsed_s())
        self.display.show_scores(done, self.state.iteration, scores)
        mean = mean_over_structures(scores)
        if mean is not None and (self.state.best_dice is None or mean > self.state.best_dice):
            self.state.best_dice, self.state.best_iteration = mean, self.state.iteration
            if ranks.rank() == 0:
                save_checkpoint(self.folder / BEST, module.validation_network().state_dict(), self.state)
        rounded = {f"dice_{name}": None if v is None else round(v, 5) for name, v in scores.items()}
        return {"dice": None if mean is None else round(mean, 5), **rounded}

    def save(self, module: TrainingModule, optimiser: torch.optim.Optimizer) -> None:
        """Write a checkpoint that a resumed run starts from."""
        self.state.elapsed_s = self.elapsed_s()
        self.state.losses = torch.stack(self.losses).tolist() if self.losses else []
        tensors = {f"network.{k}": v for k, v in module.network.state_dict().items()}
        if module.ema_network is not None:
            tensors |= {f"average.{k}": v for k, v in module.ema_network.state_dict().items()}
        if ranks.rank() == 0:
            keep_previous(self.folder)
            save_checkpoint(self.folder / LAST, tensors | pack_optimiser(optimiser), self.state)
        self.saved_at = self.clock()


def _training_module(module: lightning.LightningModule) -> TrainingModule:
    if not isinstance(module, TrainingModule):
        raise TypeError(f"{type(module).__name__} is not a TrainingModule")
    return module


def write_metrics(path: Path, rows: list[dict[str, float | int | None]]) -> None:
    """metrics.csv: one row for each epoch; the Dice columns are empty where there was no validation."""
    write_text(path, to_csv(tabulate(rows, list(dict.fromkeys(key for row in rows for key in row)))))
