"""What a plan costs: tried out within a time limit, chosen by, and no obstacle where it fails."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import FLAT, tiny_plan
from osteon.core.errors import UsageError
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan, read_plan, write_plan
from osteon.planning import forecast as module
from osteon.planning import probe
from osteon.planning.forecast import measure_forecast
from osteon.training.module import TrainingModule

SHAPE, SPACING = (24, 20, 16), (1.0, 1.0, 1.0)
Line = tuple[str, dict[str, Any]]


def line(what: str, seconds: float, size: int = 1000, **more: Any) -> Line:
    return what, {"seconds": seconds, "bytes": size, "steps": 3, **more}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Replace the measuring process by what it would write; returns what was asked of it."""

    def make(*lines: Line, bf16: bool = True) -> list[Any]:
        asked: list[Any] = []

        def measurements(path: Path, *arguments: Any) -> Any:
            assert read_plan(path).structures == tiny_plan().structures
            asked.append(arguments[:3])
            yield from lines

        monkeypatch.setattr(module, "_read_measurements", measurements)
        monkeypatch.setattr(module, "has_bf16", lambda: bf16)
        return asked

    return make


def test_a_real_forecast_measures_and_chooses(tmp_path: Path) -> None:
    costed = measure_forecast(tiny_plan(), SHAPE, SPACING, 12345)
    cost = costed.forecast
    assert cost.cache_bytes == 12345
    assert cost.training_bytes is not None
    assert cost.predicting_bytes is not None
    assert 50e6 < cost.predicting_bytes <= cost.training_bytes < 4e9  # the libraries alone take more than 50 MB
    assert cost.seconds_per_iteration is not None
    assert 0 < cost.seconds_per_iteration < 5
    assert cost.predicting_seconds is not None
    assert cost.predicting_shape == SHAPE
    network = build_network(tiny_plan())
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert f"precision {costed.training.precision}: an iteration took " in costed.training.why[-1]
    write_plan(tmp_path / "plan.yaml", costed)
    assert read_plan(tmp_path / "plan.yaml") == costed


@pytest.mark.parametrize(("bf16", "chosen"), [(0.8, "bf16"), (0.95, "fp32"), (1.5, "fp32")])
def test_bf16_is_chosen_only_where_it_is_worth_it(script: Any, bf16: float, chosen: str) -> None:
    lines = [line("predict", 2.0, 4000), line("fp32", 1.2, 5000, parameters=7), line("fp32", 1.0, 5000, parameters=7)]
    asked = script(*lines, line("bf16", bf16, 6000, parameters=7))
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert asked == [("cpu", [8, 8, 8, 1.0, 1.0, 1.0], ("fp32", "bf16"))]
    assert plan.training.precision == chosen
    assert plan.forecast.seconds_per_iteration == (bf16 if chosen == "bf16" else 1.0)
    assert plan.training.why[-1] == (
        f"precision {chosen}: an iteration took fp32 1.000 s, bf16 {bf16:.3f} s on this machine"
    )


def test_bf16_is_not_tried_where_the_processor_has_none(script: Any) -> None:
    asked = script(line("fp32", 1.0, 5000, parameters=7), bf16=False)
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert asked[0][2] == ("fp32",)
    assert plan.training.precision == "fp32"
    assert "the device is not known to compute in it" in plan.training.why[-1]


def test_a_precision_that_was_chosen_is_the_only_one_measured(script: Any) -> None:
    asked = script(line("fp32", 1.0, 5000, parameters=7))
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0, precision_is_fixed=True)
    assert asked[0][2] == ("fp32",)
    assert plan.training == tiny_plan().training
    assert plan.forecast.seconds_per_iteration == 1.0


def test_what_is_not_done_in_time_is_estimated_and_said(script: Any) -> None:
    script(line("predict", 1.0, 4000), line("estimate", 60.0, 9000))
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert plan.forecast.seconds_per_iteration == 60.0
    assert plan.forecast.training_bytes == max(9000, plan.forecast.predicting_bytes or 0)
    assert plan.forecast.why[0].startswith("estimated from iterations on a small part of the patch")
    assert plan.training == tiny_plan().training
    script()
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert plan.forecast.seconds_per_iteration is None
    assert plan.forecast.why == ["nothing was known when the time for measuring was over"]


