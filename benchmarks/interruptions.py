"""Does a stage that was ended, or whose disk filled up, come to the same result after the same command?

    python benchmarks/interruptions.py --times 20
    python benchmarks/interruptions.py --times 5 --stage train predict --how kill

Each stage of a small cohort is run to its end undisturbed. Then the same command is begun again and again in a folder
of its own and ended at a random moment, by SIGKILL (its main process alone) or SIGTERM, and last run to its end: what
it made must be what the undisturbed one made, voxel for voxel and weight for weight. After SIGTERM the exit code must
be 143, and after either no process may be left. `disk`: the output lies on a disk (tmpfs, needs root) that fills up;
the command must say so and end with 1, and go on with the same command when there is room. Ends with 1 where anything
differs.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from osteon.formats import read_segmentation, read_volume

CASES, SIZE = 6, 48
LEFT_S = 5.0
"""So long a process may live on after its main process has ended."""
SMALL = ["--set", "patch.size=[16,16,16]", "--set", "training.epoch_iterations=20", "--set", "training.precision=fp32"]
SWEEP = """dataset: {dataset}
epochs: 4
device: cpu
base: {{patch.size: [16, 16, 16], training.epoch_iterations: 20, training.precision: fp32}}
grid: {{training.learning_rate: [0.01, 0.003]}}
"""
PAGE = 4096
ROOM = 3
"""A disk that fills up has room for one part in so many of what the stage writes."""


@dataclass(frozen=True)
class Stage:
    """A command, and what of its output must be the same.

    Attributes:
        name: As people call it.
        arguments: Of `osteon`, given the folder of what is there and that of the output.
        digest: Of the output.
        start: A folder of what is there; the command writes into a copy of it.
    """

    name: str
    arguments: Callable[[Path, Path], list[object]]
    digest: Callable[[Path], str]
    start: str = ""

    def lay_out(self, given: Path, out: Path) -> None:
        """Make what is there before the command runs; a dataset refers to its cohort beside it."""
        if self.start:
            shutil.copytree(given / self.start, out)
            if not (beside := out.with_name("cohort")).exists():
                beside.symlink_to(given / "cohort")


def hashed(parts: Sequence[object]) -> str:
    """A digest of what is told."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]


def dataset_digest(out: Path) -> str:
    """dataset.yaml, and the voxels of what was written."""
    images = sorted((out / "images").glob("*"))
    labels = sorted((out / "labels").glob("*"))
    voxels = [(path.name, hashlib.sha256(read_volume(path).array.tobytes()).hexdigest()) for path in (*images, *labels)]
    lines = [line for line in (out / "dataset.yaml").read_text().splitlines() if "/" not in line]
    return hashed([*lines, *voxels])


def masks_digest(out: Path) -> str:
    """The voxels of label maps."""
    return hashed([(p.name, hashlib.sha256(read_segmentation(p).array.tobytes()).hexdigest()) for p in masks(out)])


def masks(out: Path) -> list[Path]:
    """The label maps in a folder."""
    return sorted(path for path in out.iterdir() if path.name.endswith((".nii.gz", ".seg.nrrd")))


def files_digest(out: Path, pattern: str = "*") -> str:
    """The bytes of files."""
    return hashed(
        [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in sorted(out.rglob(pattern)) if p.is_file()]
    )


def table_digest(out: Path) -> str:
    """The rows of metrics.csv."""
    with (out / "metrics.csv").open(newline="") as stream:
        return hashed(sorted(map(str, csv.reader(stream))))


def findings_digest(out: Path) -> str:
    """What the audit found."""
    return hashed([json.dumps(json.loads((out / "audit" / "audit.json").read_text())["findings"], sort_keys=True)])


def trials_digest(out: Path) -> str:
    """The weights of each trial, and which were tried."""
    with (out / "sweep" / "sweep.csv").open(newline="") as stream:
        tried = sorted(row["trial"] for row in csv.DictReader(stream))
    return hashed([*tried, files_digest(out, "weights.safetensors")])


