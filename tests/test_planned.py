"""Sizes for a budget: what this machine does in it decides how large patches are."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import correct_in_place, spacing_affine, two_boxes, unpack_label, write_dataset
from osteon.core import file_stamps
from osteon.core.cpu_load import LoadMeter
from osteon.core.errors import FileError
from osteon.dataset.manifest import write_manifest
from osteon.formats import read_segmentation
from osteon.plan.schema import Plan, write_plan
from osteon.planning import dataset_plan, fingerprint, run_plan
from osteon.planning.dataset_plan import patch_scale_for, plan_dataset
from osteon.planning.options import DEFAULTS, PlanOptions
from osteon.planning.run_plan import plan_for_run
from osteon.runs.record import RUN
from runs import command


@pytest.mark.parametrize(
    ("budget_s", "seconds", "scale"),
    [
        (1800, 0.6, 1.0),  # 3000 iterations
        (1800, 0.15, 4.0),
        (1800, 0.001, 8.0),
        (600, 0.6, 1.0),  # 1000
        (300, 0.6, 0.5),
        (30, 0.6, 0.25),
    ],
)
def test_patch_scale_follows_the_number_of_iterations(budget_s: float, seconds: float, scale: float) -> None:
    assert patch_scale_for(budget_s, seconds) == scale


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scans larger than a CPU's patch, and a machine on which an iteration takes 0.1 s."""
    cases = {f"c{n}": two_boxes((96, 80, 64), seed=n) for n in range(2)}
    folder = tmp_path / "data"
    write_dataset(
        folder, {name: (image, labels, spacing_affine(1, 1, 1)) for name, (image, labels, _) in cases.items()}
    )

    def forecast(plan: Plan, *_: object, **__: object) -> Plan:
        return plan.model_copy(update={"forecast": plan.forecast.model_copy(update={"seconds_per_iteration": 0.1})})

    monkeypatch.setattr(dataset_plan, "measure_forecast", forecast)
    return folder


def test_a_fast_machine_gets_larger_patches_and_says_why(wide: Path) -> None:
    usual = plan_dataset(wide, device="cpu").plan
    more = plan_dataset(wide, device="cpu", budget_s=1200).plan
    assert usual.patch.scale == 1.0
    assert more.patch.scale == 4.0
    assert more.grid.spacing_mm[0] < usual.grid.spacing_mm[0]
    assert any("4 times the recipe's voxels: with these an iteration takes 0.1 s" in why for why in more.patch.why)
    same = plan_dataset(wide, device="cpu", budget_s=200).plan
    assert (same.patch, same.grid) == (usual.patch, usual.grid)
    assert plan_dataset(wide, device="cpu", budget_s=1200, measure_cost=False).plan.patch.scale == 1.0