def test_bf16_that_was_not_reached_in_time_is_said(script: Any) -> None:
    script(line("fp32", 1.0, 5000, parameters=7))
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert plan.training.why[-1].endswith("fp32 1.000 s, bf16 was not tried in time on this machine")


def test_measuring_ends_when_enough_is_known(script: Any) -> None:
    asked: list[float] = []
    first, settled, more = (line("bf16", s, 1, parameters=7, steps=n) for s, n in ((2.0, 1), (0.5, 3), (0.4, 4)))
    script(line("fp32", 1.0, 1, parameters=7), first, settled, more)
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0, stop_early=lambda seconds: asked.append(seconds) or True)
    assert asked == [0.5]  # of the precision that is chosen, and not before its steps have settled
    assert plan.forecast.seconds_per_iteration == 0.5
    assert plan.training.precision == "bf16"


def test_the_forecast_of_a_large_scan_is_computed_from_a_part_of_it(script: Any) -> None:
    asked = script(line("predict", 1.0, 100 << 20))
    plan = measure_forecast(tiny_plan(), (80, 80, 80), SPACING, 0)
    assert asked[0][1][:3] == [8, 8, 8]
    assert plan.forecast.predicting_shape == (80, 80, 80)
    assert plan.forecast.predicting_seconds is not None
    assert plan.forecast.predicting_seconds >= 1000
    assert plan.forecast.predicting_bytes is not None
    assert plan.forecast.predicting_bytes > (100 << 20) + 80**3 * 8
    flat = tiny_plan(FLAT)
    assert module._single_pass_shape(flat, (32, 8, 40), SPACING) == (8, 8, 2)


def test_what_was_known_before_an_error_stays_and_the_error_is_said(script: Any) -> None:
    script(line("fp32", 1.0, 5000, parameters=7), ("error", {"text": "it fell over"}))
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert plan.forecast.seconds_per_iteration == 1.0
    assert plan.forecast.why[-1] == "could not be measured: it fell over"


def test_bf16_that_the_processor_lacks_is_not_measured_though_it_was_chosen(script: Any) -> None:
    asked = script(line("fp32", 1.0, 5000, parameters=7), bf16=False)
    chosen = tiny_plan({"training.precision": "bf16"})
    plan = measure_forecast(chosen, SHAPE, SPACING, 0, precision_is_fixed=True)
    assert asked[0][2] == ("fp32",)
    assert plan.training.precision == "bf16"
    assert plan.forecast.seconds_per_iteration == 1.0


def test_a_gpu_on_which_nothing_was_measured_in_time_trains_in_bf16(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "computes_in_bf16", lambda _: True)
    script()
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 0, "cuda")
    assert plan.training.precision == "bf16"
    assert plan.forecast.device == ""


def test_a_probe_that_fails_is_said_and_nothing_else_changes(script: Any) -> None:
    script(line("predict", 1.0), ("error", {"text": "it fell over"}))
    plan = measure_forecast(tiny_plan(), SHAPE, SPACING, 12345)
    assert plan.forecast.why == ["could not be measured: it fell over"]
    assert plan.forecast.cache_bytes == 12345
    assert plan.forecast.seconds_per_iteration is None
    assert plan.training == tiny_plan().training


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Line]]:
    """A measuring process that does what a shell script says."""

    def run(body: str, limit_s: float = 30.0) -> list[Line]:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{body}\n")
        python.chmod(0o755)
        monkeypatch.setattr(module.sys, "executable", str(python))
        until = time.monotonic() + limit_s
        return list(module._read_measurements(tmp_path / "plan.yaml", "cpu", [8, 8, 8], ["fp32"], until))

    return run


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("echo one >&2; echo no kernel for this >&2; exit 3", "no kernel for this"),
        ("exit 3", "ended with 3"),
        ("kill -9 $$", "ended with -9, out of memory?"),
    ],
)
def test_how_a_process_ended_is_told(process: Any, body: str, error: str) -> None:
    assert process(body) == [("error", {"text": error})]


def test_a_process_is_ended_when_its_time_is_up(process: Any) -> None:
    began = time.monotonic()
    found = process('echo \'{"what": "fp32", "seconds": 1}\'; exec sleep 600', 1.0)
    assert found == [("fp32", {"seconds": 1})]
    assert time.monotonic() - began < 100


