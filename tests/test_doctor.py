"""The doctor: what it finds, what it measures of engines, and what predicting makes of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import osteon
from helpers import spacing_affine, two_boxes, write_dataset
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.machine import doctor, engine_timing
from osteon.machine.engine_timing import (
    EngineSpeed,
    choose_engine,
    count_passes,
    fastest_engine,
    read_speeds,
    write_speeds,
)
from osteon.machine.gate import GateResult, judge_engine, read_gates, write_gates
from osteon.predicting import engines
from osteon.predicting.engines import ENGINES, EngineKind
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import find_model_folder
from osteon.runs.fit import train
from runs import CPU, cohort, command, learning_plan


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Dataset) -> Path:
    train(data, learning_plan(), data.folder / "run", CPU)
    return data.folder / "run"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scaled(factor: float, name: str, background: float = 0.0) -> EngineKind:
    """An engine that rounds: all logits but the background's times a factor, and something on that."""

    def build(network: engines.nn.Module, shape: tuple[int, ...], file: Path | None) -> engines.RunNetwork:
        exact = engines._eager(network, shape, file)

        def run(batch: engines.torch.Tensor) -> engines.torch.Tensor:
            logits = exact(batch).clone()
            logits[:, 1:] *= factor
            logits[:, 0] += background
            return logits

        return run

    return EngineKind(name, build, lambda: "", precise=False, start_s=0.0)


FEW = (ENGINES[0], scaled(1.0, "same"), scaled(0.2, "coarse"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engines, engine_timing, doctor):
        monkeypatch.setattr(module, "ENGINES", FEW)
    monkeypatch.setattr(engine_timing, "NAMES", tuple(kind.name for kind in FEW))


def test_the_machine_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("doctor") == 0
    output = capsys.readouterr().out
    for what in ("Python", "torch", "torchvision", "processor", "memory", "disk", "engine openvino", "GPU"):
        assert f"{what}: " in output


def test_a_containers_quota_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.5)
    assert command("doctor") == 0
    assert "cores, a quota of 1.5" in capsys.readouterr().out


def test_a_missing_library_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("timm", "no-such-library"))
    assert command("doctor") == 1
    output = capsys.readouterr().out
    assert "wrong no-such-library: is not installed" in output
    assert "pip install osteon" in output