STAGES = (
    Stage("import", lambda given, out: ["import", given / "cohort" / "source", out], dataset_digest),
    Stage("audit", lambda _given, out: ["audit", out], findings_digest, "imported"),
    Stage(
        "plan",
        lambda _given, out: ["plan", out, "--no-cost", "--force"],
        lambda out: files_digest(out, "plan.yaml"),
        "imported",
    ),
    Stage(
        "train",
        lambda given, out: [
            "train",
            given / "dataset",
            out,
            "--epochs",
            8,
            "--deterministic",
            "--device",
            "cpu",
            *SMALL,
        ],
        lambda out: files_digest(out / "model", "weights.safetensors"),
    ),
    Stage("predict", lambda given, out: ["predict", given / "run", given / "scans", out], masks_digest),
    Stage("vote", lambda given, out: ["vote", given / "one", given / "two", out], masks_digest),
    Stage("evaluate", lambda given, out: ["evaluate", given / "one", given / "dataset", "--to", out], table_digest),
    Stage("export", lambda given, out: ["export", "stl", given / "one", out], lambda out: files_digest(out, "*.stl")),
    Stage("sweep", lambda _given, out: ["sweep", out / "sweep.yaml"], trials_digest, "trials"),
)


def begin(arguments: Sequence[object], cwd: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; what it says goes to `cwd`/output.txt."""
    command = [sys.executable, "-m", "osteon.cli", *map(str, arguments)]
    with (cwd / "output.txt").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=cwd, start_new_session=True)


def run(arguments: Sequence[object], cwd: Path) -> tuple[int, float]:
    """The exit code of a command that nobody disturbs, and its seconds."""
    start = time.monotonic()
    return begin(arguments, cwd).wait(), time.monotonic() - start


def prepare(given: Path) -> None:
    """A cohort, its dataset, a model, and two predictions."""
    given.mkdir()
    for arguments in (
        ["phantom", "humerus", given / "cohort", "--cases", CASES, "--size", SIZE],
        ["import", given / "cohort" / "source", given / "imported"],
    ):
        done(arguments, given)
    shutil.copytree(given / "imported", given / "dataset")
    (given / "trials").mkdir()
    (given / "trials" / "sweep.yaml").write_text(SWEEP.format(dataset=given / "dataset"))
    for arguments in (
        ["plan", given / "dataset", "--no-cost"],
        ["train", given / "dataset", given / "run", "--epochs", 4, "--device", "cpu", *SMALL],
        ["train", given / "dataset", given / "other", "--epochs", 2, "--device", "cpu", *SMALL],
    ):
        done(arguments, given)
    (given / "scans").mkdir()
    for number, path in enumerate(sorted((given / "cohort" / "source").rglob("*.nii.gz"))):
        (given / "scans" / f"scan_{number}.nii.gz").symlink_to(path)
    for run_, out in (("run", "one"), ("other", "two")):
        done(["predict", given / run_, given / "dataset", given / out], given)


def done(arguments: Sequence[object], cwd: Path) -> None:
    """Run a command that must succeed."""
    code, _ = run(arguments, cwd)
    if code:
        sys.exit(f"{arguments[0]} ended with {code}:\n{(cwd / 'output.txt').read_text()}")


def left(folder: Path) -> list[str]:
    """Processes that still work in a folder some seconds after their main process ended."""
    until = time.monotonic() + LEFT_S
    while time.monotonic() < until:
        alive = [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.info["cwd"] == str(folder)]
        if not alive:
            return []
        time.sleep(0.1)
    found = [" ".join(p.info["cmdline"] or ())[:80] for p in alive]
    for process in alive:
        process.kill()
    return found


def ended(
    stage: Stage, given: Path, work: Path, how: signal.Signals, times: int, usual_s: float, seed: int
) -> list[str]:
    """End a stage `times` times and then let it finish; what went wrong."""
    draw, out, wrong, hit = random.Random(f"{seed} {stage.name} {how}"), work / "out", [], 0
    stage.lay_out(given, out)
    rounds = 0
    while hit < times and rounds < 4 * times:
        rounds += 1
        process = begin(stage.arguments(given, out), work)
        try:
            code = process.wait(timeout=draw.uniform(0.05, 1) * usual_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, how)
            code = process.wait()
            hit += 1
            if how == signal.SIGTERM and code not in (143, -signal.SIGTERM) and code != 0:
                wrong.append(f"ended with {code} after SIGTERM")
            if others := left(work):
                wrong.append(f"left behind: {others[0]}")
        if code == 0:  # done before it could be ended: once more from the beginning
            shutil.rmtree(out, ignore_errors=True)
            stage.lay_out(given, out)
    code, _ = run(stage.arguments(given, out), work)
    if code:
        wrong.append(f"the last run ended with {code}: {(work / 'output.txt').read_text()[-300:]}")
    return [f"{hit} times", *wrong]


def filled(stage: Stage, given: Path, work: Path, used: int) -> list[str]:
    """Run a stage on a disk that is too small, then with room; what went wrong."""
    disk, wrong = work / "disk", list[str]()
    disk.mkdir()
    there = size_of(given / stage.start) if stage.start else 0
    size = there + max((used - there) // ROOM, 4 * PAGE)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        return ["not run: no disk can be made here (mount -t tmpfs)"]
    try:
        stage.lay_out(given, disk / "out")
        code, _ = run(stage.arguments(given, disk / "out"), work)
        message = (work / "output.txt").read_text()
        if code != 1 or "disk is full" not in message:
            wrong.append(f"ended with {code}: {message[-300:]}")
        subprocess.run(["mount", "-o", f"remount,size={40 * used + 10**8}", disk], check=True)
        code, _ = run(stage.arguments(given, disk / "out"), work)
        if code:
            wrong.append(f"with room it ended with {code}: {(work / 'output.txt').read_text()[-300:]}")
        else:
            shutil.copytree(disk / "out", work / "out")
    finally:
        subprocess.run(["umount", disk], check=True)
    return ["once", *wrong]


def size_of(folder: Path) -> int:
    """Bytes that all files take of a disk."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*"))


