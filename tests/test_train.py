"""Training: from a dataset and a plan to a model folder, undisturbed, interrupted and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_plan, two_boxes, write_dataset

from osteon.dataset.dataset import Dataset
from osteon.training.fit import TrainOptions, train

def cohort(folder: Path, cases: int = 6) -> Dataset:
    return write_dataset(folder, {f"c{n}": two_boxes(seed=n) for n in range(cases)})


def test_x(tmp_path):
    import time
    d = cohort(tmp_path / "d")
    for n in range(3):
        t = time.time()
        r = train(d, tiny_plan(), tmp_path / f"run{n}", TrainOptions(device="cpu"))
        print(time.time() - t)
    print(r)
    import subprocess
    print(subprocess.run(["find", tmp_path], capture_output=True, text=True).stdout)
    print((tmp_path / "run0/metrics.csv").read_text())
    assert 0
