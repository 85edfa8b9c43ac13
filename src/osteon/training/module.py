"""The Lightning module: one step, the optimiser, the moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from osteon.networks.registry import build_network
from osteon.networks.small_maps import small_maps_in_fp32
from osteon.networks.transfer import init_output_bias
from osteon.plan.outputs import output_layout
from osteon.plan.schema import Plan
from osteon.training.augmenting import apply_augmentation, draw_parameters
from osteon.training.compilation import Forward
from osteon.training.lightning import lightning
from osteon.training.losses import deep_supervision_loss
from osteon.training.optimisers import make_optimiser, pretrained_encoder, set_rate
from osteon.training.sampling import Batch
from osteon.training.schedule import rate_factor
from osteon.training.targets import make_targets

STATISTICS = ("running_mean", "running_var")
"""What batch norms measure; their average is followed as that of the weights is."""


class TrainingModule(lightning.LightningModule):
    """Trains the network of a plan.

    Args:
        plan: All decisions.
        seed: Of the weights and of all augmentation.
        progress: The part of the training that is done, 0 … 1; the learning rate follows it.
        fresh: The training begins: a pre-trained encoder gets its weights. Otherwise weights are about to be loaded.
        transferred: The training begins, or began, with another model's weights: its encoder is a pre-trained one.
        rate: The part of the plan's learning rate that is used.

    Attributes:
        stand_in: Runs the network in training, where it is set: compiled, over several ranks.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        progress: Callable[[], float],
        *,
        fresh: bool = True,
        transferred: bool = False,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.layout = output_layout(plan)
        self.seed = seed
        self.progress = progress
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = build_network(plan, fresh=fresh)
        if fresh:
            init_output_bias(self.network, plan)
        self.ema_network = copy.deepcopy(self.network).requires_grad_(False).eval() if plan.training.ema else None
        self.transferred = transferred
        self.rate = rate
        self.iteration = 0
        self.stand_in: Forward | None = None

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's hook for batches of a type of their own."""
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Augment, run, and the loss; the augmentation runs where the network does."""
        with torch.autocast(self.device.type, enabled=False):
            parameters = draw_parameters(self.plan, self.seed, batch.iteration)
            image, labels, annotated = apply_augmentation(
                batch.image, batch.labels, batch.annotated, parameters, self.plan
            )
            if self.plan.clicks is not None:
                image, labels, annotated = self._click(image, labels, annotated, batch.iteration)
        self._freeze(batch.iteration)
        with small_maps_in_fp32(self.device):
            logits = (self.stand_in or self.network)(image)
        with torch.autocast(self.device.type, enabled=False):
            training = self.plan.training
            targets = make_targets(labels, annotated, self.plan)
            overlapping = self.plan.overlapping and self.plan.clicks is None
            return deep_supervision_loss(logits, targets, self.layout, training, overlapping=overlapping)

    def _click(
        self, image: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor, iteration: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A batch with clicks as further channels, and one structure in each patch as the label."""
        from osteon.training.click_simulation import simulate_clicks  # scipy.ndimage: not for other trainings

        image, labels = simulate_clicks(self.network, image, labels, annotated, self.plan, self.seed, iteration)
        return image, labels, torch.ones((len(labels), 1), dtype=torch.bool)

    def _freeze(self, iteration: int) -> None:
        """In the first epochs the pre-trained encoder learns nothing, and its batch norms measure nothing."""
        training = self.plan.training
        if training.frozen_epochs and (encoder := self.encoder()) is not None:
            learns = iteration >= training.frozen_epochs * training.epoch_iterations
            encoder.requires_grad_(learns).train(learns)

    def encoder(self) -> torch.nn.Module | None:
        """The part of the network that was trained before, where there is one."""
        return pretrained_encoder(self.network, self.plan, transferred=self.transferred)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser that the plan names; a pre-trained encoder has a rate of its own."""
        return make_optimiser(self.network, self.encoder(), self.plan.training)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate for where the training stands, and clip the gradient."""
        training = self.plan.training
        epochs = self.iteration // training.epoch_iterations
        set_rate(optimizer, self.rate * training.learning_rate * rate_factor(training, self.progress(), epochs))
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.training.clip_gradient)

    def update_ema(self, batch: Batch) -> None:
        """After an iteration: count it, and let the average follow the weights."""
        self.iteration = batch.iteration + 1
        if self.ema_network is None:
            return
        decay = min(self.plan.training.ema, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            old, new = ([p.detach() for p in net.parameters()] for net in (self.ema_network, self.network))
            torch._foreach_lerp_(old, new, 1 - decay)
            measured = dict(self.network.named_buffers())
            for name, buffer in self.ema_network.named_buffers():
                if name.endswith(STATISTICS):
                    buffer.lerp_(measured[name], 1 - decay)
                else:
                    buffer.copy_(measured[name])

    def validation_network(self) -> torch.nn.Module:
        """The weights that are validated and kept: the average where there is one."""
        return self.network if self.ema_network is None else self.ema_network
