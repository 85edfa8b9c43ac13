"""Devices: the words for them, what this machine lacks, and how a training uses the one it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import tiny_plan
from osteon.core.devices import check_device, device_kind, resolve_device, sizing_kind
from osteon.core.errors import UsageError
from osteon.core.files import read_yaml
from osteon.plan.schema import Plan
from osteon.preparing.cache import prepare_cases
from osteon.runs import fit, loop
from osteon.runs.options import TrainOptions
from osteon.sweeping.spec import Sweep
from osteon.training import compilation, hardware
from osteon.training.batches import BatchStream
from osteon.training.checkpoint import TrainingState
from osteon.training.compilation import MIN_TRAINING_S, compile_forward, is_worth_compiling
from osteon.training.hardware import enable_fast_cuda, lightning_device, lightning_precision
from osteon.training.limits import TrainingLimits
from osteon.training.module import TrainingModule
from osteon.training.optimisers import OPTIMISERS, make_optimiser
from osteon.training.sampling import Batch, PatchSampler
from runs import cohort, command

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Let torch see so many GPUs."""

    def see(gpus: int = 0, *, build: str | None = "12.8", mps: bool = False) -> None:
        monkeypatch.setattr(torch.version, "cuda", build)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return see


@pytest.mark.parametrize(
    ("wanted", "gpus", "mps", "found"),
    [
        ("auto", 0, False, "cpu"),
        ("auto", 0, True, "cpu"),
        ("auto", 2, True, "cuda"),
        ("cpu", 2, True, "cpu"),
        ("cuda", 1, False, "cuda"),
        ("cuda:0", 1, False, "cuda:0"),
        ("cuda:1", 2, False, "cuda:1"),
        ("mps", 0, True, "mps"),
    ],
)
def test_a_word_means_a_device(machine: Machine, wanted: str, gpus: int, mps: bool, found: str) -> None:
    machine(gpus, mps=mps)
    assert resolve_device(wanted) == found
    assert resolve_device(found) == found


@pytest.mark.parametrize(
    ("wanted", "how", "message", "hint"),
    [
        ("abacus", {"gpus": 1}, "no device abacus", "cuda:N"),
        ("cuda:", {"gpus": 1}, "no device cuda:", "cuda:N"),
        ("cuda:-1", {"gpus": 1}, "no device cuda:-1", "cuda:N"),
        ("CUDA", {"gpus": 1}, "no device CUDA", "cuda:N"),
        ("cuda", {"build": None}, "built for the CPU", "CUDA build"),
        ("cuda:0", {"build": None}, "built for the CPU", "CUDA build"),
        ("cuda", {}, "no GPU, or no driver", "--device cpu"),
        ("cuda:1", {"gpus": 1}, "no cuda:1: torch sees 1 GPU\n", "--device cuda$"),
        ("cuda:2", {"gpus": 2}, "no cuda:2: torch sees 2 GPUs", "cuda:0 … cuda:1"),
        ("mps", {"gpus": 1}, "no Apple GPU", "--device cpu"),
    ],
)
def test_what_is_not_there_is_refused(
    machine: Machine, wanted: str, how: dict[str, Any], message: str, hint: str
) -> None:
    machine(**how)
    with pytest.raises(UsageError, match=message) as caught:
        resolve_device(wanted)
    assert pytest.raises(UsageError, match=hint).matches(UsageError(caught.value.hint))


def test_kinds_of_devices() -> None:
    devices = ("cpu", "cuda", "cuda:3", "mps")
    assert [device_kind(device) for device in devices] == ["cpu", "cuda", "cuda", "mps"]
    assert [sizing_kind(device) for device in devices] == ["cpu", "cuda", "cuda", "cpu"]
    assert [check_device(device) for device in devices] == list(devices)


@pytest.mark.parametrize(
    "arguments", [["plan", "{}"], ["train", "{}", "run"], ["predict", "{}", "a", "b"], ["serve", "{}"]]
)
def test_commands_name_the_devices_and_refuse_other_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    filled = [part.format(tmp_path / "missing") for part in arguments]
    assert command(*filled, "--device", "cuda:x") == 2
    assert "there is no device cuda:x" in capsys.readouterr().err
    command(arguments[0], "--help")
    assert "auto|cpu|cuda|cuda:N|mps" in capsys.readouterr().out.replace("\n", "")


def test_a_gpu_that_is_not_there_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], machine: Machine
) -> None:
    machine(1)
    data = cohort(tmp_path).folder
    assert command("plan", data, "--device", "cuda:1") == 2
    assert "there is no cuda:1: torch sees 1 GPU" in capsys.readouterr().err
    machine(2)  # what it has is taken, and the sizes are those of a GPU
    assert command("plan", data, "--device", "cuda:1", "--no-cost") == 0


