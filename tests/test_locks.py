"""Locks on files: one thread of one process, whichever way the system has; dead holders are followed by one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
from pathlib import Path
from threading import Thread

import pytest

from children import LONG_S, finish, python
from osteon.core import locks, processes
from osteon.core.errors import FileError, UsageError
from osteon.core.files import write_json
from osteon.core.locks import exclusive_lock, lock_across_machines, lock_file, lock_folder

MSVCRT = """
import fcntl
LK_UNLCK, LK_NBLCK = 0, 2
def locking(handle, mode, count):
    fcntl.flock(handle, fcntl.LOCK_UN if mode == LK_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)
"""
WAYS = {
    "flock": "",
    "msvcrt": "import subprocess, sys, windows\nsys.modules |= {'fcntl': None, 'msvcrt': windows}",
    "named": "import sys\nsys.modules['fcntl'] = None",
}
COUNTING = """
import sys, threading, time
from pathlib import Path
from osteon.core.locks import fcntl, lock_file, msvcrt
folder = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
def count():
    for _ in range(15):
        with lock_file(folder / ".lock", wait=True):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))
threads = [threading.Thread(target=count) for _ in range(3)]
(folder / "ready").open("a").write("x")
while (folder / "ready").stat().st_size < 3:
    time.sleep(0.01)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("flock" if fcntl else "msvcrt" if msvcrt else "named")
