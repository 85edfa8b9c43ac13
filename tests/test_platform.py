"""Cores and memory as each operating system tells them; and all of osteon where nothing of Unix is there."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from children import HERE, finish, python
from osteon.core import platform
from osteon.core.platform import cpu_count, cpu_quota, peak_bytes, release_pages, reserve_space


def tree(folder: Path, files: dict[str, str], own: str) -> float | None:
    """The quota of a made-up tree of control groups."""
    for name, text in files.items():
        (folder / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "fs" / name).write_text(text + "\n")
    (folder / "own").write_text(own)
    return cpu_quota(folder / "fs", folder / "own")


V1 = {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({"cpu.max": "250000 100000"}, "0::/\n", 2.5),  # a container's own group
        ({"cpu.max": "250000 100000"}, "0::/docker/abc\n", 2.5),  # named as the host does
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, "0::/a/b\n", 0.5),  # above is tighter
        ({"a/b/cpu.max": "40000 20000", "a/cpu.max": "300000 100000"}, "0::/a/b\n", 2.0),  # below is tighter
        ({"a/cpu.max": "100000 100000", "b/cpu.max": "300000 100000"}, "0::/b\n", 3.0),  # a neighbour's counts not
        ({"a/cpu.max": "max 100000"}, "0::/a\n", None),
        ({"up/cpu.max": "100000 100000"}, "0::/../up\n", 1.0),
        ({f"cpu/{name}": text for name, text in V1.items()}, "1:cpu:/\n0::/\n", 1.5),
        ({f"cpu,cpuacct/a/{name}": text for name, text in V1.items()}, "3:cpu,cpuacct:/a\n", 1.5),
        ({f"cpu/{name}": text for name, text in V1.items()}, "3:cpuacct,cpu:/kubepods/x\n", 1.5),
        ({f"cpuset/{name}": text for name, text in V1.items()}, "3:cpuset:/\n", None),
        ({f"cpu/{name}": text for name, text in (V1 | {"cpu.cfs_quota_us": "-1"}).items()}, "1:cpu:/\n", None),
        ({"unified/a/cpu.max": "70000 100000"}, "1:name=systemd:/\n0::/a\n", 0.7),  # both versions
        ({"cpu.max": "rubbish"}, "0::/\n", None),
        ({"other": ""}, "", None),
    ],
)
def test_the_tightest_quota_on_the_way_to_the_root_counts(
    tmp_path: Path, files: dict[str, str], own: str, quota: float | None
) -> None:
    assert tree(tmp_path, files, own) == quota


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path / "neither") is None


@pytest.mark.parametrize(("quota", "count"), [(None, 4), (0.2, 1), (1.5, 2), (3.0, 3), (64.0, 4)])
@pytest.mark.parametrize("asked", ["os", "psutil", "neither"])
def test_cores_are_those_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, asked: str, quota: float | None, count: int
) -> None:
    monkeypatch.setattr(platform, "cpu_quota", lambda: quota)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4 if asked == "neither" else 99)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7}, raising=False)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [2, 3, 5, 7], raising=False)
    if asked != "os":
        monkeypatch.delattr(os, "sched_getaffinity")
    if asked == "neither":
        monkeypatch.delattr(psutil.Process, "cpu_affinity")
    assert cpu_count() == count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_never_more_cores_than_the_process_is_bound_to() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from osteon.core.platform import cpu_count"
    )
    assert finish(python(f"{code}; print(cpu_count())")) == "1\n"


def test_the_peak_is_the_kernels_mark_or_of_whoever_else_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t    1234 kB\nVmRSS:\t 99 kB\n")
    assert peak_bytes(status) == 1234 * 1024
    status.write_text("Name:\tpython\n")
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: SimpleNamespace(ru_maxrss=5678))
    monkeypatch.setitem(sys.modules, "resource", usage)
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_bytes(status) == peak_bytes(tmp_path / "none") == 5678 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_bytes(status) == 5678  # bytes, there
    monkeypatch.setitem(sys.modules, "resource", None)
    memory = SimpleNamespace(rss=100, peak_wset=300)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: memory)
    assert peak_bytes(status) == 300
    del memory.peak_wset
    assert peak_bytes(status) == 100


@pytest.mark.parametrize("asked", [True, False])
def test_a_files_space_is_taken_and_a_full_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    if not asked:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    size = (5 << 20) + 3
    with (tmp_path / "file").open("w+b") as file:
        reserve_space(file, size)
        there = os.fstat(file.fileno())
        assert there.st_size == size
        assert there.st_blocks * 512 >= size, "no hole"
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(OSError, match=r".*"):
        reserve_space(full, size)


@pytest.mark.parametrize("advised", [True, False])
def test_a_mapped_file_says_the_same_after_its_memory_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advised: bool
) -> None:
    if not advised:
        monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    (tmp_path / "file").write_bytes(bytes(100_000))
    with (tmp_path / "file").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5] = 7
        release_pages(mapped)
        assert mapped[4:7] == b"\0\7\0"


NAMES = re.compile(
    r"\b(import|from) (resource|fcntl|msvcrt|grp|pwd|termios)\b|\bsignal\.(SIGKILL|SIGHUP|SIGUSR|SIGBREAK|CTRL_)"
    r"|\bos\.(killpg|[gs]etpg|[gs]etsid|sched_|fork|wait[34]|nice|[gs]ete?[ug]id|register_at_fork|posix_)|\bMADV_|start_new_session"
)
AWARE = {"platform.py", "processes.py", "locks.py"}
"""Files of `osteon.core` that know what only some systems have."""


def test_no_other_module_names_what_only_some_systems_have() -> None:
    source = HERE.parent / "src/osteon"
    found = {path.relative_to(source) for path in source.rglob("*.py") if NAMES.search(path.read_text("utf-8"))}
    assert found <= {Path("core") / name for name in AWARE}


HIDING = """
import os, sys
import psutil  # each system has its own, and Linux's is made of what is hidden now
for name in ("resource", "fcntl", "grp", "pwd"):
    sys.modules[name] = None
