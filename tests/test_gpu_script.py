"""`benchmarks/gpu.sh`, which nobody can run here as it is meant: its smallest size on the CPU, and its deadlines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from scripts import load_script

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("benchmarks/gpu.py")
    monkeypatch.setattr(module, "LEAST_S", 0.0)
    return module


def test_its_smallest_size_fills_the_table() -> None:
    command = [ROOT / "benchmarks/gpu.sh", "--device", "cpu", "--smallest"]
    environment = os.environ | {"PYTHON": sys.executable, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    table = dict(line.strip("| ").split(" | ")[:2] for line in done.stdout.splitlines() if line.startswith("|"))
    for recipe in ("nnunet", "osteon"):
        assert table[f"{recipe}, 16³ × 2: an iteration"].endswith(" ms (mean of 5)")
        assert table[f"{recipe}, 16³ × 2: waits for data, an iteration"].endswith(" ms")
    assert table["nnunet, 16³, two devices × 2: apart from one device × 4"].startswith("loss ")
    assert next(took for what, took in table.items() if what.startswith("a scan of 40×40×32")).endswith(" s")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_part_that_takes_too_long_fails_or_dies_is_a_row(script: ModuleType) -> None:
    def failing() -> NoReturn:
        raise OSError("no such thing")

    began = time.monotonic()
    assert script.measured(lambda: [("a", "1 s", "")], "quick", 20) == [("a", "1 s", "")]
    assert script.measured(lambda: time.sleep(60), "slow", 0.5) == [("slow", "did not fit into 0 s", "")]
    assert script.measured(failing, "failing", 20) == [("failing", "failed: OSError: no such thing", "")]
    assert script.measured(lambda: os._exit(9), "dying", 20) == [("dying", "its process was killed", "")]
    assert script.measured(lambda: [], "late", -1) == [("late", "no time was left", "")]
    assert time.monotonic() - began < 30


def test_the_parts_fit_into_eight_minutes(script: ModuleType, tmp_path: Path) -> None:
    parts = script.parts(script.Setting("cuda", tmp_path, smallest=False))
    assert {name for name, *_ in parts} >= {"nnunet", "osteon", "prediction", "tests marked gpu"}
    assert sum(most for _, most, _ in parts[:4]) < 400
