"""What does each stage take in one process, and with Dask's workers? Is anything lost when they are killed?

    python benchmarks/cluster.py --cases 100 1000 10000 --workers 2
    python benchmarks/cluster.py --cases --kills 20

Cases are made up, of 16³ voxels, as a list of pairs; one small model, not trained, predicts all. Each stage
is one command: `here` alone, in one process; `there` with `--cluster`, and a scheduler and workers as processes of this
machine. Seconds are the clock's; MB are peaks of the resident set, of the command, and there of the scheduler and the
largest worker in this stage (Linux).

With `--kills`, a worker, the scheduler or the command is killed at random while 300 scans are predicted, and started
again, so many times in all. Every mask must then be there, the same byte for byte as in an undisturbed run here.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from growth import FEW
from import_many import make

STAGES = ("import", "prepare", "predict", "evaluate")
KILLED_SCANS = 300
DASHBOARD = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


@dataclass
class Dask:
    """A scheduler and workers, as processes; who has ended is started again by `keep`."""

    folder: Path
    workers: int
    port: int = 0
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"tcp://127.0.0.1:{self.port}"

    def keep(self) -> None:
        """Start whoever does not run."""
        names = ("scheduler", *(f"worker{number}" for number in range(self.workers)))
        for name in names:
            if name in self.running and self.running[name].poll() is None:
                continue
            worker = ("--nthreads", 1, "--no-nanny", "--local-directory", self.folder, self.address)
            own = ("--host", "127.0.0.1", "--port", self.port) if name == "scheduler" else worker
            command = [sys.executable, "-m", "dask", name.rstrip("0123456789"), *DASHBOARD, *map(str, own)]
            with (self.folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def reset_peaks(self) -> None:
        """Let peaks of memory be counted from now on."""
        for process in self.running.values():
            with suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def peak_mb(self, name: str) -> float:
        """Of the processes whose names begin so."""
        peaks = [0]
        for process in (process for found, process in self.running.items() if found.startswith(name)):
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peaks.append(int(status.partition("VmHWM:")[2].split()[0]))
        return max(peaks) / 1024


@contextmanager
def dask(folder: Path, workers: int) -> Iterator[Dask]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    processes = Dask(folder, workers, port)
    try:
        processes.keep()
        yield processes
    finally:
        for process in processes.running.values():
            process.kill()
            process.wait()


def commands(place: Path, source: Path, model: Path, side: str) -> dict[str, tuple[object, ...]]:
    """The commands of the stages, without an address."""
    dataset, found = place / f"dataset-{side}", place / f"found-{side}"
    command = (sys.executable, "-m", "osteon.cli")
    return {
        "import": (*command, "import", source, dataset, "--modality", "ct"),
        "plan": (*command, "plan", dataset, "--no-cost", "--device", "cpu"),
        "prepare": (sys.executable, __file__, "--prepare", dataset),
        "predict": (*command, "predict", model, dataset, found, "--device", "cpu"),
        "evaluate": (*command, "evaluate", found, dataset, "--to", place / f"scores-{side}"),
    }


def measure(*command: object) -> tuple[float, float]:
    """Seconds and peak MB of a command."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        if status:
            sys.exit(output.read().decode())
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def prepare(dataset: Path, cluster: str | None) -> None:
    """The stage that no command does alone."""
    from contextlib import nullcontext

    from osteon.core.cluster import open_cluster
    from osteon.dataset.dataset import Dataset
    from osteon.plan.schema import read_plan
    from osteon.preparing.cache import prepare_cases

    opened, plan = Dataset.open(dataset), read_plan(dataset / "plan.yaml")
    with nullcontext() if cluster is None else open_cluster(cluster):
        _, failed = prepare_cases(opened, plan, opened.manifest.trainable, workers=1)
    assert not failed


def make_model(place: Path) -> Path:
    """A small model that was never trained: what it finds is the same every time."""
    make(place / "few", FEW, "pairs")
    few = commands(place / "few", place / "few", place, "set")
    measure(*few["import"])
    measure(*few["plan"])
    measure(sys.executable, __file__, "--save", place / "model", "--plan", place / "few" / "dataset-set" / "plan.yaml")
    return place / "model"


