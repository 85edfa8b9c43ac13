"""`--cluster` with a real SLURM of one node: workers are its jobs, and results are those of this machine alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from children import python
from dask_processes import ENVIRONMENT, contents, make_place
from runs import command
from slurm_node import slurm_node, why_not

WHY_NOT = why_not() if find_spec("dask_jobqueue") else "the extra `cluster` is not installed"
CASES = 50


@pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="the extra `cluster` is not installed")
def test_ctrl_c_stays_the_commands_own() -> None:
    """The package's handler would end the command at once, with 0."""
    code = (
        "import signal; before = signal.getsignal(signal.SIGINT)\n"
        "from osteon.core.cluster import open_cluster\n"
        "with open_cluster('slurm'): print(signal.getsignal(signal.SIGINT) is before)"
    )
    assert python(code).communicate()[0] == "True\n"


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
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
