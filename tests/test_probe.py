"""The forecast: measured, chosen by, and no obstacle where it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import FLAT, tiny_plan
from osteon.core.errors import UsageError
from osteon.networks.registry import build_network
from osteon.planning.plan import read_plan, write_plan
from osteon.training import probe

SHAPE, SPACING = (24, 20, 16), (1.0, 1.0, 1.0)


def script(monkeypatch: pytest.MonkeyPatch, answers: dict[str, dict[str, Any]]) -> list[str]:
    """Replace the measuring processes by answers; returns what was asked."""
    asked = []

    def measured(
        plan: Path, what: str, device: str, detail: str, limit_s: float | None = None
    ) -> dict[str, Any] | None:
        assert read_plan(plan) == tiny_plan()
        assert device == "cpu"
        assert (limit_s is not None) == (detail == "bf16")
        asked.append(f"{what} {detail}")
        return answers[detail if what == "train" else what]

    monkeypatch.setattr(probe, "_measure", measured)
    return asked


def measured(seconds: float, size: int = 1000) -> dict[str, float]:
    return {"seconds": seconds, "bytes": size, "parameters": 77}


def test_a_real_forecast_measures_and_chooses(tmp_path: Path) -> None:
    costed = probe.forecast(tiny_plan(), SHAPE, SPACING, 12345)
    cost = costed.forecast
    assert cost.cache_bytes == 12345
    assert cost.training_bytes is not None
    assert cost.predicting_bytes is not None
    assert 50e6 < cost.predicting_bytes <= cost.training_bytes < 4e9  # the libraries alone take more than 50 MB
    assert cost.seconds_per_iteration is not None
    assert 0 < cost.seconds_per_iteration < 5
    network = build_network(tiny_plan())
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert f"precision {costed.training.precision}: an iteration took " in costed.training.why[-1]
    write_plan(tmp_path / "plan.yaml", costed)
    assert read_plan(tmp_path / "plan.yaml") == costed


@pytest.mark.parametrize(("bf16", "chosen"), [(0.8, "bf16"), (0.95, "fp32"), (1.5, "fp32")])
def test_bf16_is_chosen_only_where_it_is_worth_it(monkeypatch: pytest.MonkeyPatch, bf16: float, chosen: str) -> None:
    answers = {"fp32": measured(1.0, 5000), "bf16": measured(bf16, 3000), "predict": measured(2.0, 4000)}
    asked = script(monkeypatch, answers)
    plan = probe.forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert asked == ["train fp32", "train bf16", "predict [24, 20, 16, 1.0, 1.0, 1.0]"]
    assert plan.training.precision == chosen
    assert plan.forecast.seconds_per_iteration == (bf16 if chosen == "bf16" else 1.0)
    assert plan.forecast.training_bytes == (4000 if chosen == "bf16" else 5000)
    assert plan.forecast.predicting_bytes == 4000
    assert plan.training.why[-1] == (
        f"precision {chosen}: an iteration took fp32 1.000 s, bf16 {bf16:.3f} s on this machine"
    )


def test_bf16_that_is_only_emulated_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, {"fp32": measured(1.0, 5000), "bf16": {}, "predict": measured(2.0, 4000)})
    plan = probe.forecast(tiny_plan(), SHAPE, SPACING, 0)
    assert plan.training.precision == "fp32"
    assert plan.forecast.seconds_per_iteration == 1.0
    assert plan.training.why[-1] == (
        "precision fp32: an iteration took fp32 1.000 s, bf16 too long to wait for on this machine"
    )


@pytest.mark.parametrize(("enough_s", "steps"), [(0.0, 2), (1e9, probe.WARM_UP + probe.STEPS)])
def test_long_iterations_are_not_repeated(monkeypatch: pytest.MonkeyPatch, enough_s: float, steps: int) -> None:
    batches = []
    made = probe._random_batch
    monkeypatch.setattr(probe, "ENOUGH_S", enough_s)
    monkeypatch.setattr(probe, "_random_batch", lambda plan, step: batches.append(step) or made(plan, step))
    assert probe._train(tiny_plan(), torch.device("cpu"), "fp32")["seconds"] > 0
    assert batches == list(range(steps))


def test_a_process_is_given_up_at_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(probe.sys, "executable", str(python))
    assert probe._measure(tmp_path / "plan.yaml", "train", "cpu", "bf16", 0.2) == {}


def test_predicting_is_measured_without_the_libraries_of_training() -> None:
    code = "import sys, osteon.training.probe; sys.exit(any(n in sys.modules for n in ('lightning', 'tensorboard')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("failing", ["fp32", "bf16", "predict"])
def test_a_probe_that_fails_is_said_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    answers: dict[str, dict[str, Any]] = {name: measured(1.0) for name in ("fp32", "bf16", "predict")}
    answers[failing] = {"error": "it fell over"}
    script(monkeypatch, answers)
    plan = probe.forecast(tiny_plan(), SHAPE, SPACING, 12345)
    assert plan.forecast.why == ["could not be measured: it fell over"]
    assert plan.forecast.cache_bytes == 12345
    assert plan.forecast.seconds_per_iteration is None
    assert plan.training == tiny_plan().training


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("echo one >&2; echo no kernel for this >&2; exit 3", "train (fp32): no kernel for this"),
        ("exit 3", "train (fp32): ended with 3"),
        ("kill -9 $$", "train (fp32): ended with -9, out of memory?"),
    ],
)
def test_how_a_process_ended_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, error: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    monkeypatch.setattr(probe.sys, "executable", str(python))
    assert probe._measure(tmp_path / "plan.yaml", "train", "cpu", "fp32") == {"error": error}


@pytest.mark.parametrize("changes", [{}, {"overlapping": True}, FLAT])
@pytest.mark.parametrize("arguments", [["train", "fp32"], ["train", "bf16"], ["predict", "[9, 8, 7, 2.0, 1.0, 1.0]"]])
def test_every_kind_of_plan_can_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], arguments: list[str]
) -> None:
    write_plan(tmp_path / "plan.yaml", tiny_plan(changes))
    probe.main([str(tmp_path / "plan.yaml"), arguments[0], "cpu", arguments[1]])
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["bytes"] > 50e6


def test_nothing_else_is_measured(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.yaml", tiny_plan())
    with pytest.raises(UsageError, match="nothing to measure: train fp64"):
        probe.main([str(tmp_path / "plan.yaml"), "train", "cpu", "fp64"])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux alone hands the parent's peak on")
def test_the_peak_is_the_processes_own_not_its_parents() -> None:
    code = "import sys; from osteon.training.probe import peak_bytes; sys.stdout.write(str(peak_bytes()))"
    parent = (
        "import subprocess, sys; held = bytearray(b'x') * 10**9; sys.stdout.write("
        f"subprocess.run([sys.executable, '-c', {code!r}], capture_output=True, text=True, check=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 5e7 < int(done.stdout) < 9e8