# How a training uses its device


def test_lightning_is_told_which_device() -> None:
    assert lightning_device("cpu") == {"accelerator": "cpu", "devices": 1}
    assert lightning_device("cuda") == {"accelerator": "gpu", "devices": [0]}
    assert lightning_device("cuda:1") == {"accelerator": "gpu", "devices": [1]}
    assert lightning_device("mps") == {"accelerator": "mps", "devices": 1}


def planned_on(device: str, precision: str) -> Plan:
    return tiny_plan({"training.precision": precision, "forecast": {"device": device}})


@pytest.mark.parametrize(
    ("planned", "precision", "device", "chosen"),
    [
        ("cpu", "fp32", "cuda:1", "bf16-mixed"),
        ("cuda", "fp32", "cuda:1", "32-true"),
        ("cuda:1", "bf16", "cuda", "bf16-mixed"),
        ("cuda", "bf16", "cpu", "32-true"),
        ("cuda", "bf16", "mps", "32-true"),
        ("", "bf16", "cpu", "bf16-mixed"),
        ("cpu", "bf16", "cpu", "bf16-mixed"),
    ],
)
def test_a_precision_holds_where_it_was_measured(
    planned: str, precision: str, device: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_bf16", lambda: True)
    plan = planned_on(planned, precision)
    assert lightning_precision(None, plan, device) == chosen
    assert lightning_precision("fp32", plan, device) == "32-true"
    assert lightning_precision("bf16", plan, device) == "bf16-mixed"


def test_a_plan_of_another_machine_does_not_emulate_bf16(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tiny_plan({"training.precision": "bf16"})
    monkeypatch.setattr(hardware, "has_bf16", lambda: False)
    assert lightning_precision(None, plan, "cpu") == "32-true"
    assert "the plan says bf16, which this processor does not compute in" in capsys.readouterr().err
    assert lightning_precision("bf16", plan, "cpu") == "bf16-mixed"
    monkeypatch.setattr(hardware, "has_bf16", lambda: True)
    assert lightning_precision(None, plan, "cpu") == "bf16-mixed"


@pytest.fixture
def exact() -> Iterator[None]:
    """TF32 and trials forbidden, and afterwards as before: torch's settings let no monkeypatch delete them."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    ("device", "deterministic", "tf32", "trials"),
    [
        ("cpu", False, False, False),
        ("mps", False, False, False),
        ("cuda:1", True, True, False),
        ("cuda", False, True, True),
    ],
)
def test_cuda_computes_in_tf32_and_tries_out_what_is_fast(
    device: str, deterministic: bool, tf32: bool, trials: bool
) -> None:
    enable_fast_cuda(device, deterministic=deterministic)
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32
    assert torch.backends.cudnn.benchmark == trials


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_fused_on_cuda_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    how = tiny_plan({"training.optimiser": name}).training
    network = nn.Linear(2, 2)
    assert make_optimiser(network, None, how).defaults["fused"] is None
    monkeypatch.setattr(nn.Parameter, "is_cuda", True)
    assert make_optimiser(network, None, how).defaults["fused"] is True


# Compiling


def test_compiling_pays_in_long_trainings_on_cuda() -> None:
    assert is_worth_compiling("cuda:1", MIN_TRAINING_S, deterministic=False)
    assert not is_worth_compiling("cuda", MIN_TRAINING_S - 1, deterministic=False)
    assert not is_worth_compiling("cuda", None, deterministic=False)
    assert not is_worth_compiling("cuda", MIN_TRAINING_S, deterministic=True)
    assert not is_worth_compiling("cpu", MIN_TRAINING_S, deterministic=False)
    assert not is_worth_compiling("mps", MIN_TRAINING_S, deterministic=False)


def test_what_is_left_of_a_training() -> None:
    def left(limits: TrainingLimits, device: str, *, measured: float | None = 2.0) -> float | None:
        plan = tiny_plan({"forecast": {"device": "cuda", "seconds_per_iteration": measured}})
        state = TrainingState(iteration=10, elapsed_s=30.0)
        return limits.remaining_s(state, plan.forecast, device)

    assert left(TrainingLimits(None, 100.0), "cpu") == 70
    assert left(TrainingLimits(40, None), "cuda") == 60
    assert left(TrainingLimits(40, None), "cpu") is None
    assert left(TrainingLimits(40, None), "cuda", measured=None) is None


def compiled_module(monkeypatch: pytest.MonkeyPatch, backend: str) -> tuple[TrainingModule, torch.Tensor]:
    monkeypatch.setattr(compilation, "_missing_tool", lambda: "")
    module = TrainingModule(tiny_plan(), 0, lambda: 0.0)
    module.stand_in = compile_forward(module.network, backend)
    return module, torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_compiled_network_says_the_same_and_keeps_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module, image = compiled_module(monkeypatch, "aot_eager")
    names = list(TrainingModule(tiny_plan(), 0, lambda: 0.0).state_dict())
    assert module.stand_in is not None
    for found, expected in zip(module.stand_in(image), module.network(image), strict=True):
        torch.testing.assert_close(found, expected)
    assert list(module.state_dict()) == names


def test_training_uses_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = compiled_module(monkeypatch, "aot_eager")
    seen: list[torch.Size] = []
    acting = module.network

    def record(image: torch.Tensor) -> list[torch.Tensor]:
        seen.append(image.shape)
        return acting(image)  # type: ignore[no-any-return]

    module.stand_in = record
    labels = torch.zeros(2, 8, 8, 8, dtype=torch.long)
    module.training_step(Batch(0, torch.zeros(2, 1, 8, 8, 8), labels, torch.ones(2, 2, dtype=torch.bool)), 0)
    assert seen == [(2, 1, 8, 8, 8)]


def test_where_compiling_fails_the_network_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise NotImplementedError("no such [kernel]")

    module, image = compiled_module(monkeypatch, failing)  # type: ignore[arg-type]
    assert module.stand_in is not None
    for _ in range(2):
        torch.testing.assert_close(module.stand_in(image), module.network(image))
    output = capsys.readouterr().err
    assert output.count("not compiled") == 1
    assert "no such [kernel]" in output


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda _: None)
    assert compile_forward(nn.Identity()) is None
    assert "not compiled: triton is not installed" in capsys.readouterr().err
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(compilation.shutil, "which", lambda _: None)
    assert compile_forward(nn.Identity()) is None
    assert "not compiled: there is no C compiler" in capsys.readouterr().err


@pytest.mark.parametrize("budget_s", [MIN_TRAINING_S, 5.0])
def test_a_long_training_is_compiled_where_that_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget_s: float
) -> None:
    asked: list[tuple[str, float | None, bool]] = []

    def pays_here(device: str, left_s: float | None, *, deterministic: bool) -> bool:
        asked.append((device, left_s, deterministic))
        return left_s is not None and left_s >= MIN_TRAINING_S

    class StopError(Exception):
        pass

    def step(module: TrainingModule, _: Batch, __: int) -> torch.Tensor:
        assert (module.stand_in is None) == (budget_s < MIN_TRAINING_S)
        raise StopError

    monkeypatch.setattr(loop, "is_worth_compiling", pays_here)
    monkeypatch.setattr(loop, "compile_forward", lambda network: network.forward)
    monkeypatch.setattr(TrainingModule, "training_step", step)
    with pytest.raises(StopError):
        fit.train(
            cohort(tmp_path), tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", budget_s=budget_s, workers=1)
        )
    assert asked == [("cpu", budget_s, False)]


def test_a_missing_device_is_refused_before_anything_is_prepared(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(1)
    monkeypatch.setattr(fit, "prepare_cases", lambda *_, **__: pytest.fail("the cases were prepared"))
    with pytest.raises(UsageError, match="no cuda:1"):
        fit.train(cohort(tmp_path), tiny_plan(), tmp_path / "run", TrainOptions(device="cuda:1"))
    assert read_yaml(tmp_path / "run/run.yaml", "the record")["device"] == "cuda:1"


def test_a_sweep_takes_devices_and_refuses_other_words() -> None:
    content: dict[str, Any] = {"dataset": "data", "epochs": 1, "grid": {"patch.batch": [1]}}
    assert Sweep.model_validate(content | {"device": "cuda:1"}).options(0).device == "cuda:1"
    with pytest.raises(ValueError, match="there is no device abacus"):
        Sweep.model_validate(content | {"device": "abacus"})


def test_batches_are_those_of_the_sampler_and_waiting_is_counted(tmp_path: Path) -> None:
    dataset = cohort(tmp_path)
    sampler = PatchSampler(
        list(prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)[0].values()), tiny_plan(), 0
    )
    batches = BatchStream(sampler, 3)
    for number, found in zip(range(3, 6), batches, strict=False):
        assert found.iteration == number
        assert found.arrival is None
        assert torch.equal(found.image, sampler.read(number).image)
    assert batches.waited_s > 0
