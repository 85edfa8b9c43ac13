"""Groups of processes, a leader and what it starts: begun, interrupted, ended together, on any operating system."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

POLL_EVERY_S = 0.05
START_TIME_TOLERANCE_S = 2.0
"""Two times of a process's beginning differ by less: a clock that is set meanwhile shifts them."""
INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""The signals that ask a group to end."""
TERMINATION_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals with which schedulers, containers and closed terminals end a process."""
REPEAT_S = 1.0
"""A signal that comes twice within less came from one sender to process and group, such as `timeout`."""
IMPORT_POLL_S = 0.05
"""Until it is checked again whether an import has ended."""
_received: list[tuple[int, float]] = []
"""The signal that ended this process, and when it arrived last."""


@cache
def machine_id() -> str:
    """The host, and the container on it, within which a process id means one process.

    Many machines of a cluster may have one name: which of them it is shows by the kernel's start
    (https://docs.kernel.org/admin-guide/sysctl/kernel.html, random/boot_id).
    """
    space, start = "", ""
    with suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))  # noqa: PTH115 (leads to no file)
    host = socket.gethostname().encode("ascii", "backslashreplace").decode()  # files of locks are ASCII
    return f"{host.replace(' ', '-') or 'unknown'}:{space}:{start}"


@cache
def machine_hash() -> str:
    """Eight hexadecimal digits that stand for `machine_id` in names of files."""
    return hashlib.sha256(machine_id().encode()).hexdigest()[:8]


def group_leader_options() -> dict[str, Any]:
    """Options of `Popen` for the leader of a new process group, which the terminal's Ctrl-C does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def start_time(pid: int) -> float:
    """When a process started, in seconds since 1970; 0 where there is none, or only a zombie."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0


def is_process_alive(pid: int, started: float) -> bool:
    """Whether the process that started at `started` is alive; another one with its number does not count."""
    actual = start_time(pid)
    return actual > 0 and abs(actual - started) < START_TIME_TOLERANCE_S


def is_group_alive(pid: int, started: float) -> bool:
    """Whether anything lives of the group whose leader started at `started`; without groups the leader alone counts."""
    if pid and start_time(pid):
        return is_process_alive(pid, started)
    return bool(started) and bool(group_members(pid))


def group_members(leader: int) -> set[psutil.Process]:
    """Living processes of a group; where the system knows none, its leader and what descends from it."""
    if hasattr(os, "getpgid"):
        found = [process for process in psutil.process_iter() if _group_of(process.pid) == leader]
    else:
        found = []
        with suppress(psutil.Error):
            found.append(psutil.Process(leader))
            found += found[0].children(recursive=True)
    return {process for process in found if _is_running(process)}


def interrupt_group(leader: int) -> None:
    """Press Ctrl-C for a group (on Windows Ctrl-Break, see `handle_ctrl_break`)."""
    if sys.platform == "win32":
        with suppress(OSError):
            os.kill(leader, signal.CTRL_BREAK_EVENT)
        return
    for process in group_members(leader):
        with suppress(psutil.Error):
            process.send_signal(signal.SIGINT)


def terminate_group(leader: int, grace_s: float) -> None:
    """Terminate a process group; what lives after `grace_s` is killed."""
    members: set[psutil.Process] = set()
    for end in (psutil.Process.terminate, psutil.Process.kill):
        signalled: set[psutil.Process] = set()
        until = time.monotonic() + grace_s
        while time.monotonic() < until or not signalled:
            # Without groups a member is found by its leader alone, and not again once that has ended.
            members = {process for process in members | group_members(leader) if _is_running(process)}
            if not members:
                return
            for process in members - signalled:
                with suppress(psutil.Error):
                    end(process)
            signalled |= members
            time.sleep(POLL_EVERY_S)


def interrupt_self() -> None:
    """Press Ctrl-C for this process, from any of its threads."""
    _signal_self(signal.SIGINT)


def _signal_self(number: int) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)  # there os.kill would end it
    else:
        os.kill(os.getpid(), number)  # reaches a main thread that waits in the system, too


def handle_termination_signals() -> None:
    """Handle SIGTERM and SIGHUP as Ctrl-C: the work ends in order, and `received_signal` has the exit code's signal.

    One that is ignored (`nohup`) stays so.
    """
    for number in TERMINATION_SIGNALS if threading.current_thread() is threading.main_thread() else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, termination_handler)


def termination_handler(number: int, frame: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt, once for one signal. Ctrl-C raises another one at any time.

    While a module is loaded it waits for that: an exception that comes into torch's loading ends the process by
    SIGABRT, one that comes while a class is made becomes another, and Python ends by SIGINT after one in a dataclass.
    """
    if _is_importing(frame):
        again = threading.Timer(IMPORT_POLL_S, _signal_self, (number,))
        again.daemon = True
        again.start()
        return
    repeated, now = bool(_received), time.monotonic()
    if repeated and now - _received[0][1] < REPEAT_S:
        return
    _received[:] = [(_received[0][0] if repeated else number, now)]
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Whether what was interrupted is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def received_signal() -> int:
    """The signal that this process was ended by; SIGINT where none was recorded."""
    return int(_received[0][0] if _received else signal.SIGINT)


@contextmanager
def notify_on_signals(notify: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Let Ctrl-C, SIGTERM and SIGHUP call `notify` in this block, except where another program handles or ignores them.

    `notify` is called with the signal's number, between any two steps of the main thread. In another thread nothing is
    called: no signal arrives there. Yields what puts these handlers back where a library has put its own before them.
    """
    usual = {signal.SIGINT: (signal.default_int_handler,)} | dict.fromkeys(
        TERMINATION_SIGNALS, (signal.SIG_DFL, termination_handler)
    )
    before = {number: handler for number in usual if (handler := signal.getsignal(number)) in usual[number]}

    def install() -> None:
        for number in before:
            signal.signal(number, lambda number, _frame: notify(number))

    if threading.current_thread() is not threading.main_thread():
        before.clear()
    try:
        install()
        yield install
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_for_signal(number: int) -> None:
    """End as the signal would have ended the process, had it not been handled.

    Raises:
        KeyboardInterrupt: Of Ctrl-C, or of a signal that is handled as Ctrl-C.
        SystemExit: Of another signal, where it is not handled as Ctrl-C: with 128 and the signal's number.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    handled: bool = signal.getsignal(number) is termination_handler
    if handled:
        termination_handler(number)
    raise SystemExit(128 + number)


def handle_ctrl_break() -> None:
    """Handle Ctrl-Break, which alone reaches a group on Windows, as Ctrl-C; elsewhere do nothing."""
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, lambda *_: signal.raise_signal(signal.SIGINT))


def _group_of(pid: int) -> int:
    with suppress(OSError):
        return os.getpgid(pid)
    return -1


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