for name in (
    "killpg getpgid getpgrp setpgid setpgrp setsid getsid sched_getaffinity sched_setaffinity fork forkpty wait3 wait4 "
    "nice getuid geteuid getgid getegid getgroups getpriority mkfifo posix_fallocate"
).split():
    delattr(os, name)
"""
WORK = """
import importlib, os, time
from pathlib import Path

for name in ("resource", "fcntl"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} is not hidden")

def wait(met):
    until = time.monotonic() + 120
    while not met():
        if time.monotonic() > until:
            raise SystemExit("it did not happen in time: " + "".join(jobs.log(job) for job in jobs.all()))
        time.sleep(0.05)

def process(_):
    return os.getpid()

def main():  # what it imports, its worker processes need not
    import psutil

    import osteon
    from osteon.app.jobs import Jobs
    from osteon.core.parallel import for_each, worker_count
    from osteon.plan.schema import write_plan
    from osteon.serving.server import hold_jobs_folder
    from runs import cohort, learning_plan

    root = Path(FOLDER)
    worker_count(2, 1)
    if os.getpid() in [outcome.result for outcome in for_each(process, [1, 2], "asking", name=str, workers=2)]:
        raise SystemExit("the workers died")
    data = cohort(root / "data").folder
    osteon.make_plan(data, device="cpu", workers=2, measure_cost=False)
    write_plan(data / "plan.yaml", learning_plan({"training.epoch_iterations": 3}))
    osteon.train(data, root / "run", epochs=1, device="cpu", workers=2)
    report = osteon.predict(root / "run", data / "images", root / "out", device="cpu")
    if report.failed or len(list((root / "out").glob("*.nii.gz"))) != 6:
        raise SystemExit(report.failed)

    global jobs
    jobs = Jobs(root)
    first = jobs.submit("--version", [], "first")
    wait(lambda: jobs.state(first).phase == "done")
    long = jobs.submit("phantom", ["lung", "many", "--cases", "9999"], "long")
    wait(lambda: len(psutil.Process(jobs.state(long).pid).children()) == 1)
    both = [psutil.Process(jobs.state(long).pid), *psutil.Process(jobs.state(long).pid).children()]
    jobs.cancel(long, grace_s=1)
    alive = [process for process in both if process.is_running() and process.status() != "zombie"]
    if jobs.state(long).phase != "cancelled" or alive:
        raise SystemExit("it was not ended")
    train = jobs.submit("train", ["data", "second", "--device", "cpu", "--epochs", "100000", "--workers", "1"], "train")
    wait(lambda: (root / "second/metrics.csv").is_file())
    jobs.pause(train)
    wait(lambda: jobs.state(train).phase == "paused")
    with hold_jobs_folder(root / "served"):
        print("all done")

if __name__ == "__main__":
    main()
"""


def test_plan_train_predict_and_jobs_without_unix(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HIDING)
    script = tmp_path / "work.py"
    script.write_text(WORK.replace("FOLDER", repr(str(tmp_path / "workspace"))))
    (tmp_path / "workspace").mkdir()
    paths = os.pathsep.join([str(site), str(HERE.parent / "src"), str(HERE)])
    done = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all done\n"
