"""Checkpoints: what is written comes back, and a failure leaves the old one."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from osteon.core.errors import FileError
from osteon.networks import weights
from osteon.training.checkpoint import (
    LAST,
    TrainingState,
    keep_previous,
    load_checkpoint,
    pack_optimiser,
    read_last_state,
    save_checkpoint,
    unpack_optimiser,
)

STATE = TrainingState(
    iteration=40,
    elapsed_s=12.5,
    best_dice=0.75,
    best_iteration=20,
    history=[{"epoch": 1, "loss": 0.5, "dice": None}],
    finished="budget",
)


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def step(net: torch.nn.Module, optimiser: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
    optimiser.zero_grad()
    net(x).square().sum().backward()
    optimiser.step()


OPTIMISERS = {
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "sgd without momentum": lambda p: torch.optim.SGD(p, 0.01),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path, name: str) -> None:
    net = network()
    optimiser = OPTIMISERS[name](net.parameters())
    for number in range(3):
        step(net, optimiser, number)
    path = tmp_path / "checkpoints" / "last.safetensors"
    save_checkpoint(path, {**net.state_dict(), **pack_optimiser(optimiser)}, STATE)
    tensors, state = load_checkpoint(path)
    assert state == STATE

    other = network(seed=9)
    other.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("optimiser.")})
    resumed = OPTIMISERS[name](other.parameters())
    unpack_optimiser(resumed, tensors)
    for number in range(3, 6):
        step(net, optimiser, number)
        step(other, resumed, number)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert tensors.keys() == load_checkpoint(path)[0].keys()


def test_views_and_shared_layouts_are_written_as_they_are(tmp_path: Path) -> None:
    turned = torch.arange(6.0).reshape(2, 3).T
    save_checkpoint(tmp_path / "a.safetensors", {"x": turned, "n": torch.tensor(3)}, TrainingState())
    tensors, state = load_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(tensors["x"], turned)
    assert int(tensors["n"]) == 3
    assert state == TrainingState()
    assert state.history is not TrainingState().history


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "words", "foreign", "older", "a bit", "a digit"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {"x": torch.zeros(1000)}, STATE)
    if harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif harm == "words":
        path.write_text("not a checkpoint at all, by any means")
    elif harm == "a bit":
        path.write_bytes(path.read_bytes()[:-7] + b"\x40" + path.read_bytes()[-6:])
    elif harm == "a digit":
        path.write_bytes(path.read_bytes().replace(b": 40", b": 41"))
    elif harm == "foreign":
        weights.save_tensors(path, {"x": torch.zeros(3)})
    else:
        weights.save_tensors(path, {"x": torch.zeros(3)}, metadata={"osteon": '{"steps": 3}'})
    with pytest.raises(FileError, match=r"last\.safetensors: not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "the disk is full",
        ),
        (SafetensorError('IoError(Os { code: 28, kind: StorageFull, message: "No space" })'), "the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (SafetensorError("I/O error: Permission denied (os error 13)"), "cannot be written"),
        (SafetensorError("something else"), "cannot be written"),
    ],
)
def test_a_full_disk_is_said_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {"x": torch.ones(3)}, STATE)

    def full(_: object, file: Path, **__: object) -> None:
        Path(file).write_bytes(b"half")
        raise error

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(FileError, match=words):
        save_checkpoint(path, {"x": torch.zeros(3)}, TrainingState())
    tensors, state = load_checkpoint(path)
    assert state == STATE
    assert torch.equal(tensors["x"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from osteon.core.errors import FileError
from osteon.training.checkpoint import TrainingState, save_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(Path(sys.argv[1]), {"x": torch.zeros(100_000)}, TrainingState())
except FileError as error:
    sys.exit(0 if error.__cause__.errno == 27 else 3)
sys.exit(4)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_the_system_refusing_to_write_more_is_understood(tmp_path: Path) -> None:
    """No stand-in: the operating system stops the writer, as it does where a disk is full."""
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, {"x": torch.ones(3)}, STATE)
    subprocess.run([sys.executable, "-c", LIMITED, str(path)], check=True, cwd=tmp_path)
    assert load_checkpoint(path)[1] == STATE


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for iteration in (7, 8):
        keep_previous(tmp_path)
        save_checkpoint(
            tmp_path / LAST, {"x": torch.full((1000,), float(iteration))}, TrainingState(iteration=iteration)
        )
    assert read_last_state(tmp_path).iteration == 8
    assert capsys.readouterr().err == ""
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).unlink()  # what is written in place would change the link, too
    (tmp_path / LAST).write_bytes(whole[:-9] + b"\x42" + whole[-8:])
    assert read_last_state(tmp_path).iteration == 7
    output = " ".join(capsys.readouterr().err.split())
    assert "last.safetensors: not a checkpoint that can be read" in output
    assert "the one before is used, of iteration 7" in output
    assert load_checkpoint(tmp_path / LAST)[0]["x"][0] == 7
    (tmp_path / LAST).write_bytes(b"")
    with pytest.raises(FileError, match="not a checkpoint"):
        read_last_state(tmp_path)
