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
from types import FrameType
from typing import Any

import psutil

LOOK_EVERY_S = 0.05
SAME_S = 2.0
"""Two times of a process's beginning differ by less: a clock that is set meanwhile shifts them."""
INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""What a group can be asked to end with."""
ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What schedulers, containers and closed terminals end a process with."""
AGAIN_S = 1.0
"""An ending that comes twice within less came from one that sends it to process and group, such as `timeout`."""
LOADING_S = 0.05
"""After so long it is seen whether a module that was being loaded is."""
_ended: list[tuple[int, float]] = []
"""With what this process was ended, and when it was heard last."""


@cache
def machine() -> str:
    """Where a number of a process means that process: the host, and the container on it."""
    space = ""
    with suppress(OSError):
        space = "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))  # noqa: PTH115 (leads to no file)
    host = socket.gethostname().encode("ascii", "backslashreplace").decode()  # files of locks are ASCII
    return f"{host.replace(' ', '-') or 'unknown'}:{space}"


@cache
def machine_mark() -> str:
    """Eight digits that stand for `machine` in names of files."""
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def leader_options() -> dict[str, Any]:
    """What `Popen` needs for a leader of a group of its own, which the terminal's Ctrl-C does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def began_at(pid: int) -> float:
    """When a process began; 0 where there is none, or only a zombie."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0


def is_same(pid: int, since: float) -> bool:
    """Whether the process that began at `since` is alive; another one with its number does not count."""
    began = began_at(pid)
    return began > 0 and abs(began - since) < SAME_S


def is_alive(pid: int, since: float) -> bool:
    """Whether anything is alive of the group whose leader began at `since`; without groups, the leader alone counts."""
    if pid and began_at(pid):
        return is_same(pid, since)
    return bool(since) and bool(members_of(pid))


def members_of(leader: int) -> set[psutil.Process]:
    """Living processes of a group; where the system knows none, its leader and what descends from it."""
    if hasattr(os, "getpgid"):
        found = [process for process in psutil.process_iter() if _group_of(process.pid) == leader]
    else:
        found = []
        with suppress(psutil.Error):
            found.append(psutil.Process(leader))
            found += found[0].children(recursive=True)
    return {process for process in found if _lives(process)}


def interrupt_group(leader: int) -> None:
    """Press Ctrl-C for a group (on Windows Ctrl-Break, see `heed_break`)."""
    if sys.platform == "win32":
        with suppress(OSError):
            os.kill(leader, signal.CTRL_BREAK_EVENT)
        return
    for process in members_of(leader):
        with suppress(psutil.Error):
            process.send_signal(signal.SIGINT)


def end_group(leader: int, grace_s: float) -> None:
    """End a group: asked first, killed after `grace_s`."""
    members: set[psutil.Process] = set()
    for end in (psutil.Process.terminate, psutil.Process.kill):
        told: set[psutil.Process] = set()
        until = time.monotonic() + grace_s
        while time.monotonic() < until or not told:
            # Without groups a member is found by its leader alone, and not again once that has ended.
            members = {process for process in members | members_of(leader) if _lives(process)}
            if not members:
                return
            for process in members - told:
                with suppress(psutil.Error):
                    end(process)
            told |= members
            time.sleep(LOOK_EVERY_S)


def interrupt_self() -> None:
    """Press Ctrl-C for this process, from any of its threads."""
    _signal_self(signal.SIGINT)


def _signal_self(number: int) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)  # there os.kill would end it
    else:
        os.kill(os.getpid(), number)  # reaches a main thread that waits in the system, too


def heed_endings() -> None:
    """Take SIGTERM and SIGHUP for Ctrl-C: the work ends in order, and `ended_by` says what the exit code is.

    One that is ignored (`nohup`) stays so.
    """
    for number in ENDINGS if threading.current_thread() is threading.main_thread() else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end_in_order)


def end_in_order(number: int, frame: FrameType | None = None) -> None:
    """The handler: raises KeyboardInterrupt, once for one ending. Ctrl-C raises another one at any time.

    While a module is loaded it waits for that: an exception that comes into torch's loading ends the process by
    SIGABRT, one that comes while a class is made becomes another, and Python ends by SIGINT after one in a dataclass.
    """
    if _is_loading(frame):
        again = threading.Timer(LOADING_S, _signal_self, (number,))
        again.daemon = True
        again.start()
        return
    heard, now = bool(_ended), time.monotonic()
    if heard and now - _ended[0][1] < AGAIN_S:
        return
    _ended[:] = [(_ended[0][0] if heard else number, now)]
    raise KeyboardInterrupt


def _is_loading(frame: FrameType | None) -> bool:
    """Whether what was interrupted is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def ended_by() -> int:
    """The number of the signal that this process was ended by; that of Ctrl-C where none was noted."""
    return int(_ended[0][0] if _ended else signal.SIGINT)


@contextmanager
def endings_noted(note: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Let Ctrl-C, SIGTERM and SIGHUP call `note` in this block, except where another program handles or ignores them.

    `note` is called with the signal's number, between any two steps of the main thread. In another thread nothing is
    noted: no signal arrives there. Yields what puts these handlers back where a library has put its own before them.
    """
    usual = {signal.SIGINT: (signal.default_int_handler,)} | dict.fromkeys(ENDINGS, (signal.SIG_DFL, end_in_order))
    before = {number: handler for number in usual if (handler := signal.getsignal(number)) in usual[number]}

    def take() -> None:
        for number in before:
            signal.signal(number, lambda heard, _frame: note(heard))

    if threading.current_thread() is not threading.main_thread():
        before.clear()
    try:
        take()
        yield take
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_for(number: int) -> None:
    """End as the signal would have, had it not been noted.

    Raises:
        KeyboardInterrupt: Of Ctrl-C, or where endings are taken for it.
        SystemExit: Where they are not: with 128 and the signal's number.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    taken: bool = signal.getsignal(number) is end_in_order
    if taken:
        end_in_order(number)
    raise SystemExit(128 + number)


def heed_break() -> None:
    """Take Ctrl-Break, which alone reaches a group on Windows, for Ctrl-C; elsewhere nothing."""
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, lambda *_: signal.raise_signal(signal.SIGINT))


def _group_of(pid: int) -> int:
    with suppress(OSError):
        return os.getpgid(pid)
    return -1


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
