"""The Lightning module: one step, the optimiser, the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch

from osteon.networks.registry import build_network
from osteon.planning.plan import Plan, Training
from osteon.training.augmenting import apply_changes, draw_changes
from osteon.training.engine import lightning
from osteon.training.losses import deep_supervision_loss
from osteon.training.sampling import Batch

LEAST_RATE = 1e-4
"""The learning rate never falls below this part of its peak, so that the last steps are not idle."""


class TrainingModule(lightning.LightningModule):
    """Trains the network of a plan.

    Args:
        plan: All decisions.
        seed: Of the weights and of all augmentation.
        progress: The part of the training that is done, 0 … 1; the learning rate follows it.
    """

    def __init__(self, plan: Plan, seed: int, progress: Callable[[], float]) -> None:
        super().__init__()
        self.plan = plan
        self.seed = seed
        self.progress = progress
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = build_network(plan)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval() if plan.training.ema else None
        self.iteration = 0

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's hook for batches of a type of their own."""
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Augment, run, and the loss; the augmentation runs where the network does."""
        with torch.autocast(self.device.type, enabled=False):
            changes = draw_changes(self.plan, self.seed, batch.iteration)
            image, labels, annotated = apply_changes(batch.image, batch.labels, batch.annotated, changes, self.plan)
        logits = self.network(image)
        with torch.autocast(self.device.type, enabled=False):
            return deep_supervision_loss(logits, labels, annotated, overlapping=self.plan.overlapping)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser that the plan names."""
        how = self.plan.training
        weights = self.network.parameters()
        if how.optimiser == "adamw":
            return torch.optim.AdamW(weights, how.learning_rate, weight_decay=how.weight_decay)
        return torch.optim.SGD(
            weights,
            how.learning_rate,
            momentum=how.momentum,
            nesterov=how.momentum > 0,
            weight_decay=how.weight_decay,
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate for where the training stands, and clip the gradient."""
        rate = self.plan.training.learning_rate * rate_factor(self.plan.training, self.progress())
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.training.clip_gradient)

    def follow(self, batch: Batch) -> None:
        """After an iteration: count it, and let the average follow the weights."""
        self.iteration = batch.iteration + 1
        if self.average is None:
            return
        decay = min(self.plan.training.ema, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            old, new = ([p.detach() for p in net.parameters()] for net in (self.average, self.network))
            torch._foreach_lerp_(old, new, 1 - decay)

    def validation_network(self) -> torch.nn.Module:
        """The weights that are validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average


def rate_factor(how: Training, done: float) -> float:
    """The learning rate's part of its peak when `done` (0 … 1) of the training is done: warm-up, then decay."""
    if done < how.warm_up:
        return max(LEAST_RATE, done / how.warm_up)
    left = min(1.0, (done - how.warm_up) / (1 - how.warm_up)) if how.warm_up < 1 else 1.0
    decay = 0.5 + 0.5 * math.cos(math.pi * left) if how.schedule == "cosine" else (1 - left) ** 0.9
    return max(LEAST_RATE, decay)
