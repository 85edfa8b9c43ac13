"""`--memory` is kept: the process's own high-water mark, from the start of Python to the written file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import spacing_affine, tiny_plan
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.networks.registry import build_network
from osteon.phantoms.limb_dicom import write_series
from osteon.plan.schema import Plan
from osteon.predicting.memory import (
    FIRST_PASS_BYTES,
    PARTS_BYTES,
    MemoryPlan,
    MemoryPool,
    describe_memory,
    estimate_memory,
    process_bytes,
)
from osteon.predicting.model import Model
from osteon.predicting.predictor import predict
from osteon.predicting.records import read_predictions
from osteon.predicting.scans import Scan, find_scans
from osteon.predicting.stages import PredictOptions, PredictStages

SIDE = 320
LARGE = (SIDE,) * 3
CONSTANT_BYTES = FIRST_PASS_BYTES + PARTS_BYTES + (16 << 20)
"""What no scan's size decides, and may be less than it was taken for."""
CHILD = """
import gc, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_memory_kept import model_of
from osteon.core.platform import peak_bytes
from osteon.predicting.memory import estimate_memory
from osteon.predicting.predictor import predict
from osteon.predicting.stages import PredictOptions
from osteon.predicting.scans import find_scans
from osteon.predicting.speed import FAST
structures, patch, spacing, overlapping, kept, *scans = json.loads(sys.argv[2])
model = model_of(structures, patch, spacing, overlapping)
found = find_scans([Path(scan) for scan in scans], model.plan)
limit = estimate_memory(model.plan, found[0].geometry(), probabilities=kept).with_file
report = predict(model, found, Path(sys.argv[3]), PredictOptions(FAST, memory=limit, probabilities=kept))
print(json.dumps([limit, peak_bytes(), {name: str(error) for name, error in report.failed.items()}]))
gc.freeze()  # for a quick end
"""


def plan_of(structures: int, patch: int, spacing: float, overlapping: bool = False) -> Plan:
    names = [{"name": f"s{n}", "value": n, "colour": "#ff0000"} for n in range(1, structures + 1)]
    size = {"patch.size": [patch] * 3, "grid.spacing_mm": [spacing] * 3}
    return tiny_plan({"structures": names, "overlapping": overlapping, **size})


def model_of(structures: int, patch: int, spacing: float, overlapping: bool = False) -> Model:
    plan = plan_of(structures, patch, spacing, overlapping)
    torch.manual_seed(0)
    return Model(build_network(plan).eval(), plan, {}, "made up")


def taken(
    tmp_path: Path, *scans: Path, of: tuple[int, int, float], overlapping: bool = False, kept: bool = False
) -> tuple[int, int]:
    """Bytes: the least that is taken on, and the most that was taken."""
    words = json.dumps([*of, overlapping, kept, *map(str, scans)])
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), words, str(tmp_path / "out")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    limit, peak, failed = json.loads(done.stdout.splitlines()[-1])
    assert not failed
    return limit, peak


