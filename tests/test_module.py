"""The module: optimisers, a pre-trained encoder's rate and rest, the average of weights and statistics."""

from __future__ import annotations

import copy
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import tiny_plan
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan, Pretrained
from osteon.runs.fit import train
from osteon.training import module as module_file
from osteon.training.checkpoint import LAST, load_checkpoint, pack_optimiser, unpack_optimiser
from osteon.training.module import TrainingModule
from osteon.training.optimisers import OPTIMISERS
from osteon.training.sampling import Batch
from runs import CPU, cohort

ENCODER = ("network.encoder.0.weight", "network.encoder.0.bias")


class Encoded(nn.Module):
    """An encoder with a batch norm, and a head."""

    def __init__(self, channels: int = 1, outputs: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv3d(channels, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())
        self.head = nn.Conv3d(4, outputs, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.head(self.encoder(image))]


@pytest.fixture(autouse=True)
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Every plan's network is a fresh Encoded; the list holds the value of `fresh` at each building."""
    built: list[bool] = []

    def build(_: Plan, *, fresh: bool = False) -> nn.Module:
        built.append(fresh)
        return Encoded()

    monkeypatch.setattr(module_file, "build_network", build)
    return built


def pretrained_plan(changes: dict[str, Any] | None = None, weights: str = "imagenet") -> Plan:
    network = Pretrained(name="unet", encoder="resnet18", weights=weights, downsampling=(2, 2, 2))
    return tiny_plan(changes).model_copy(update={"network": network})


def batch(iteration: int) -> Batch:
    generator = torch.Generator().manual_seed(iteration)
    image = 3 + 2 * torch.randn(2, 1, 4, 4, 4, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 4, 4), generator=generator)
    return Batch(iteration, image, labels, torch.ones(2, 2, dtype=torch.bool))


def step(module: TrainingModule, optimiser: torch.optim.Optimizer, iteration: int) -> None:
    """As Lightning does it."""
    optimiser.zero_grad()
    module.training_step(batch(iteration), iteration).backward()
    module.on_before_optimizer_step(optimiser)
    optimiser.step()
    module.update_ema(batch(iteration))


def made(plan: Plan, **how: Any) -> tuple[TrainingModule, torch.optim.Optimizer]:
    module = TrainingModule(plan, 0, lambda: 0.0, **how)
    return module, module.configure_optimizers()


def snapshot(module: TrainingModule) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_optimisers_are_torchs_with_the_plans_numbers() -> None:
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    assert OPTIMISERS.keys() == kinds.keys()
    for name, kind in kinds.items():
        changes = {"training.optimiser": name, "training.momentum": 0.9, "training.weight_decay": 0.25}
        optimiser = made(tiny_plan(changes))[1]
        assert type(optimiser) is kind
        (group,) = optimiser.param_groups
        assert (group["lr"], group["weight_decay"]) == (0.003, 0.25)
        assert len(group["params"]) == 6
        assert name != "sgd" or (group["momentum"], group["nesterov"]) == (0.9, True)
    still = made(tiny_plan({"training.optimiser": "sgd", "training.momentum": 0.0}))[1]
    assert not still.param_groups[0]["nesterov"]


def test_a_pretrained_encoder_has_a_rate_of_its_own() -> None:
    changes = {"training.encoder_rate": 0.1, "training.schedule": "exponential", "training.decay": 0.5}
    module, optimiser = made(pretrained_plan(changes))
    others, encoder = optimiser.param_groups
    assert {id(w) for w in encoder["params"]} == {id(w) for w in module.network.encoder.parameters()}
    assert {id(w) for w in others["params"]} == {id(w) for w in module.network.head.parameters()}
    assert (others["lr"], encoder["lr"]) == pytest.approx((0.003, 0.0003))
    for iteration in range(3):
        step(module, optimiser, iteration)
    # Epochs have two iterations: the third is in the second epoch.
    assert (others["lr"], encoder["lr"]) == pytest.approx((0.0015, 0.00015))


@pytest.mark.parametrize(("norm", "kept"), [(50.0, 2.0), (2.5, 2.0), (1.5, 1.5)])
def test_a_gradient_is_clipped_to_the_plans_length(norm: float, kept: float) -> None:
    module, optimiser = made(tiny_plan({"training.clip_gradient": 2.0}))
    module.training_step(batch(0), 0).backward()
    gradients = [p.grad for p in module.network.parameters() if p.grad is not None]
    torch._foreach_mul_(gradients, norm / float(torch.nn.utils.get_total_norm(gradients)))
    before = [gradient.clone() for gradient in gradients]
    module.on_before_optimizer_step(optimiser)
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(kept, rel=1e-4)
    for old, new in zip(before, gradients, strict=True):
        torch.testing.assert_close(new, old * (kept / norm))  # all alike: the direction stays


