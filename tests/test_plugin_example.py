"""The example of a plugin: built, installed, and used from planning to exporting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.phantoms.registry import make_request, write_phantoms

EXAMPLE = Path(__file__).parents[1] / "examples/plugin"
SOURCE = Path(__file__).parents[1] / "src"
PROGRAM = """
import osteon

osteon.import_dataset("phantoms/source", "spine", modality="mr", workers=1)
few = {"training.epoch_iterations": 2}
osteon.make_plan("spine", network="thin", loss="jaccard", device="cpu", measure_cost=False, settings=few, workers=1)
osteon.train("spine", "run", epochs=1, device="cpu", workers=1)
model = osteon.load_model("run")
print(type(model.network).__name__, model.plan.network.name, model.plan.training.loss)
print(len(osteon.predict("run", "spine", "predictions", device="cpu").done))
print(len(osteon.export("volumes-txt", "run/predictions", "volumes").done))
"""


def test_the_example_is_installed_and_used(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*pip, "--target", target, EXAMPLE], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    write_phantoms(tmp_path / "phantoms", make_request("spine", cases=6, size=24))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(target)])}
    used = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert used.returncode == 0, used.stderr
    assert used.stdout.splitlines() == ["Thin thin jaccard", "6", "2"]
    assert len((next((tmp_path / "volumes").glob("*.txt"))).read_text().splitlines()) == 5
    known = [sys.executable, "-m", "osteon.cli", "export", "volumes-txt", "predictions", "again"]
    assert subprocess.run(known, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
