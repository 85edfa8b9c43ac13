"""`--cluster`: every command leaves what it leaves on one machine, whoever is ended on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from children import LONG_S, wait
from helpers import tiny_plan
from osteon.plan.schema import write_plan
from osteon.predicting.records import RECORD
from runs import command

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
from dask_processes import ENVIRONMENT, DaskProcesses, contents, dask_processes, make_place

CASES = 12
WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path_factory.mktemp("dask")) as processes:
        yield processes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source of pairs (one case's label is on another grid) and an untrained model."""
    folder = tmp_path_factory.mktemp("place")
    make_place(folder, CASES, wrong=5)
    return folder


def osteon(*arguments: object) -> subprocess.Popen[bytes]:
    """`osteon ARGUMENTS` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "osteon.cli", *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_each_command_leaves_what_it_leaves_here(
    dask: DaskProcesses, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = (
        ("import", place / "source", "dataset", "--labels", "femur=3,tibia=5", "--modality", "ct"),
        ("audit", "dataset"),
        ("plan", "dataset", "--no-cost", "--device", "cpu"),
        ("train", "dataset", "run", "--plan", "../plan.yaml", "--epochs", 1, "--fold", "none", "--device", "cpu"),
        ("predict", "../model", "dataset", "predictions", "--device", "cpu"),
        ("evaluate", "predictions", "dataset"),
        ("compare", "predictions", "--reference", "dataset", "--to", "compared"),
        ("export", "seg-nrrd", "predictions", "exported"),
        ("export", "table", "predictions", "exported"),
    )
    write_plan(place / "plan.yaml", tiny_plan())
    codes, told = {}, {}
    for side, options in (("here", ()), ("there", ("--cluster", dask.address))):
        (place / side).mkdir()
        monkeypatch.chdir(place / side)  # paths are relative, as people give them
        codes[side] = [command(*each, *options) for each in commands]
        told[side] = [line for line in capfd.readouterr().err.splitlines() if "c5" in line]
    assert codes["here"] == codes["there"] == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    here, there = (
        {name: what for name, what in contents(place / side).items() if not name.startswith("run/") or WEIGHTS in name}
        for side in ("here", "there")
    )
    assert f"run/model/{WEIGHTS}" in here
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert sum(name.startswith("predictions/") and name.endswith(".nii.gz") for name in here) == CASES - 1
    assert told["here"] == told["there"] != []  # each case that failed, with its reason


def test_predicting_goes_on_when_a_worker_is_killed_and_then_the_client(
    dask: DaskProcesses, place: Path, tmp_path: Path
) -> None:
    predict = ("predict", place / "model", place / "source", tmp_path / "out", "--device", "cpu")
    client = osteon(*predict, "--cluster", dask.address)
    records = tmp_path / "out/.records/predictions"
    try:
        wait(lambda: list(records.glob("*.json")), 5 * LONG_S)
        dask.start_worker("worker2")
        dask.kill("worker0")
        known = len(list(records.glob("*.json")))
        wait(lambda: len(list(records.glob("*.json"))) > known or client.poll() is not None, 5 * LONG_S)
    finally:
        client.kill()
        client.communicate()
    assert command(*predict, "--cluster", dask.address) == 0
    assert command(*predict[:3], tmp_path / "alone", *predict[4:]) == 0
    found, alone = contents(tmp_path / "out"), contents(tmp_path / "alone")
    left = [name for name in found if name.endswith(".lock") or ".part-" in name]  # of those that were killed
    assert found == alone | {name: found[name] for name in left}
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == CASES


def test_two_commands_share_a_folder(dask: DaskProcesses, place: Path, tmp_path: Path) -> None:
    both = [
        osteon("predict", place / "model", place / "source", tmp_path, "--device", "cpu", "--cluster", dask.address)
        for _ in range(2)
    ]
    texts = [process.communicate(timeout=5 * LONG_S)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    done = [
        int(text.rpartition(" scans segmented")[0].split()[-1]) if " scans segmented" in text else 1 for text in texts
    ]
    assert sum(done) == CASES, texts
    assert len(json.loads((tmp_path / RECORD).read_text())) == CASES