def test_larger_patches_do_not_leave_too_few_iterations(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the voxels may take twenty times as long, since a grid becomes finer, too."""
    first = dataset_plan.measure_forecast

    def forecast(plan: Plan, *_: object, **__: object) -> Plan:
        seconds = 0.1 if plan.patch.scale == 1.0 else 2.0
        return first(plan).model_copy(
            update={"forecast": plan.forecast.model_copy(update={"seconds_per_iteration": seconds})}
        )

    monkeypatch.setattr(dataset_plan, "measure_forecast", forecast)
    usual = plan_dataset(wide, device="cpu").plan
    plan = plan_dataset(wide, device="cpu", budget_s=1200).plan
    assert (plan.patch.size, plan.grid) == (usual.patch.size, usual.grid)
    words = "4 times the recipe's voxels would leave 600 iterations of 1200 s; at least 1000 are wanted"
    assert plan.patch.why[-1] == words


def test_room_that_changes_nothing_is_not_taken(wide: Path) -> None:
    """All of a slice is seen anyway, and the batch was asked for."""
    choices = PlanOptions(dimensions=2, image_size=64, batch=2)
    assert plan_dataset(wide, choices, device="cpu", budget_s=1200).plan.patch.scale == 1.0


def test_a_run_that_goes_on_keeps_its_sizes(wide: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choices = PlanOptions(loss="dice")
    first = plan_for_run(wide, run, choices, device="cpu", budget_s=1200)
    assert first.patch.scale == 4.0
    write_plan(run / run_plan.PLAN, first)
    (run / RUN).write_text("{}")
    assert plan_for_run(wide, run, choices, device="cpu", budget_s=1200) == first
    assert plan_for_run(wide, run, DEFAULTS, device="cpu").patch.scale == 1.0


def test_the_command_takes_a_budget(wide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("plan", wide, "--budget", "20min", "--device", "cpu") == 0
    assert "room: 4.0" in (wide / "plan.yaml").read_text()
    capsys.readouterr()
    assert command("plan", wide, "--budget", "20min") == 2
    assert "--budget would change it" in capsys.readouterr().err
    assert command("plan", wide, "--budget", "20min", "--no-cost", "--force") == 2
    assert "contradict" in capsys.readouterr().err


def test_a_busy_machine_is_said_and_stands_in_the_plan(
    wide: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LoadMeter, "warning", "the machine was busy (load 3.1)")
    plan = plan_dataset(wide, device="cpu").plan
    assert plan.forecast.why[-1] == "the machine was busy (load 3.1)"
    assert "the machine was busy (load 3.1)" in capsys.readouterr().err


def test_sizes_that_could_not_be_measured_in_time_are_scaled(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset_plan.measure_forecast

    def forecast(plan: Plan, *_: object, **__: object) -> Plan:
        return first(plan) if plan.patch.scale == 1.0 else plan

    monkeypatch.setattr(dataset_plan, "measure_forecast", forecast)
    plan = plan_dataset(wide, device="cpu", budget_s=1200).plan
    assert plan.patch.scale == 4.0
    usual = plan_dataset(wide, device="cpu").plan
    times = plan.patch.batch * math.prod(plan.patch.size) / (usual.patch.batch * math.prod(usual.patch.size))
    assert plan.forecast.seconds_per_iteration == pytest.approx(0.1 * times, rel=0.01)
    assert plan.forecast.why[0] == "seconds of an iteration by those of another size: the time was over"


def test_sizes_that_cannot_be_computed_are_not_taken(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset_plan.measure_forecast

    def forecast(plan: Plan, *_: object, **__: object) -> Plan:
        why = {"why": [f"{dataset_plan.FAILURE}: out of memory"]}
        return (
            first(plan)
            if plan.patch.scale == 1.0
            else plan.model_copy(update={"forecast": plan.forecast.model_copy(update=why)})
        )

    monkeypatch.setattr(dataset_plan, "measure_forecast", forecast)
    plan = plan_dataset(wide, device="cpu", budget_s=1200).plan
    assert plan.patch.scale == 1.0
    assert plan.patch.why[-1].endswith("would suit the budget, but could not be measured: out of memory")


def test_measuring_has_a_time_limit(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def forecast(plan: Plan, *_: object, until: float, **__: object) -> Plan:
        limits.append(until - time.monotonic())
        return plan

    monkeypatch.setattr(dataset_plan, "measure_forecast", forecast)
    plan_dataset(wide, device="cpu")
    assert command("plan", wide, "--measure-budget", "1h", "--device", "cpu") == 0
    assert 10 < limits[0] <= 15
    assert 3000 < limits[1] <= 3600
    assert command("plan", wide, "--measure-budget", "1min", "--no-cost", "--force") == 2


def test_a_dataset_that_was_copied_is_read_once_to_compare_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, {f"c{n}": two_boxes(seed=n) for n in range(2)})
    write_plan(tmp_path / "plan.yaml", plan_dataset(tmp_path, measure_cost=False).plan)
    read: list[Path] = []
    digest = file_stamps._digest
    monkeypatch.setattr(file_stamps, "_digest", lambda path: read.append(path) or digest(path))
    os.utime(tmp_path / "images/c0.nii.gz")
    dataset_plan.load_or_make_plan(tmp_path)
    assert read == [tmp_path / "images/c0.nii.gz"]
    dataset_plan.load_or_make_plan(tmp_path)
    assert len(read) == 1
    os.utime(tmp_path / "images/c0.nii.gz")

    def refuse(path: Path, _: object) -> None:
        raise FileError(f"{path}: cannot be written")

    monkeypatch.setattr(fingerprint, "_write_facts", refuse)
    dataset_plan.load_or_make_plan(tmp_path)
    assert len(read) == 2


def test_that_a_plan_was_made_of_other_labels_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, label = unpack_label(write_dataset(tmp_path, {f"c{n}": two_boxes(seed=n) for n in range(3)}), "c1")
    write_plan(tmp_path / "plan.yaml", plan_dataset(tmp_path, measure_cost=False).plan)
    capsys.readouterr()
    dataset_plan.load_or_make_plan(tmp_path)
    assert "other cases" not in capsys.readouterr().err
    array = read_segmentation(label).array
    correct_in_place(label, np.where(array == 3, 5, np.where(array == 5, 3, 0)))
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"cases": dataset.manifest.cases[:2]}))
    for show in (lambda: dataset_plan.load_or_make_plan(tmp_path), lambda: command("plan", tmp_path)):
        show()
        assert (
            "plan.yaml: was made of other cases than there are now (changed: c1; not trained on any more: c2); "
            f"`osteon plan {tmp_path} --force` makes a new plan"
        ) in capsys.readouterr().err
