"""The example of a plugin: built, installed, and used from planning to exporting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.phantoms.registry import make_request, write_phantoms
from osteon.plan.schema import read_plan

EXAMPLE = Path(__file__).parents[1] / "examples/plugin"
SOURCE = Path(__file__).parents[1] / "src"
PROGRAM = """
from pathlib import Path

import osteon

osteon.import_dataset("phantoms/source", "spine", modality="mr", workers=1)
few = {"training.epoch_iterations": 2}
osteon.make_plan("spine", network="thin", loss="jaccard", device="cpu", measure_cost=False, settings=few, workers=1)
osteon.train("spine", "run", epochs=1, device="cpu", workers=1)
model = osteon.load_model("run")
print(type(model.network).__name__, model.plan.network.name, model.plan.training.loss)
print(len(osteon.predict("run", "spine", "predictions", device="cpu").done))
print(len(osteon.export("volumes-txt", "run/predictions", "volumes").done))
few |= {"network.decoder_features": [8, 8, 8, 8, 8], "patch.size": [32, 32, 32]}
osteon.make_plan("spine", encoder="plain", device="cpu", measure_cost=False, settings=few, workers=1)
osteon.train("spine", "inflated", epochs=1, device="cpu", workers=1)
print(type(osteon.load_model("inflated").network.encoder).__name__)

import numpy as np
from osteon.core.errors import FileError
from osteon.formats import read_segmentation, read_volume

box = np.zeros((70, 40, 30), "<i2")
box[5:65, 5:35, 5:25] = 1
Path("box.vox").write_bytes(b"70 40 30 1.0 1.0 1.0\\n" + box.tobytes("F"))
(structure,) = read_segmentation(Path("box.vox"), None).structures
print(np.array_equal(read_volume(Path("box.vox")).array[0], box), structure.value)
Path("cut.vox").write_bytes(Path("box.vox").read_bytes()[:-1])
try:
    read_volume(Path("cut.vox"))
except FileError as error:
    print(error.message)
figures = osteon.measure("box.vox", "measures", what=["elongation"], workers=1).figures
print([f"{figure.value:.1f}" for figure in figures], figures[0].low < 2 < figures[0].high)
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
    assert used.stdout.splitlines() == [
        *("Thin thin jaccard", "6", "2", "Plain", "True 1"),
        *("cut.vox: 167999 bytes of voxels, its first line says 168000", "['2.0'] True"),
    ]
    assert len((next((tmp_path / "volumes").glob("*.txt"))).read_text().splitlines()) == 5
    export = ["export", "volumes-txt", "predictions", "again"]
    plan = [
        "plan",
        "spine",
        "--network",
        "unetplusplus",
        "--dimensions",
        "2",
        "--encoder",
        "plain",
        "--no-cost",
        "--force",
    ]
    for command in (export, plan):
        known = [sys.executable, "-m", "osteon.cli", *command]
        assert subprocess.run(known, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    assert read_plan(tmp_path / "spine/plan.yaml").network.description == "unetplusplus, encoder plain, weights none"