def test_the_first_estimate_is_waited_for(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 300.0)
    found = process('sleep 1; echo \'{"what": "estimate", "seconds": 9}\'; exec sleep 600', 0.0)
    assert found == [("estimate", {"seconds": 9})]


def test_what_a_library_prints_is_passed_over(process: Any) -> None:
    found = process('echo onednn_verbose,info; echo \'{"what": "fp32", "seconds": 1}\'')
    assert found == [("fp32", {"seconds": 1})]


def test_a_step_that_will_not_be_done_in_time_is_not_waited_for(process: Any) -> None:
    began = time.monotonic()
    assert process('echo \'{"what": "estimate", "seconds": 9000}\'; exec sleep 600', 300.0)
    assert time.monotonic() - began < 200


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("changes", [{}, {"overlapping": True}, FLAT, {"patch.size": [16, 16, 16]}])
def test_every_kind_of_plan_can_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    write_plan(tmp_path / "plan.yaml", tiny_plan(changes))
    probe.main([str(tmp_path / "plan.yaml"), "cpu", "[9, 8, 7, 2.0, 1.0, 1.0]", "fp32", "bf16"])
    lines = written(capsys)
    kinds = list(dict.fromkeys(found["what"] for found in lines))
    assert [kind for kind in kinds if kind != "estimate"] == ["predict", "fp32", "bf16"]
    assert "estimate" in kinds
    assert all(found["seconds"] > 0 and found["bytes"] > 50e6 for found in lines)


@pytest.mark.parametrize(
    ("taken", "steps"),
    [
        ([0.5, 0.5, 0.5, 0.5, 0.5], {"fp32": 5, "bf16": 3}),  # bf16 no faster: given up after a warm-up and two
        ([0.1, 9.0, 0.1, 0.1, 0.1], {"fp32": 2, "bf16": 5}),  # long enough together
    ],
)
def test_candidates_are_given_up_as_soon_as_they_cannot_win(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], taken: list[float], steps: dict[str, int]
) -> None:
    counts = {"fp32": 0, "bf16": 0}

    def step(_: Any, plan: Plan, precision: str) -> float:
        if plan.patch.size != (8, 8, 8):
            return 0.1
        counts[precision] += 1
        return taken[counts[precision] - 1] if precision == "fp32" else 0.05 if 9.0 in taken else 0.5

    monkeypatch.setattr(probe._StepTimer, "step", step)
    probe.measure_steps(tiny_plan(), torch.device("cpu"), ("fp32", "bf16"))
    assert counts == steps
    best = {found["what"]: found["seconds"] for found in written(capsys)}
    assert best["fp32"] == min(taken)


def test_bf16_that_is_emulated_ends_after_one_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe._StepTimer, "step", lambda *given: {"fp32": 1.0, "bf16": 50.0}[given[-1]])
    probe.measure_steps(tiny_plan(), torch.device("cpu"), ("fp32", "bf16"))
    assert [found["what"] for found in written(capsys)].count("bf16") == 1


@pytest.mark.parametrize(
    ("changes", "size", "batch"),
    [
        ({"patch.size": [32, 32, 32]}, (16, 16, 16), 2),
        ({"patch.size": [2, 2, 4]}, (2, 2, 4), 2),
        (FLAT | {"patch.size": [64, 64, 1], "patch.batch": 16}, (64, 64, 1), 2),
        (FLAT | {"patch.size": [64, 64, 1], "patch.batch": 2}, (32, 16, 1), 2),
    ],
)
def test_the_first_estimate_is_of_a_part_of_the_patch(
    changes: dict[str, Any], size: tuple[int, ...], batch: int
) -> None:
    small = probe.reduce_patch(tiny_plan(changes))
    assert sorted(small.patch.size) == sorted(size)
    assert small.patch.batch == batch
    module = TrainingModule(tiny_plan(changes), 0, lambda: 0.0)
    assert probe._StepTimer(module, torch.device("cpu")).step(small, "fp32") > 0


def test_predicting_is_measured_without_the_libraries_of_training() -> None:
    code = "import sys, osteon.planning.probe; sys.exit(any(n in sys.modules for n in ('lightning', 'tensorboard')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_else_is_measured(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.yaml", tiny_plan())
    with pytest.raises(UsageError, match="nothing to measure: fp64"):
        probe.main([str(tmp_path / "plan.yaml"), "cpu", "[8, 8, 8, 1, 1, 1]", "fp64"])
