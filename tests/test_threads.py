"""How threads wait and how many they are: set before torch is loaded, never over a user's own setting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from osteon.core import cpu_load, platform, threads
from osteon.core.cpu_load import LoadMeter, ThreadLimiter
from osteon.core.threads import describe_waiting, is_user_set, prepare_threads, set_thread_count

NAMES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def prepared(quota: float | None = None, **given: str) -> dict[str, str]:
    environment = dict(given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "cpu_quota", lambda: quota)
        patch.setattr(platform, "cpu_count", lambda: 3)
        prepare_threads(environment)
    environment.pop(threads.SET_BY_OSTEON, None)
    return environment


def test_threads_wait_asleep() -> None:
    assert prepared() == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({"OMP_WAIT_POLICY": "active"}, {}),
        ({"KMP_BLOCKTIME": "200"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}),
    ],
)
def test_a_users_settings_stay(given: dict[str, str], added: dict[str, str]) -> None:
    assert prepared(**given) == given | added


def test_a_quota_limits_the_threads() -> None:
    assert prepared(2.5)["OMP_NUM_THREADS"] == "3"
    assert prepared(2.5)["MKL_NUM_THREADS"] == "3"
    assert prepared(2.5, OMP_NUM_THREADS="7")["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in prepared(2.5, OMP_NUM_THREADS="7")


def test_a_worker_takes_one_thread_unless_the_user_has_said_how_many() -> None:
    environment: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "cpu_quota", lambda: 2.0)
        prepare_threads(environment)
    assert not is_user_set("OMP_NUM_THREADS", environment)
    set_thread_count(1, environment)
    assert [environment[name] for name in threads.COUNT_VARIABLES] == ["1", "1"]
    environment = {"OMP_NUM_THREADS": "2"}
    set_thread_count(1, environment)
    assert [environment[name] for name in threads.COUNT_VARIABLES] == ["2", "2"]


SCRIPT = """
import os, subprocess, sys
import osteon
from osteon.core.threads import is_user_set
assert "torch" not in sys.modules
import torch
names = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
print(*(f"{name}={os.environ.get(name)} {is_user_set(name)}" for name in names), flush=True)
if "parent" in sys.argv:
    subprocess.run([sys.executable, sys.argv[0]], check=True)
"""


def test_it_is_done_before_torch_is_loaded_and_children_know_that_no_user_did_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    clean = {k: v for k, v in os.environ.items() if k not in (*NAMES, threads.SET_BY_OSTEON)}
    command = [sys.executable, str(script), "parent"]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["OMP_WAIT_POLICY=PASSIVE False KMP_BLOCKTIME=0 False"] * 2


def test_torch_loaded_first_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe_waiting({"OMP_WAIT_POLICY": "PASSIVE"}) == "asleep (OMP_WAIT_POLICY=PASSIVE)"
    assert describe_waiting({"OMP_WAIT_POLICY": "active"}) == "as you have set it (OMP_WAIT_POLICY=active)"
    monkeypatch.setattr(threads, "_loaded_too_late", True)
    assert "torch was imported before osteon" in describe_waiting({})
    assert threads.threads_may_spin({"OMP_WAIT_POLICY": "PASSIVE"})


def test_other_processes_work_is_noticed_and_ones_own_is_not() -> None:
    """A process pinned to one core beside which nothing, then another process, works there."""
    code = """
import os, subprocess, sys, time
from osteon.core.cpu_load import LoadMeter
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def work():
    until = time.process_time() + 1
    while time.process_time() < until:
        pass
with LoadMeter() as alone:
    work()
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
with LoadMeter() as beside:
    work()
other.kill()
print(alone.used_by_others, beside.used_by_others, beside.warning)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    alone, beside, *warning = done.stdout.split()
    assert float(alone) < 0.8  # its own work would be all of a core
    assert float(beside) > 0.3
    assert " ".join(warning).startswith("the machine was busy (load ")


def test_a_quiet_machine_is_not_called_busy() -> None:
    meter = LoadMeter()
    assert not meter.warning
    meter.used_by_others = 1.0 * len(meter.allowed)
    assert meter.warning.endswith(f"other processes took {meter.used_by_others:.1f} of {len(meter.allowed)} cores")


def test_threads_leave_the_cores_that_others_take_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    limiter = ThreadLimiter()

    def look(others: float, every_s: float = 0.0, allowed: int = 4) -> None:
        limiter._meter.allowed = list(range(allowed))
        monkeypatch.setattr(LoadMeter, "__exit__", lambda self, *_: setattr(self, "used_by_others", others))
        limiter.update(every_s=every_s)

    for others in (0.3, 0.6, 1.9, 1.8, 9.0, 0.0):
        look(others)
    assert counts == [3, 2, 1, 4]
    look(3.0, every_s=1000.0)  # too soon: nothing is looked at
    look(30.0, allowed=64)  # a quota's threads beside neighbours that leave enough
    assert counts == [3, 2, 1, 4]
    look(1.0)
    limiter.restore()
    assert counts == [3, 2, 1, 4, 3, 4]


def test_a_quota_or_many_cores_are_not_busy_while_enough_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = LoadMeter()
    meter.allowed = list(range(64))
    for used, others, busy in ((4, 30.0, False), (4, 60.5, True), (64, 3.0, False), (64, 8.0, True), (63, 0.5, False)):
        monkeypatch.setattr(cpu_load, "cpu_count", lambda used=used: used)
        meter.used_by_others = others
        assert bool(meter.warning) == busy


@pytest.mark.parametrize(("given", "fits"), [({}, True), ({"OMP_NUM_THREADS": "4"}, False)])
def test_a_users_number_of_threads_stays(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], fits: bool) -> None:
    for name in threads.COUNT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (cpu_load.make_thread_limiter() is not None) == fits
