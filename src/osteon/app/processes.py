"""Process groups: whether one is alive, and how it is ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil


def is_alive(pid: int, since: float) -> bool:
    """Whether the group of a leader is alive that began at `since`; another process with its number does not count."""
    began = began_at(pid) if pid else 0.0
    if began:
        return abs(began - since) < 2
    return bool(since) and members_of(pid) != []


def end_group(pid: int, grace_s: float) -> None:
    """End a process group: asked first, killed after `grace_s`."""
    for signal_number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        try:
            os.killpg(pid, signal_number)
        except (ProcessLookupError, PermissionError):
            return
        if _wait(lambda: not members_of(pid), patience):
            return


def began_at(pid: int) -> float:
    """When a process began; 0 where there is none, or only a zombie."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0


def members_of(group: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with suppress(ProcessLookupError, psutil.Error):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.info["pid"]) == group:
                found.append(process.info["pid"])
    return found


def _wait(met: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if met():
            return True
        time.sleep(0.05)
    return met()
