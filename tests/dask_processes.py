"""A scheduler and workers of Dask, each a process of its own, as people start them on several machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from children import HERE, wait
from helpers import box, tiny_plan, two_boxes
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model
from osteon.predicting.records import RECORD

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE)]),
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "default",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}
OF_ITS_MOMENT = ("seconds", "memory_bytes")
"""Of a prediction's record: what it took, and not what it is."""
DASHBOARD = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


@dataclass
class DaskProcesses:
    """A scheduler and its workers.

    Attributes:
        folder: Of their logs, and of the file that names the scheduler's address.
        prefix: What each command begins with, such as `ip netns exec NAME`, by the process's name.
    """

    folder: Path
    prefix: dict[str, Sequence[str]] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def start(self, name: str, *arguments: object) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.prefix.get(name, ()), sys.executable, "-m", "dask", *map(str, arguments)],
                env=os.environ | ENVIRONMENT,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def start_scheduler(self, *options: object, port: int = 0) -> None:
        self.file.unlink(missing_ok=True)
        where = () if "--host" in options else ("--host", "127.0.0.1")
        self.start(
            "scheduler", "scheduler", *where, "--port", port, *DASHBOARD, "--scheduler-file", self.file, *options
        )
        wait(lambda: self.file.is_file() and self.file.read_text())

    def start_worker(self, name: str = "worker", *options: object) -> subprocess.Popen[bytes]:
        return self.start(
            name,
            *("worker", "--scheduler-file", self.file, "--nthreads", 1, *DASHBOARD, "--name", name, *options),
            *("--local-directory", self.folder / "dask", *(() if "--nworkers" in options else ("--no-nanny",))),
        )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def dask_processes(folder: Path, workers: int = 2) -> Iterator[DaskProcesses]:
    """A scheduler with workers `worker0`, `worker1`, …; they end with the block."""
    processes = DaskProcesses(folder)
    try:
        processes.start_scheduler()
        for number in range(workers):
            processes.start_worker(f"worker{number}")
        yield processes
    finally:
        for name in list(processes.running):
            processes.kill(name)


def make_place(folder: Path, cases: int, wrong: int = -1) -> None:
    """A source of pairs, of which one case's label is on another grid, and an untrained model."""
    lines = []
    for number in range(cases):
        image, labels, affine = two_boxes(seed=number)
        write_volume(folder / f"source/c{number}.nii.gz", Volume(image[None], Geometry(image.shape, affine)))
        labels = box((3, 3, 3)) if number == wrong else labels
        write_volume(folder / f"source/c{number}_label.nii.gz", Volume(labels[None], Geometry(labels.shape, affine)))
        lines.append(f"c{number}.nii.gz,c{number}_label.nii.gz\n")
    (folder / "source/pairs.txt").write_text("".join(lines))
    plan = tiny_plan()
    save_model(folder / "model", Model(build_network(plan), plan, {"dice": 0.5}, ""), "# A card\n")


def contents(folder: Path) -> dict[str, object]:
    """What lies in a folder, by its path there; not the times at which exports were written."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "exports" not in path.as_posix()):
        found[path.relative_to(folder).as_posix()] = path.read_bytes()
        if path.name == RECORD or (path.parent.name == "predictions" and path.match(".records/*/[!.]*.json")):
            records = json.loads(path.read_text())
            for record in records.values():
                assert all(record.pop(key) is not None for key in OF_ITS_MOMENT)
            found[path.relative_to(folder).as_posix()] = records
    return found
