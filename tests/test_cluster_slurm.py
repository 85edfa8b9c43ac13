"""`--cluster` with a real SLURM of one node: workers are its jobs, and results are those of this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dask_processes import ENVIRONMENT, contents, make_place
from runs import command
from slurm_node import slurm_node, why_not

pytest.importorskip("dask_jobqueue", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
CASES = 50


def test_jobs_of_slurm_predict_what_this_machine_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_place(tmp_path, CASES)
    (tmp_path / "slurm").mkdir()
    described = {
        "kind": "slurm",
        "queue": "short",
        "jobs": 2,
        "cores": 1,
        "memory": "1500MB",
        "walltime": "00:10:00",
        "options": {
            "log_directory": str(tmp_path / "logs"),
            "local_directory": str(tmp_path / "local"),
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        },
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(described))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # SLURM hands it on to its jobs
    monkeypatch.chdir(tmp_path)
    with slurm_node(tmp_path / "slurm") as configuration:
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        predict = ("predict", "model", "source", "there", "--device", "cpu", "--cluster", "cluster.yaml")
        assert command(*predict) == 0
    assert command(*predict[:3], "here", "--device", "cpu") == 0
    here, there = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert here == there
    assert sum(name.endswith(".nii.gz") for name in there) == CASES
    assert len(list((tmp_path / "logs").iterdir())) >= 2  # a log of each job
