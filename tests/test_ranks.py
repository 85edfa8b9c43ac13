"""Training over several devices: two processes connected by gloo do what one does with the doubled batch."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed import TCPStore

from children import finish, python, wait
from helpers import plan_data, tiny_plan, two_boxes, write_dataset
from osteon.cli.output import describe_devices
from osteon.core.errors import RankError, UsageError
from osteon.core.labels import make_structures
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan, parse_plan, write_plan
from osteon.plan.sections import Forecast
from osteon.preparing.cache import prepare_cases
from osteon.runs.fit import train
from osteon.runs.fit_task import FitTask
from osteon.runs.options import TrainOptions
from osteon.runs.rank_environment import RankEnvironment, find_environment, rank_device, resolve_ranks
from osteon.runs.rank_launcher import CONTINUES, _end_with_others, _OtherRanks, dismiss_ranks
from osteon.training import ranks
from osteon.training.augmenting import apply_augmentation, draw_parameters
from osteon.training.checkpoint import LAST, load_checkpoint
from osteon.training.module import TrainingModule
from osteon.training.sampling import Batch, PatchSampler
from runs import CPU, learning_plan

ROOT = Path(__file__).parents[1]
TWO = replace(CPU, devices=2)
LOSS_TOLERANCE = 5e-6
"""Relative: sums of float32 in another order, over a few iterations."""
WEIGHT_TOLERANCE = 2e-5
"""Absolute, of weights of about 0.1 to 1."""
PATIENCE_S = 300
"""Until a process that loads torch has done its work, on a machine that has much else to do."""
CHANGES = {
    "noise_p": 0.7,
    "blur_p": 0.7,
    "brightness_p": 0.5,
    "gamma_p": 0.5,
    "low_resolution_p": 0.5,
    "affine_p": 0.5,
    "rotate_degrees": [20.0, 20.0, 20.0],
    "elastic_p": 0.5,
    "mirror_axes": [0, 1, 2],
}
"""Each of them for some of a batch's patches."""


def doubled(plan: Plan) -> Plan:
    return plan.model_copy(update={"patch": plan.patch.model_copy(update={"batch": 2 * plan.patch.batch})})


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_alike(run: Path, reference: Path) -> None:
    """Losses, validation's scores and the last weights."""
    rows, expected = metrics(run), metrics(reference)
    for row, other in zip(rows, expected, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=LOSS_TOLERANCE, abs=2e-6)
        assert row["iteration"] == other["iteration"]
        for name in (name for name in other if name.startswith("dice")):
            assert bool(row[name]) == bool(other[name])
            assert float(row[name] or 0) == pytest.approx(float(other[name] or 0), abs=1e-3)
    tensors, others = (load_checkpoint(folder / "checkpoints" / LAST)[0] for folder in (run, reference))
    assert tensors.keys() == others.keys()
    for name in tensors:
        if not name.startswith("optimiser"):
            torch.testing.assert_close(tensors[name], others[name], atol=WEIGHT_TOLERANCE, rtol=1e-5)