def large(kind: str) -> Volume:
    """A block in the middle: most of it is 0, and is written and read fast."""
    array = np.zeros((1, *LARGE), dtype=kind)
    array[0, 100:200, 100:200, 50:300] = 700
    return Volume(array, Geometry(LARGE, spacing_affine(1, 1, 1)))


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd"])
def test_a_large_scan_of_any_format_takes_no_more_than_it_was_said_to(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"one.{suffix}"
    write_volume(path, large("float64"))
    limit, peak = taken(tmp_path, path, of=(2, 32, 8.0))
    assert peak <= limit - FIRST_PASS_BYTES  # the network has not run yet when most is taken
    assert limit < peak + CONSTANT_BYTES


def test_a_dicom_series_takes_no_more_than_it_was_said_to(tmp_path: Path) -> None:
    volume, folder = large("uint16"), tmp_path / "series"
    folder.mkdir()
    write_series(folder, volume.array[0], volume.geometry, np.random.default_rng(0), number=0, localizer="none")
    limit, peak = taken(tmp_path, folder, of=(2, 32, 8.0))
    assert peak <= limit < peak + CONSTANT_BYTES + 2 * SIDE**3  # 16 bits where a file may have 32


def test_probabilities_that_are_kept_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "one.nii.gz"
    write_volume(path, large("int16"))
    limit, peak = taken(tmp_path, path, of=(2, 32, 8.0), kept=True)
    assert peak <= limit < peak + CONSTANT_BYTES + 4 * SIDE**3  # they need not be turned here


def test_a_scan_with_60_structures_takes_no_more_than_it_was_said_to(tmp_path: Path) -> None:
    path = tmp_path / "one.nii.gz"
    array = np.random.default_rng(0).normal(size=(1, 96, 96, 192)).astype(np.float32)
    write_volume(path, Volume(array, Geometry((96, 96, 192), spacing_affine(1, 1, 1))))
    limit, peak = taken(tmp_path, path, of=(60, 96, 1.0))
    assert peak <= limit < 1.5 * peak


def test_overlapping_structures_that_are_turned_back_take_no_more_than_was_said(tmp_path: Path) -> None:
    path, volume = tmp_path / "one.nii.gz", large("int16")
    write_volume(path, Volume(volume.array, Geometry(LARGE, spacing_affine(1, 1, 1)[[2, 0, 1, 3]])))
    limit, peak = taken(tmp_path, path, of=(6, 32, 8.0), overlapping=True)
    assert peak <= limit < peak + CONSTANT_BYTES


def test_a_scan_is_read_ahead_only_where_it_fits_beside_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, grid = model_of(2, 16, 1.0), Geometry((20, 20, 20), spacing_affine(1, 1, 1))
    image = np.random.default_rng(0).normal(size=(1, *grid.shape)).astype(np.float32)
    for name in "abc":
        write_volume(tmp_path / f"{name}.nii.gz", Volume(image, grid))
    happened = []
    load, write = Scan.load, PredictStages.write

    def loaded(scan: Scan) -> Volume:
        happened.append(f"read {scan.id}")
        return load(scan)

    def written(work: PredictStages, scan: Scan, result: Any) -> None:
        happened.append(f"write {scan.id}")
        write(work, scan, result)

    def slowly(own: Model, *arguments: Any, **named: Any) -> Any:
        time.sleep(0.3)
        return infer(own, *arguments, **named)

    infer = Model.infer
    monkeypatch.setattr(Model, "infer", slowly)
    monkeypatch.setattr(Scan, "load", loaded)
    monkeypatch.setattr(PredictStages, "write", written)
    scans = find_scans([tmp_path / f"{name}.nii.gz" for name in "abc"])
    limit, began = estimate_memory(model.plan, grid).with_file, time.monotonic()
    assert len(predict(model, scans, tmp_path / "out", PredictOptions(memory=limit)).done) == 3
    took = [record["seconds"] for record in read_predictions(tmp_path / "out").values()]
    assert sum(took) <= time.monotonic() - began  # no scan's time is that of the one it waited for
    assert happened == [f"{what} {name}" for name in "abc" for what in ("read", "write")]


def test_a_scan_that_cannot_fit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, model = plan_of(2, 16, 1.0), model_of(2, 16, 1.0)
    path = tmp_path / "one.nii.gz"
    write_volume(path, Volume(np.ones((1, 20, 20, 20), np.int16), Geometry((20, 20, 20), spacing_affine(1, 1, 1))))
    [scan] = find_scans([path])
    need = estimate_memory(plan, Geometry((20, 20, 20), spacing_affine(1, 1, 1)))

    def never(_: Scan) -> Any:
        raise AssertionError("voxels were read")

    monkeypatch.setattr(Scan, "load", never)
    report = predict(model, [scan], tmp_path / "out", PredictOptions(memory=need.with_file - 1))
    message = str(report.failed["one"])
    assert f"one: needs about {need.with_file / 1e9:.1f} GB of memory, more than --memory" in message
    assert f"{need.in_memory / 1e9:.2g} GB" in describe_memory(plan, [scan], None)


def test_the_start_counts() -> None:
    import psutil

    process_bytes.cache_clear()  # other tests asked when this process was smaller
    need = estimate_memory(plan_of(2, 16, 1.0), Geometry((20, 20, 20), spacing_affine(1, 1, 1)))
    assert need.base > 0.5 * psutil.Process().memory_info().rss


def test_a_memory_pool_is_shared() -> None:
    from threading import Thread

    pool = MemoryPool(100)
    pool.acquire(MemoryPlan("a", 90, None, 60))
    waiting = Thread(target=pool.acquire, args=[MemoryPlan("b", 80, None, 50)], daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    pool.release("a", kept=30)
    waiting.join(0.1)
    assert waiting.is_alive()
    pool.release("a")
    waiting.join(5)
    assert not waiting.is_alive()
    pool.acquire(MemoryPlan("b", 500, None, 500))  # its own bytes are no others'
    third = Thread(target=pool.acquire, args=[MemoryPlan("c", 80, None, 50)], daemon=True)
    third.start()
    pool.lift_limit()
    third.join(5)
    assert not third.is_alive()