"""


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the three locks, in this process and in those that look into `tmp_path / "site"` first."""
    name: str = request.param
    site = tmp_path / "site"
    site.mkdir()
    if name == "msvcrt":
        (site / "windows.py").write_text(MSVCRT)
        spec = importlib.util.spec_from_file_location("windows", site / "windows.py")
        assert spec is not None
        assert spec.loader is not None
        windows = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(windows)
        monkeypatch.setattr(locks, "msvcrt", windows)
    (site / "sitecustomize.py").write_text(WAYS[name])
    if name != "flock":
        monkeypatch.setattr(locks, "fcntl", None)
    return name


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock, and does not let go of it."""
    code = (
        "import time\nfrom pathlib import Path\nfrom osteon.core.locks import lock_file\n"
        f"with lock_file(Path({str(folder / '.lock')!r}), wait=False):\n"
        "    print('held', flush=True)\n    time.sleep(600)"
    )
    process = python(code, folder / "site")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_thread_of_one_process_holds_a_lock(way: str, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    code = COUNTING.replace("FOLDER", repr(str(tmp_path)))
    counting = [python(code, tmp_path / "site") for _ in range(3)]
    try:
        assert [finish(process) for process in counting] == [f"{way}\n"] * 3
    finally:
        for process in counting:
            process.kill()
    assert (tmp_path / "number").read_text() == str(3 * 3 * 15)


@pytest.mark.usefixtures("way")
def test_a_lock_that_is_held_is_refused_or_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock_file(path, wait=False):
        with pytest.raises(BlockingIOError), lock_file(path, wait=False):
            pass
        seen: list[str] = []

        def later() -> None:
            with lock_file(path, wait=True):
                seen.append("held")

        thread = Thread(target=later)
        thread.start()
        time.sleep(0.2)
        assert seen == []
    thread.join(LONG_S)
    assert seen == ["held"]
    with lock_file(path, wait=False):
        pass


@pytest.mark.usefixtures("way")
def test_what_fails_in_the_block_lets_go_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_file(tmp_path / ".lock", wait=False):
        raise ZeroDivisionError
    with lock_file(tmp_path / ".lock", wait=False):
        pass


@pytest.mark.usefixtures("way")
def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(BlockingIOError), lock_file(tmp_path / ".lock", wait=False):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with lock_file(tmp_path / ".lock", wait=False):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"site", ".lock"}


def test_many_who_find_a_dead_holder_take_its_place_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    path, most, inside = tmp_path / ".lock", [0], [0]
    remove = Path.unlink

    def slow(self: Path, missing_ok: bool = False) -> None:
        time.sleep(0.002)  # whoever is to remove it has looked, and does not yet
        remove(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", slow)
    monkeypatch.setattr(locks, "POLL_EVERY_S", 0.001)

    def take() -> None:
        with lock_file(path, wait=True):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            inside[0] -= 1

    for number in range(30):
        path.write_text(f"{os.getpid()} 1.0 {number:016x}")  # that process began at another time
        threads = [Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


def test_who_died_over_taking_a_dead_holders_place_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / ".lock"
    path.write_text(f"{os.getpid()} 1.0 aa")
    path.with_name(".lock-aa").write_text(f"{os.getpid()} 1.0 bb")
    with lock_file(path, wait=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_lost_is_left_to_its_new_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / ".lock"
    with lock_file(path, wait=False):
        path.write_text("another")
    assert path.read_text() == "another"


def test_a_holder_that_was_killed_before_it_wrote_its_name_is_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / ".lock"
    path.touch()
    with pytest.raises(BlockingIOError), lock_file(path, wait=False):
        pass
    old = time.time() - locks.UNNAMED_LEASE_S - 1
    os.utime(path, (old, old))
    with lock_file(path, wait=False):
        pass


def elsewhere(path: Path, age_s: float) -> None:
    """The file of a holder on another machine, touched so long ago."""
    path.write_text(f"{os.getpid()} 1.0 aa node7:1 {time.time():.0f}")
    touched = time.time() - age_s
    os.utime(path, (touched, touched))


HOLDING = """
import time
from pathlib import Path
from osteon.core.locks import lock_folder
with lock_folder(Path(FOLDER), "another training", "wait"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_held_folder_is_refused_with_its_holder_and_free_when_that_is_killed(tmp_path: Path) -> None:
    process = python(HOLDING.replace("FOLDER", repr(str(tmp_path / "run"))), tmp_path / "site")
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        message = rf"run: another training works in it \(process {process.pid} on \S+, since \d{{4}}-\d\d-\d\d \d\d:"
        with pytest.raises(UsageError, match=message), lock_folder(tmp_path / "run", "another training", "wait"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with lock_folder(tmp_path / "run", "another training", "wait"):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_was_made_to_be_held_goes_where_nothing_was_written(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b", "x", "y"):
        pass
    assert not (tmp_path / "a" / "b").exists()
    with lock_folder(tmp_path / "c", "x", "y"):
        (tmp_path / "c" / "file").touch()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["file"]
    (tmp_path / "file").touch()
    with pytest.raises(FileError), lock_folder(tmp_path / "file", "x", "y"):
        pass


def test_no_kernels_lock_is_needed_and_two_threads_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock_across_machines(path, wait=False):
        with pytest.raises(BlockingIOError), lock_across_machines(path, wait=False):
            pass
        with lock_file(tmp_path / "other", wait=False):
            pass
    most, inside = [0], [0]

    def take() -> None:
        with exclusive_lock(tmp_path / "folder" / ".case.lock"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= 1

    threads = [Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert most == [1]
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_holder_on_another_machine_is_believed_while_it_touches_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    path.parent.mkdir()
    elsewhere(path, locks.LEASE_S / 2)
    with pytest.raises(UsageError, match="on node7, since"), lock_folder(path.parent, "another training", "wait"):
        pass
    elsewhere(path, locks.LEASE_S + 1)
    with lock_folder(path.parent, "another training", "wait"):
        pass
    assert list(path.parent.iterdir()) == []


def test_who_waits_for_one_holder_looks_ever_more_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pauses = tmp_path / ".lock", list[float]()
    elsewhere(path, 1)

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 20:
            path.write_text(f"{os.getpid()} 1.0 bb node8:1 {time.time():.0f}")
        if len(pauses) == 22:
            path.unlink()

    monkeypatch.setattr(locks.time, "sleep", sleep)
    with exclusive_lock(path):
        pass
    assert pauses[:3] == pytest.approx([0.02, 0.03, 0.045])
    assert pauses[15:] == pytest.approx([1, 1, 1, 1, 1, 0.02, 0.03])


def test_a_holder_touches_its_file_while_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.01)
    path = tmp_path / ".lock"
    with lock_across_machines(path, wait=False):
        os.utime(path, (1, 1))
        until = time.monotonic() + LONG_S
        while path.stat().st_mtime < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 2


@pytest.mark.parametrize("host", ["Jürgens-PC", "\udcfc"])
def test_a_machine_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(processes.socket, "gethostname", lambda: host)
    cached = processes.machine_id, processes.machine_hash
    for function in cached:
        function.cache_clear()
    try:
        with lock_folder(tmp_path, "osteon train", "wait"):
            write_json(tmp_path / "facts.json", {})
            with pytest.raises(UsageError, match="osteon train works in it"), lock_folder(tmp_path, "osteon train", ""):
                pass
        assert sorted(path.name for path in tmp_path.iterdir()) == ["facts.json"]
    finally:
        for function in cached:
            function.cache_clear()


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="the kernel does not tell")
def test_machines_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = processes.machine_id()
    with lock_folder(tmp_path, "osteon train", "wait"):
        other = mine[: mine.rindex(":")] + ":another-start"
        monkeypatch.setattr(locks, "machine_id", lambda: other)
        text = (
            (tmp_path / ".lock").read_text().replace(str(os.getpid()), "999999999")
        )  # no process here has this number
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(UsageError, match="osteon train works in it"), lock_folder(tmp_path, "osteon train", ""):
            pass
        (tmp_path / ".lock").unlink()


def test_a_locks_file_is_its_owners_alone(tmp_path: Path) -> None:
    with lock_file(tmp_path / ".lock", wait=False):
        assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o600