def short(changes: dict[str, Any] | None = None) -> Plan:
    data = {"training.epoch_iterations": 4, "training.epochs": 2, "training.learning_rate": 0.005}
    return learning_plan(data | {f"augmentation.{key}": value for key, value in CHANGES.items()} | (changes or {}))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six cases, in two of which one structure was not annotated, in one the other."""
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    annotated = {"c1": ["femur"], "c2": ["tibia"], "c4": ["femur"]}
    return write_dataset(tmp_path_factory.mktemp("tiny"), cases, annotated=annotated)


# What a rank is given, without any other


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def become(rank: int, world_size: int) -> None:
        monkeypatch.setattr(ranks, "rank", lambda: rank)
        monkeypatch.setattr(ranks, "world_size", lambda: world_size)

    return become


def test_ranks_see_the_parts_of_one_batch(tiny: Dataset, as_rank: Callable[[int, int], None]) -> None:
    """Patches, and all that is changed in them."""
    plan = short({"patch.batch": 3})
    cases = list(prepare_cases(tiny, plan, tiny.manifest.trainable)[0].values())
    sampler = PatchSampler(cases, plan, 5)

    def augmented(plan: Plan, iteration: int) -> tuple[torch.Tensor, ...]:
        batch = PatchSampler(cases, plan, 5).read(iteration)
        parameters = draw_parameters(plan, 5, iteration)
        return apply_augmentation(batch.image, batch.labels, batch.annotated, parameters, plan)

    for iteration in range(4):
        whole = doubled(plan)
        as_rank(0, 1)
        draws, expected = PatchSampler(cases, whole, 5).draw(iteration), augmented(whole, iteration)
        parts = []
        for rank in range(2):
            as_rank(rank, 2)
            assert sampler.draw(iteration) == draws[3 * rank : 3 * rank + 3]
            parts.append(augmented(plan, iteration))
        for found, wanted in zip(zip(*parts, strict=True), expected, strict=True):
            torch.testing.assert_close(torch.cat(found), wanted)


def test_a_process_alone_has_no_other() -> None:
    value = torch.ones(2, requires_grad=True)
    assert ranks.world_size() == 1
    assert ranks.rank() == 0
    assert ranks.total(value) is value
    assert ranks.mean(value) is value
    assert ranks.whole_batch(plan := tiny_plan()) is plan


def test_batch_norms_become_common_ones_on_cuda_and_stay_what_else_they_are() -> None:
    class Scaled(nn.BatchNorm3d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    network = nn.Sequential(nn.Conv3d(1, 2, 1), Scaled(2), nn.BatchNorm3d(2)).eval()
    names = list(network.state_dict())
    image = torch.randn(2, 1, 4, 4, 4)
    before = network(image)
    assert not ranks.synchronise_batch_norms(network, "cpu")
    assert not isinstance(network[1], nn.SyncBatchNorm)
    assert ranks.synchronise_batch_norms(network, "cuda")
    assert all(isinstance(network[n], nn.SyncBatchNorm) for n in (1, 2))
    assert isinstance(network[1], Scaled)
    assert list(network.state_dict()) == names
    assert torch.equal(network(image), before)
    assert ranks.synchronise_batch_norms(nn.Conv3d(1, 2, 1), "cpu")


# Two processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def other_rank() -> Iterator[None]:
    """This process is rank 0 of two, as srun starts them; the other takes part in one training after another."""
    told = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (told | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}).items():
            patch.setenv(name, value)
        child = python("from osteon.runs.follower import follow; assert follow(2)")
        for name in ("SLURM_PROCID", "SLURM_LOCALID"):
            patch.setenv(name, "0")
        try:
            yield
            dismiss_ranks(2)
            finish(child, PATIENCE_S)
        finally:
            child.kill()


def boxes_that_overlap(folder: Path) -> Dataset:
    cases = {}
    for n in range(4):
        image, labels, affine = two_boxes(seed=n)
        layers = np.stack([labels == 3, (labels == 5) | (image > 180)]).astype(np.uint8)
        cases[f"c{n}"] = image, layers, affine
    return write_dataset(folder, cases, overlapping=True, annotated={"c1": ["femur"], "c2": ["tibia"]})


def row_of_bodies(folder: Path) -> Dataset:
    cases = {}
    for n in range(4):
        labels = np.zeros((10, 10, 40), np.uint8)
        labels[1:9, 1:9, 37:] = 1
        for value, start in ((2, 28 - n), (3, 16 - n), (4, 4 - n)):
            labels[1:9, 1:9, max(0, start) : start + 8] = value
        image = (np.random.default_rng(n).normal(0, 10, labels.shape) + 50 * labels).astype(np.int16)
        cases[f"c{n}"] = image, labels, np.eye(4)
    names = ["sacrum", "L1", "L2", "L3"]
    return write_dataset(folder, cases, make_structures(names, [1, 2, 3, 4]), annotated={"c1": ["L1", "L2"]})


def bodies_plan() -> Plan:
    names = ["sacrum", "L1", "L2", "L3"]
    structures = [{"name": n, "value": v, "colour": f"#0000{v:02d}"} for v, n in enumerate(names, 1)]
    series = {"axis": 2, "names": names[:0:-1], "distance_mm": 12.0, "volume_mm3": 512.0, "bodies": True}
    augmentation = plan_data()["augmentation"] | CHANGES | {"mirror_axes": [], "crop_p": 0.5, "crop": 0.5}
    changes = {"structures": structures, "series": series, "patch.size": [8, 8, 24], "augmentation": augmentation}
    return tiny_plan({**changes, "training.epoch_iterations": 4})


VARIANTS: dict[str, tuple[Callable[[Path], Dataset] | None, Plan, TrainOptions]] = {
    "not all annotated, averaged weights": (None, short({"training.ema": 0.8}), CPU),
    "overlapping structures, focal loss": (
        boxes_that_overlap,
        parse_plan(
            plan_data({"overlapping": True, "training.loss": "dice_focal", "training.epoch_iterations": 4})
            | {"augmentation": plan_data()["augmentation"] | CHANGES},
            Path("plan.yaml"),
        ),
        replace(CPU, fold=None),
    ),
    "cores and levels of bodies": (row_of_bodies, bodies_plan(), replace(CPU, fold=None)),
}


def test_two_ranks_do_what_one_does_with_the_doubled_batch(tiny: Dataset, tmp_path: Path) -> None:
    begun = replace(CPU, fold=None, init=str(tmp_path / "not all annotated, averaged weights/one"))
    resting = {"an encoder that rests at first": (None, short({"training.frozen_epochs": 1}), begun)}
    with other_rank():
        for variant, (make, plan, options) in (VARIANTS | resting).items():
            folder = tmp_path / variant
            dataset = tiny if make is None else make(folder / "data")
            train(dataset, plan, folder / "two", replace(options, devices=2))
            train(dataset, doubled(plan), folder / "one", options)
            assert_alike(folder / "two", folder / "one")
            assert {row["ranks"] for row in metrics(folder / "two")} == {"2"}
            assert "ranks" not in metrics(folder / "one")[0]
            validation = json.loads((folder / "two/model/validation.json").read_text())
            assert validation["training"]["devices"] == 2


@contextmanager
def at_iteration(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Do something in the middle of an iteration of rank 0."""
    step = TrainingModule.training_step

    def acting(module: TrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        if batch.iteration == number:
            act()
        return step(module, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", acting)
        yield


def followers(of: int | None = None) -> list[psutil.Process]:
    """Processes that rank 0 has started; other tests' that have ended and were not waited for are none."""
    found = []
    for child in psutil.Process(of).children():
        with suppress(psutil.ZombieProcess):
            found += [child] if "osteon.runs.follower" in child.cmdline() else []
    return found


def signal_follower(number: int) -> None:
    (process,) = followers()
    process.send_signal(number)


def test_killed_and_interrupted_it_goes_on_with_any_number_of_ranks(tiny: Dataset, tmp_path: Path) -> None:
    plan, run = short(), tmp_path / "run"
    killed = pytest.raises(RankError, match="rank 1 of 2 was killed by signal 9")
    with at_iteration(3, lambda: signal_follower(signal.SIGKILL)), killed as caught:
        train(tiny, plan, run, TWO, checkpoint_every_s=0)
    assert caught.value.hint == CONTINUES
    assert not followers()
    assert load_checkpoint(run / "checkpoints" / LAST)[1].iteration == 3

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:  # what came to one rank came to all
        with at_iteration(5, lambda: signal_follower(signal.SIGTERM)), pytest.raises(SystemExit) as ended:
            train(tiny, plan, run, TWO)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    assert not followers()
    stopped_at = load_checkpoint(run / "checkpoints" / LAST)[1].iteration
    assert stopped_at in (6, 7)  # the signal may arrive after the iteration that it was sent in

    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    assert train(tiny, plan, run, TWO).resumed
    train(tiny, doubled(plan), tmp_path / "undisturbed", CPU)
    assert_alike(run, tmp_path / "undisturbed")
    report = train(tiny, plan, alone, CPU)
    assert (report.resumed, report.iterations) == (True, 8)
    assert metrics(alone)[0]["ranks"] == "2"
    assert not metrics(alone)[1]["ranks"]
    assert all(value.isfinite().all() for value in load_file(alone / "model/weights.safetensors").values())


def test_ctrl_c_ends_all_of_them_saved(tiny: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with at_iteration(2, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        train(tiny, short(), tmp_path / "run", TWO)
    assert "stopping after this iteration" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "run/checkpoints" / LAST)[1].iteration == 3
    assert not followers()


def test_a_rank_that_fails_says_why(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the other one cannot read the dataset."""
    to_json = FitTask.to_json
    monkeypatch.setattr(FitTask, "to_json", lambda task: to_json(replace(task, dataset=tmp_path / "elsewhere")))
    with pytest.raises(RankError, match=r"rank 1 of 2: .*elsewhere"):
        train(tiny, short(), tmp_path / "run", TWO)
    assert not followers()


def test_a_process_that_does_not_notice_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a GPU waits for another one's."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    others = _OtherRanks(store, 3)
    store.set("failure/2", json.dumps(["there is not enough memory", "buy some"]))
    codes: list[int] = []
    over = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        over.set()

    monkeypatch.setattr(os, "_exit", end)
    _end_with_others(others, over, notice_s=0.01)
    assert codes == [1]
    assert "rank 2 of 3: there is not enough memory\n  → buy some" in caplog.text


def command_line(*arguments: object, code: str = "from osteon.cli.main import main; main()") -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    head = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_on_the_command_line(tiny: Dataset, tmp_path: Path) -> None:
    """With a time budget, by one clock; validation scans are divided."""
    run, path = tmp_path / "run", tmp_path / "plan.yaml"
    write_plan(path, short())
    process = command_line(
        "train", tiny.folder, run, "--plan", path, "--device", "cpu", "--devices", 2, "--budget", "3s"
    )
    out, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, error
    assert "2 devices, 2 patches on each: 4 in an iteration" in error
    assert out.count("validation Dice  mean") == 1  # rank 0 alone speaks
    assert json.loads((run / "model/validation.json").read_text())["training"]["ended"] == "budget spent"
    assert {row["ranks"] for row in metrics(run)} == {"2"}


def test_when_rank_0_is_killed_the_others_end(tiny: Dataset, tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "plan.yaml"
    write_plan(path, short({"training.epochs": 1_000_000}))
    process = command_line("train", tiny.folder, run, "--plan", path, "--device", "cpu", "--devices", 2)
    try:
        wait((run / "metrics.csv").is_file, PATIENCE_S)
        (other,) = followers(process.pid)
    finally:
        process.kill()
        process.communicate()
    wait(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE)


def test_under_torchrun(tiny: Dataset, tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "plan.yaml"
    write_plan(path, short({"training.epochs": 1}))
    torchrun = "from torch.distributed.run import main; main()"
    osteon = ("-m", "osteon.cli", "train", tiny.folder, run, "--plan", path, "--device", "cpu", "--fold", "none")
    process = command_line("--standalone", "--nproc-per-node", 2, *osteon, code=torchrun)
    out, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, error
    assert (out + error).count("4 iterations; the model") == 1  # rank 0 alone speaks
    assert {row["ranks"] for row in metrics(run)} == {"2"}


# Wrong use, and words


def test_what_a_launcher_says() -> None:
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    torchrun |= {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    found = find_environment(1, torchrun)
    assert found == RankEnvironment(5, 8, 1, 4, "node1", 29500)
    slurm = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[07-08]"}
    slurm |= {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "1234567"}
    found = find_environment(4, slurm)
    assert found == RankEnvironment(3, 4, 1, 2, "gpu07", 19567)
    assert find_environment(4, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None  # a job's script, without srun
    assert find_environment(4, {}) is None
    assert find_environment(1, slurm) is None  # each task trains a run of its own
    with pytest.raises(UsageError, match="RANK is not set"):
        find_environment(1, {"WORLD_SIZE": "2"})
    with pytest.raises(UsageError, match="3 tasks on 2 nodes"):
        find_environment(4, slurm | {"SLURM_STEP_NUM_TASKS": "3"})


@pytest.mark.parametrize(
    ("devices", "nodes", "device", "message", "hint"),
    [
        (0, 1, "cpu", "--devices 0", "1 or more"),
        (1, 0, "cpu", "--nodes 0", "1 or more"),
        (2, 2, "cpu", "no other node", "torchrun"),
        (3, 1, "auto", "torch sees 2 GPUs", "--devices 2"),
        (2, 1, "cuda:1", "is one", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_wrong_use(
    monkeypatch: pytest.MonkeyPatch, devices: int, nodes: int, device: str, message: str, hint: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=message) as caught:
        resolve_ranks(devices, nodes, device)
    assert hint in caught.value.hint
    assert resolve_ranks(2, 1, "auto") == (2, 1)
    assert rank_device("cuda", 1) == "cuda:1"
    assert rank_device("cpu", 1) == "cpu"


def test_a_launchers_numbers_are_taken_and_others_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (told | {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    assert resolve_ranks(1, 1, "cpu") == resolve_ranks(2, 2, "cpu") == (2, 2)
    with pytest.raises(UsageError, match="2 processes on each of 2 nodes"):
        resolve_ranks(4, 1, "cpu")


def test_what_devices_cost() -> None:
    plan = tiny_plan({"patch.batch": 3})
    assert describe_devices(plan, 1, 2) == "1 device on each of 2 nodes, 3 patches on each: 6 in an iteration"
    cost = Forecast(seconds_per_iteration=0.5, device="cuda")
    assert cost.seconds_on(4) == 0.5
    assert cost.model_copy(update={"device": "cpu"}).seconds_on(4) == 2.0  # they share its cores
    assert Forecast().seconds_on(2) is None
