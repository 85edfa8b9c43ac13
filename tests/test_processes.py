"""Groups of processes: found, interrupted and ended, with the system's groups and without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from children import finish, python, wait
from osteon.core import processes

TREE = """
import signal, subprocess, sys, time
from pathlib import Path
depth, folder = int(sys.argv[1]), Path(sys.argv[2])
def note(*_):
    (folder / f"interrupted-{depth}").touch()
signal.signal(signal.SIGINT, note)
if depth == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    subprocess.Popen([sys.executable, __file__, str(depth - 1), str(folder)])
(folder / f"ready-{depth}").touch()
for _ in range(2400):  # two minutes, should nobody end them
    time.sleep(0.05)
"""
"""A process, its child and its grandchild; the last does not end when it is asked to."""


@pytest.fixture(params=["groups", "descendants"])
def family(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leader, child and grandchild, on a system with process groups and on one without."""
    if request.param == "descendants":
        for name in ("killpg", "getpgid"):
            monkeypatch.delattr(os, name)
    (tmp_path / "tree.py").write_text(TREE)
    leader = subprocess.Popen([sys.executable, tmp_path / "tree.py", "2", tmp_path], **processes.group_leader_options())
    wait(lambda: (tmp_path / "ready-0").exists())
    everyone = [psutil.Process(leader.pid), *psutil.Process(leader.pid).children(recursive=True)]
    yield leader, everyone
    for process in everyone:
        with suppress(psutil.Error):
            process.kill()
    leader.wait()


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_tree_is_ended_to_the_last_that_does_not_want_to(family: Any) -> None:
    leader, everyone = family
    assert processes.group_members(leader.pid) == set(everyone)
    assert len(everyone) == 3
    processes.terminate_group(leader.pid, 0.5)
    assert not any(lives(process) for process in everyone)
    assert leader.wait() == -signal.SIGTERM, "it was asked first"


def test_a_tree_is_interrupted(family: Any, tmp_path: Path) -> None:
    leader, everyone = family
    processes.interrupt_group(leader.pid)
    wait(lambda: len(list(tmp_path.glob("interrupted-*"))) == 3)
    assert all(lives(process) for process in everyone)


def test_the_group_is_its_own(family: Any) -> None:
    leader, _ = family
    if hasattr(os, "getpgid"):
        assert os.getpgid(leader.pid) == leader.pid != os.getpgid(0)
    assert psutil.Process() not in processes.group_members(leader.pid)


def test_a_group_is_alive_while_its_leader_is(family: Any) -> None:
    leader, everyone = family
    since = processes.start_time(leader.pid)
    assert processes.is_group_alive(leader.pid, since)
    assert not processes.is_group_alive(leader.pid, since - 100), "another process had that number"
    leader.kill()
    leader.wait()
    assert processes.is_group_alive(leader.pid, since) is hasattr(
        os, "getpgid"
    )  # its orphans are found by groups alone
    for process in everyone[1:]:
        process.kill()
    wait(lambda: not processes.is_group_alive(leader.pid, since))
    assert not processes.is_group_alive(0, 0.0)


def test_ctrl_break_becomes_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    processes.handle_ctrl_break()
    assert signal.getsignal(signal.SIGUSR1) == before
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    try:
        processes.handle_ctrl_break()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_thread_interrupts_its_own_process() -> None:
    code = (
        "import threading, time\nfrom osteon.core.processes import interrupt_self\n"
        "threading.Timer(0.2, interrupt_self).start()\n"
        "try:\n    time.sleep(50)\nexcept KeyboardInterrupt:\n    print('interrupted')"
    )
    assert finish(python(code), 20) == "interrupted\n"