def save(folder: Path, plan_file: Path) -> None:
    """Save the model; in a process of its own, since those that are started by a large one begin with its peak."""
    import torch

    from osteon.networks.registry import build_network
    from osteon.plan.schema import read_plan
    from osteon.predicting.model import Model
    from osteon.predicting.model_folder import save_model

    torch.manual_seed(0)
    plan = read_plan(plan_file)
    save_model(folder, Model(build_network(plan).eval(), plan, {"dice": 0.5}, ""), "# A card\n")


def tell_stages(place: Path, cases: int, model: Path, processes: Dask) -> None:
    """Print the rows of one number of cases."""
    source = place / f"source-{cases}"
    make(source, cases, "pairs")
    place = place / str(cases)
    here, there = (commands(place, source, model, side) for side in ("here", "there"))
    for stage in STAGES:
        if stage == "prepare":
            measure(*here["plan"])
            measure(*there["plan"])
        alone = () if stage == "predict" or stage == "prepare" else ("--workers", 1)
        seconds, peak = measure(*here[stage], *alone)
        processes.reset_peaks()
        seconds_there, peak_there = measure(*there[stage], "--cluster", processes.address)
        peaks = " | ".join(f"{processes.peak_mb(name):.0f}" for name in ("scheduler", "worker"))
        print(
            f"| {stage} | {cases} | {seconds:.1f} | {peak:.0f} | {seconds_there:.1f} | {peak_there:.0f} | {peaks} |",
            flush=True,
        )
    compare_masks(place / "found-here", place / "found-there", cases)


def compare_masks(here: Path, there: Path, cases: int) -> None:
    """Every mask is there, the same byte for byte."""
    masks = sorted(path.name for path in here.glob("*.nii.gz"))
    assert len(masks) == cases
    assert masks == sorted(path.name for path in there.glob("*.nii.gz"))
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in masks)


def tell_kills(place: Path, kills: int, model: Path, processes: Dask, seed: int) -> None:
    """Kill at random, start again, compare."""
    draw = random.Random(seed)
    source = place / "source-kills"
    make(source, KILLED_SCANS, "pairs")
    for path in source.glob("*_label.nii.gz"):
        path.unlink()
    here, there = ([*map(str, (*commands(place / "kills", source, model, "x")["predict"][:5], source))] for _ in "ab")
    out_here, out_there = place / "kills-here", place / "kills-there"
    measure(*here, out_here, "--device", "cpu")
    killed, done = dict.fromkeys(("worker", "scheduler", "command"), 0), 0
    while True:
        processes.keep()
        cluster = ("--device", "cpu", "--cluster", processes.address)
        with (place / "kills.log").open("ab") as log:
            client = subprocess.Popen([*there, str(out_there), *cluster], stdout=log, stderr=log)
        while client.poll() is None:
            time.sleep(draw.uniform(0.5, 4.0))
            now = len(list(out_there.glob("*.nii.gz")))
            if sum(killed.values()) < kills and now > done and now < KILLED_SCANS:  # something happens between two
                done = now
                what = draw.choices(list(killed), weights=(3, 1, 1))[0]
                killed[what] += 1
                running = [process for name, process in processes.running.items() if name.startswith(what)]
                (client if what == "command" else draw.choice(running)).kill()
            if client.poll() is None:
                processes.keep()
        if client.returncode == 0:
            break
    compare_masks(out_here, out_there, KILLED_SCANS)
    told = ", ".join(f"{what} {count}×" for what, count in killed.items())
    print(f"\n{KILLED_SCANS} scans, killed: {told}; every mask is there, the same byte for byte")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="For what is made; thrown away.")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    for hidden in ("--cluster", "--save", "--plan"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.save is not None:
        save(Path(arguments.save), Path(arguments.plan))
        return
    if arguments.prepare is not None:
        prepare(arguments.prepare, arguments.cluster)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, ExitStack() as stack:
        place = Path(name)
        processes = stack.enter_context(dask(place / "dask", arguments.workers))
        model = make_model(place)
        if arguments.cases:
            print("| stage | cases | here s | MB | there s | MB | scheduler MB | worker MB |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for count in arguments.cases:
            tell_stages(place, count, model, processes)
        if arguments.kills:
            tell_kills(place, arguments.kills, model, processes, arguments.seed)


if __name__ == "__main__":
    main()