def main() -> None:
    """Run the stages that were asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--stage", nargs="*", default=[stage.name for stage in STAGES])
    parser.add_argument("--how", nargs="*", default=["kill", "term", "disk"], choices=["kill", "term", "disk"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signals = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
    bad = False
    print("| stage | ended by | how often | same result | what went wrong |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="interruptions-") as place:
        given = Path(place) / "given"
        prepare(given)
        for stage in (row for row in STAGES if row.name in arguments.stage):
            usual = Path(place) / f"{stage.name}-usual"
            usual.mkdir()
            stage.lay_out(given, usual / "out")
            code, usual_s = run(stage.arguments(given, usual / "out"), usual)
            if code:
                sys.exit(f"{stage.name} ended with {code}:\n{(usual / 'output.txt').read_text()}")
            wanted = stage.digest(usual / "out")
            for how in arguments.how:
                work = Path(place) / f"{stage.name}-{how}"
                work.mkdir()
                if how == "disk":
                    often, *wrong = filled(stage, given, work, size_of(usual / "out"))
                else:
                    often, *wrong = ended(stage, given, work, signals[how], arguments.times, usual_s, arguments.seed)
                same = (work / "out").is_dir() and stage.digest(work / "out") == wanted
                bad |= bool(wrong) or not same
                problems = "; ".join(dict.fromkeys(line.replace("\n", " ") for line in wrong))
                print(f"| {stage.name} | {how} | {often} | {'yes' if same else 'NO'} | {problems} |", flush=True)
    sys.exit(bad)


if __name__ == "__main__":
    main()