def test_an_encoder_that_begins_at_random_is_like_the_rest() -> None:
    changes = {"training.encoder_rate": 0.1, "training.frozen_epochs": 1}
    for plan, how in ((tiny_plan(changes), {}), (pretrained_plan(changes, weights="none"), {})):
        module, optimiser = made(plan, **how)
        assert len(optimiser.param_groups) == 1
        before = snapshot(module)
        step(module, optimiser, 0)
        assert not torch.equal(module.state_dict()[ENCODER[0]], before[ENCODER[0]])
    assert len(made(tiny_plan(changes), transferred=True)[1].param_groups) == 2
    assert len(made(pretrained_plan(changes, weights="none"), transferred=True)[1].param_groups) == 2


def test_a_frozen_encoder_rests_then_learns() -> None:
    plan = pretrained_plan({"training.frozen_epochs": 2, "training.weight_decay": 0.5, "training.ema": 0.5})
    module, optimiser = made(plan)
    module.train()
    before = snapshot(module)
    for iteration in range(4):
        step(module, optimiser, iteration)
        module.network.train()  # as validation leaves it
    rested = module.state_dict()
    for name in before:
        part = name.split(".")[1]
        assert torch.equal(rested[name], before[name]) == (part == "encoder"), name
    step(module, optimiser, 4)
    learnt = module.state_dict()
    for name in ENCODER:
        assert not torch.equal(learnt[name], before[name]), name
    assert int(learnt["network.encoder.1.num_batches_tracked"]) == 1
    assert not torch.equal(learnt["network.encoder.1.running_mean"], before["network.encoder.1.running_mean"])


def test_only_a_fresh_training_looks_for_weights(encoded: list[bool]) -> None:
    made(tiny_plan())
    made(tiny_plan(), fresh=False)
    assert encoded == [True, False]


def test_the_average_follows_weights_and_statistics() -> None:
    module, optimiser = made(tiny_plan({"training.ema": 0.75}))
    module.train()
    average = copy.deepcopy(dict(module.ema_network.state_dict()))
    for iteration in range(40):
        step(module, optimiser, iteration)
        decay = min(0.75, (2 + iteration) / (11 + iteration))
        for name, value in module.network.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value if value.is_floating_point() else value
    found = module.ema_network.state_dict()
    assert found.keys() == average.keys()
    for name, value in average.items():
        torch.testing.assert_close(found[name], value.to(found[name].dtype))
    # What the batch norm of the average says of its input is near the truth, and no longer the initial 0 and 1.
    assert int(found["encoder.1.num_batches_tracked"]) == 40
    torch.testing.assert_close(
        found["encoder.1.running_mean"], module.network.encoder[1].running_mean, atol=0.1, rtol=0.1
    )


@pytest.mark.parametrize("name", OPTIMISERS)
def test_groups_survive_a_checkpoint(name: str) -> None:
    plan = pretrained_plan(
        {"training.optimiser": name, "training.encoder_rate": 0.1, "training.frozen_epochs": 1, "training.ema": 0.5}
    )
    for stop in (1, 2, 3):  # frozen, at the end of that, after it
        module, optimiser = made(plan)
        for iteration in range(stop):
            step(module, optimiser, iteration)
        other, resumed = made(plan, fresh=False)
        other.load_state_dict(snapshot(module))
        unpack_optimiser(resumed, {key: value.clone() for key, value in pack_optimiser(optimiser).items()})
        other.iteration = module.iteration
        for iteration in range(stop, 6):
            step(module, optimiser, iteration)
            step(other, resumed, iteration)
        for key, value in module.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("stop", [1, 4])
def test_a_run_with_groups_ends_as_an_undisturbed_one(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Stopped while the encoder rests, and after."""
    monkeypatch.setattr(module_file, "pretrained_encoder", lambda network, *_, **__: network.encoder)
    plan = tiny_plan(
        {
            "training.epochs": 3,
            "training.ema": 0.5,
            "training.encoder_rate": 0.2,
            "training.frozen_epochs": 1,
            "training.schedule": "exponential",
            "training.decay": 0.5,
        }
    )
    train(tiny, plan, tmp_path / "whole", CPU)
    acting = TrainingModule.training_step
    with monkeypatch.context() as patch:

        def interrupted(module: TrainingModule, part: Batch, number: int) -> torch.Tensor:
            if part.iteration == stop:
                signal.raise_signal(signal.SIGINT)
            return acting(module, part, number)

        patch.setattr(TrainingModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, plan, tmp_path / "parts", CPU)
    assert load_checkpoint(tmp_path / "parts/checkpoints" / LAST)[1].iteration == stop + 1
    assert train(tiny, plan, tmp_path / "parts", CPU).resumed
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoints" / LAST)[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    rates = [row["learning_rate"] for row in load_checkpoint(tmp_path / "parts/checkpoints" / LAST)[1].history]
    assert rates == pytest.approx([0.0015, 0.00075, 0.000375])
