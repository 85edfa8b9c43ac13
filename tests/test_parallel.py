"""One function over many cases: results, errors and deaths of workers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from osteon.core import parallel
from osteon.core.errors import CaseError, DiskFullError, GeometryError
from osteon.core.parallel import START_UP_BYTES, for_each, worker_count

GIB = 1 << 30


def square(number: int) -> int:
    if number == 3:
        raise GeometryError("case 3: does not fit", hint="--repair-geometry")
    if number == 4:
        raise MemoryError
    return number * number


def slow_first(number: int) -> int:
    time.sleep(0.5 if number == 0 else 0)
    return number


def die_elsewhere(item: tuple[int, int]) -> tuple[int, int]:
    number, home = item
    if number == 1 and os.getpid() != home:
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


def torch_threads(_: int) -> int:
    import torch

    return torch.get_num_threads()


def break_down(number: int) -> int:
    raise ZeroDivisionError(f"a bug at {number}")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_has_its_outcome_and_errors_keep_their_hints(workers: int) -> None:
    outcomes = {o.item: o for o in for_each(square, range(6), "squares", name=str, workers=workers)}
    assert {n: o.result for n, o in outcomes.items() if o.error is None} == {0: 0, 1: 1, 2: 4, 5: 25}
    wrong = outcomes[3].error
    assert type(wrong) is GeometryError
    assert (wrong.message, wrong.hint) == ("case 3: does not fit", "--repair-geometry")
    full = outcomes[4].error
    assert type(full) is CaseError
    assert full.message == "4: not enough memory"
    assert "--workers" in full.hint


def test_outcomes_come_as_they_are_ready_and_carry_their_item() -> None:
    outcomes = list(for_each(slow_first, [0, 1, 2, 3], "sleeping", name=str, workers=2))
    assert all(o.item == o.result for o in outcomes)
    assert sorted(o.item for o in outcomes) == [0, 1, 2, 3]
    assert outcomes[-1].item == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_when_a_worker_is_killed_the_work_goes_on_here() -> None:
    home = os.getpid()
    outcomes = list(for_each(die_elsewhere, [(n, home) for n in range(5)], "dying", name=str, workers=2))
    results = [o.result for o in outcomes if o.result is not None]
    assert sorted(number for number, _ in results) == list(range(5))  # each once
    assert dict(results)[1] == home
    assert all(o.error is None for o in outcomes)


PARENT = """
import os, sys, time
from pathlib import Path
from osteon.core.parallel import for_each
from osteon.core.processes import received_signal, handle_termination_signals

def work(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    handle_termination_signals()
    try:
        list(for_each(work, [Path(sys.argv[1])] * 2, "sleeping", name=str, workers=2))
    except KeyboardInterrupt:
        sys.exit(128 + received_signal())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(("name", "ends_with"), [("SIGKILL", -9), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_workers_of_a_process_that_is_ended_end_too(tmp_path: Path, name: str, ends_with: int) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "pids").mkdir()
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path / "pids"])
    workers: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < deadline and parent.poll() is None:
            time.sleep(0.05)
            workers = [psutil.Process(int(path.name)) for path in (tmp_path / "pids").iterdir()]
        assert len(workers) == 2
        parent.send_signal(signal.Signals[name])
        assert parent.wait(30) == ends_with
        assert psutil.wait_procs(workers, timeout=30)[1] == []
    finally:
        for process in (parent, *workers):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def full(number: int) -> int:
    if number == 1:
        raise OSError(errno.ENOSPC, "No space left on device", "a.npy")
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_no_items_fault_and_stops_the_work(workers: int) -> None:
    done = []
    with pytest.raises(DiskFullError, match=r"a\.npy: the disk is full"):
        done += [o.item for o in for_each(full, list(range(50)), "filling", name=str, workers=workers)]
    assert len(done) < 50


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert [o.result for o in for_each(torch_threads, [1, 2], "counting", name=str, workers=2)] == [1, 1]
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # the user knows better
    asked = ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    assert [o.result for o in for_each(os.getenv, asked, "counting", name=str, workers=2)] == ["2", "2"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_not_taken_for_a_bad_case(workers: int) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(for_each(break_down, [1, 2], "breaking", name=str, workers=workers))


def test_nothing_to_do_is_no_error() -> None:
    assert list(for_each(square, [], "nothing", name=str, workers=2)) == []


@pytest.mark.parametrize(
    ("items", "each", "limit", "cores", "free", "count"),
    [
        (100, GIB, None, 8, 1000 * GIB, 8),  # cores
        (3, GIB, None, 8, 1000 * GIB, 3),  # items
        (100, GIB, 2, 8, 1000 * GIB, 2),  # the user
        (100, GIB, 50, 8, 1000 * GIB, 8),  # the user cannot have more than the machine has
        (100, GIB, None, 8, 4 * (GIB + START_UP_BYTES), 3),  # three quarters of memory
        (100, 100 * GIB, None, 8, GIB, 1),  # never none
        (0, 0, None, 8, GIB, 1),
    ],
)
def test_workers_fit_into_items_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch, items: int, each: int, limit: int | None, cores: int, free: int, count: int
) -> None:
    monkeypatch.setattr(parallel, "cpu_count", lambda: cores)
    monkeypatch.setattr(parallel.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert worker_count(items, each, limit=limit) == count
