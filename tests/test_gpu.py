"""The same on a CUDA device as on the CPU. Skipped where there is none; `benchmarks/gpu.sh` runs it where there is."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import osteon
from helpers import tiny_plan, two_boxes
from osteon.dataset.dataset import Dataset
from osteon.preparing.cache import CachedCase, prepare_cases
from osteon.runs.fit import train
from osteon.runs.options import TrainOptions
from osteon.training.batches import BatchStream
from osteon.training.checkpoint import LAST, load_checkpoint
from osteon.training.compilation import compile_forward
from osteon.training.module import TrainingModule
from osteon.training.sampling import Batch, PatchSampler
from runs import cohort, learning_plan

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda:0")
ON_GPU = TrainOptions(device="cuda:0", workers=1, epochs=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def cached(tiny: Dataset) -> list[CachedCase]:
    return list(prepare_cases(tiny, tiny_plan(), tiny.manifest.trainable)[0].values())


@pytest.fixture(scope="module")
def trained(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on the GPU in bf16."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train(tiny, learning_plan(), run, TrainOptions(device="cuda:0", workers=1, epochs=2, precision="bf16"))
    return run


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 8, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 8, 8), generator=generator)
    return Batch(0, image, labels, torch.tensor([[True, True], [True, False]]))


def loss_on(device: torch.device, changes: dict[str, Any]) -> float:
    module = TrainingModule(tiny_plan(changes), 0, lambda: 0.0).to(device)
    given = copy.deepcopy(batch())
    return float(module.training_step(module.transfer_batch_to_device(given, device, 0), 0).detach())


CHANGES = [
    {},
    {"augmentation.affine_p": 1.0, "augmentation.elastic_p": 1.0, "augmentation.scale": [0.8, 1.2]},
    {"augmentation.blur_p": 1.0, "augmentation.low_resolution_p": 1.0, "augmentation.gamma_p": 1.0},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_a_step_costs_what_it_does_on_the_cpu(changes: dict[str, Any]) -> None:
    assert loss_on(GPU, changes) == pytest.approx(loss_on(torch.device("cpu"), changes), rel=5e-3)


@pytest.mark.parametrize("changes", CHANGES)
def test_a_step_never_waits_for_the_gpu(changes: dict[str, Any]) -> None:
    module = TrainingModule(tiny_plan(changes), 0, lambda: 0.0).to(GPU)
    optimiser = module.configure_optimizers()
    assert optimiser.defaults["fused"] is True

    def step(number: int) -> None:
        given = module.transfer_batch_to_device(copy.deepcopy(batch()).pin(), GPU, 0)
        module.training_step(given, number).backward()
        module.on_before_optimizer_step(optimiser)
        optimiser.step()
        module.update_ema(given)

    step(0)  # libraries load, and the optimiser makes its state
    try:
        torch.cuda.set_sync_debug_mode("error")
        step(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_batches_arrive_on_the_gpu_as_they_were_read(cached: list[CachedCase]) -> None:
    sampler = PatchSampler(cached, tiny_plan(), 0)
    assert sampler.read(0).pin().image.is_pinned()
    for number, given in zip(range(4), BatchStream(sampler, 0, "cuda:0"), strict=False):
        assert given.arrival is not None
        moved, expected = given.to(GPU), sampler.read(number)
        assert moved.image.device == moved.labels.device == GPU
        assert torch.equal(moved.image.cpu(), expected.image)
        assert torch.equal(moved.labels.cpu(), expected.labels)
        assert moved.annotated.device.type == "cpu"


def test_a_compiled_step_costs_what_an_eager_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    module = TrainingModule(tiny_plan(), 0, lambda: 0.0).to(GPU)
    given = batch().to(GPU)
    expected = module.training_step(copy.deepcopy(given), 0)
    module.stand_in = compile_forward(module.network)
    found = module.training_step(copy.deepcopy(given), 0)
    found.backward()
    assert "not compiled" not in capsys.readouterr().err
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert all(weight.grad is not None for weight in module.network.parameters())


def test_a_run_in_bf16_learns(trained: Path) -> None:
    tensors, state = load_checkpoint(trained / "checkpoints" / LAST)
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
    losses = [row["loss"] for row in state.history]
    assert losses[-1] < losses[0]  # type: ignore[operator]


def test_a_run_goes_on_where_it_was_stopped(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrainingModule.training_step

    def stopped(module: TrainingModule, given: Batch, number: int) -> torch.Tensor:
        if given.iteration == 3:
            raise KeyboardInterrupt
        return step(module, given, number)

    monkeypatch.setattr(TrainingModule, "training_step", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tiny, tiny_plan(), tmp_path / "run", ON_GPU, checkpoint_every_s=0)
    monkeypatch.undo()
    report = train(tiny, tiny_plan(), tmp_path / "run", ON_GPU)
    assert report.resumed
    assert report.iterations == 4


def test_masks_are_those_of_the_cpu(trained: Path) -> None:
    from osteon.core.geometry import Geometry
    from osteon.core.volume import Volume

    image, _, affine = two_boxes((40, 24, 20), seed=9)
    volume = Volume(image[None].astype(np.float32), Geometry(image.shape, affine, "mm"))
    masks = [osteon.load_model(trained, device=device).predict(volume).array for device in ("cpu", "cuda", "cuda:0")]
    assert (masks[0] > 0).any()
    for found in masks[1:]:
        assert (found == masks[0]).mean() > 0.999


def test_a_gpu_runs_torch_whatever_was_measured(trained: Path) -> None:
    from osteon.core.errors import UsageError
    from osteon.machine.engine_timing import choose_engine

    model = osteon.load_model(trained, device="cuda")
    assert choose_engine(model, trained / "model", "auto", 10) is model
    with pytest.raises(UsageError, match="runs on the CPU"):
        choose_engine(model, trained / "model", "compiled", 10)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="torch sees fewer than two GPUs here")
def test_two_gpus_do_what_one_does_with_the_doubled_batch(tiny: Dataset, tmp_path: Path) -> None:
    plan = tiny_plan({"training.epoch_iterations": 4})
    doubled = plan.model_copy(update={"patch": plan.patch.model_copy(update={"batch": 4})})
    options = TrainOptions(device="cuda", workers=1, precision="fp32", epochs=2)
    train(tiny, plan, tmp_path / "two", replace(options, devices=2))
    train(tiny, doubled, tmp_path / "one", options)
    (two, state), (one, expected) = (load_checkpoint(tmp_path / run / "checkpoints" / LAST) for run in ("two", "one"))
    assert [row["loss"] for row in state.history] == pytest.approx([row["loss"] for row in expected.history], rel=5e-3)
    for name in (name for name in one if name.startswith("network.")):
        torch.testing.assert_close(two[name], one[name], atol=5e-3, rtol=5e-3)