@pytest.mark.usefixtures("few")
def test_engines_are_measured_gated_and_chosen(
    run: Path, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("doctor", run, data.folder) == 0
    output = capsys.readouterr().out
    assert "passed the gate" in output
    assert "does not pass the gate" in output
    gates = read_gates(run / "model", load_model(run).sha256)
    assert gates["same"].passed
    assert not gates["coarse"].passed
    assert gates["coarse"].cases == len(load_model(run).validation["cases"])
    model = load_model(run)
    speeds = read_speeds(model)
    assert set(speeds) == {"torch", "same", "coarse"}
    write_speeds(model, [replace(speed, run_s=0.5 if name == "torch" else 0.1) for name, speed in speeds.items()])
    scan = data.folder / data.manifest.cases[0].images[0]
    osteon.predict(run, scan, tmp_path / "out", device="cpu")
    assert json.loads((tmp_path / "out/predictions.json").read_text())["c0"]["engine"] == "same"
    with pytest.raises(UsageError, match="has not passed the gate"):
        osteon.predict(run, scan, tmp_path / "out", engine="coarse", device="cpu")
    osteon.predict(run, scan, tmp_path / "out", engine="torch", device="cpu", overwrite=True)
    assert json.loads((tmp_path / "out/predictions.json").read_text())["c0"]["engine"] == "torch"


@pytest.mark.usefixtures("few")
def test_speeds_are_shown_where_they_cannot_be_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    report = osteon.doctor(run)
    assert {speed.name for speed in report.speeds} == {"torch", "same", "coarse"}
    assert report.speeds_path is None
    assert "XDG_CACHE_HOME names another place" in caplog.text


def test_without_a_measurement_torch_runs(run: Path) -> None:
    model = load_model(run)
    assert choose_engine(model, find_model_folder(run), "auto", 1000) is model


def test_the_fastest_depends_on_how_much_there_is_to_do() -> None:
    speeds = {
        "torch": EngineSpeed("torch", 0.0, 1.0),
        "compiled": EngineSpeed("compiled", 30.0, 0.5),
        "openvino": EngineSpeed("openvino", why_not="openvino not installed"),
        "openvino-bf16": EngineSpeed("openvino-bf16", 4.0, 0.1),
    }
    assert fastest_engine(speeds, set(), 10) == "torch"
    assert fastest_engine(speeds, set(), 100) == "compiled"
    assert fastest_engine(speeds, {"openvino-bf16"}, 100) == "openvino-bf16"
    assert fastest_engine({}, set(), 1) == "torch"


def test_the_gate_by_hand(run: Path) -> None:
    """A reference that is what torch finds: dropping all structures loses all Dice and all volume."""
    model = load_model(run)
    image, _, affine = two_boxes()
    volume = Volume(image[None].astype(np.float32), Geometry(image.shape, affine))
    found = model.segment(volume).segmentation
    made = judge_engine(model, scaled(1.0, "none", 1000.0), [(volume, found)] * 2)
    assert made.dice_drop == {"femur": 1.0, "tibia": 1.0}
    assert made.volume_change == {"femur": 100.0, "tibia": 100.0}
    assert made.cases == 2
    same = judge_engine(model, FEW[1], [(volume, found)])
    assert (same.dice_drop["femur"], same.volume_change["femur"], same.passed) == (0.0, 0.0, True)
    blind = scaled(1.0, "none", 1000.0)
    nothing = Segmentation(np.zeros_like(found.array), found.geometry, found.structures)
    neither = judge_engine(model.with_engine(blind), blind, [(volume, nothing)])
    assert (neither.dice_drop, neither.volume_change, neither.cases) == ({}, {}, 1)  # nobody found it: nothing is lost


@pytest.mark.parametrize(
    ("drop", "change", "cases", "passed"),
    [(0.002, 0.5, 3, True), (0.0021, 0.0, 3, False), (-0.1, 0.51, 3, False), (0.0, 0.0, 0, False)],
)
def test_the_limits_of_the_gate(drop: float, change: float, cases: int, passed: bool, tmp_path: Path) -> None:
    made = GateResult(engine="x", dice_drop={"a": 0.0, "b": drop}, volume_change={"a": change, "b": 0.0}, cases=cases)
    assert made.passed == passed
    write_gates(tmp_path, "a" * 64, [made])
    assert read_gates(tmp_path, "a" * 64) == {"x": made}
    assert read_gates(tmp_path, "b" * 64) == {}  # of other weights
    assert read_gates(tmp_path / "none", "a" * 64) == {}


def test_another_dataset_has_none_of_the_validation_cases(run: Path, tmp_path: Path) -> None:
    other = cohort(tmp_path / "other", cases=1)
    renamed = other.manifest.model_copy(
        update={"cases": [case.model_copy(update={"id": "someone"}) for case in other.manifest.cases]}
    )
    write_manifest(other.folder, renamed)
    with pytest.raises(UsageError, match="none of the model's validation cases"):
        osteon.doctor(run, other.folder)


def test_a_dataset_of_other_structures_judges_nothing(run: Path, tmp_path: Path) -> None:
    boxes = {f"c{n}": two_boxes(seed=n) for n in range(2)}
    other = write_dataset(tmp_path / "other", boxes, make_structures(["femur", "cyst"], [3, 5]))
    with pytest.raises(UsageError, match="has no tibia, which the model finds") as refused:
        osteon.doctor(run, other.folder)
    assert "call them as it does" in refused.value.hint
    layers = {
        name: (image, np.stack([labels == 3, labels == 5]), place) for name, (image, labels, place) in boxes.items()
    }
    overlapping = write_dataset(tmp_path / "both", layers, overlapping=True)
    with pytest.raises(UsageError, match="has structures that overlap, the model structures that exclude"):
        osteon.doctor(run, overlapping.folder)


def test_a_model_that_names_no_validation_cases_is_judged_on_those_held_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ENGINES", FEW)
    monkeypatch.setattr(engine_timing, "ENGINES", FEW)
    model = tmp_path / "model"
    shutil.copytree(find_model_folder(run), model)
    (model / "validation.json").write_text(json.dumps({"structures": {}, "dice": None, "scans": 0}))
    other = cohort(tmp_path / "other", cases=2)
    with pytest.raises(UsageError, match="is held out here"):
        osteon.doctor(model, other.folder)
    cases = [case.model_copy(update={"held_out": n == 0}) for n, case in enumerate(other.manifest.cases)]
    write_manifest(other.folder, other.manifest.model_copy(update={"cases": cases}))
    gates = osteon.doctor(model, other.folder).gates
    assert {name: gate.cases for name, gate in gates.items()} == {"same": 1, "coarse": 1}
    assert gates["same"].passed


def test_passes_are_the_tiles() -> None:
    plan = learning_plan()  # patches of 12 × 8 × 8
    assert count_passes(plan, Geometry((12, 8, 8), spacing_affine(1, 1, 1))) == 1
    assert count_passes(plan, Geometry((18, 12, 8), spacing_affine(1, 1, 1))) == 4


def test_every_gpu_is_named_as_device_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [SimpleNamespace(name="H200", total_memory=141e9), SimpleNamespace(name="T4", total_memory=16e9)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", gpus.__getitem__)
    assert doctor._gpu().message == "cuda:0 H200, 141 GB; cuda:1 T4, 16 GB"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "never tried" in doctor._gpu().message
