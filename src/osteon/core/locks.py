"""Locks on files that one thread of one process holds, however the others end: of this machine, or of several."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType

from osteon.core.errors import UsageError
from osteon.core.files import age_s, write_error
from osteon.core.processes import is_process_alive, machine_id, start_time

LOCK_NAME = ".lock"
"""Of the lock's file in a folder that is held."""
POLL_EVERY_S = 0.02
POLL_AT_LEAST_EVERY_S = 1.0
"""The longest interval: whoever waits for one and the same holder polls ever more seldom, since each poll of a
network's folder costs several calls."""
BACKOFF = 1.5
HEARTBEAT_S = 15.0
"""How often a holder touches its file while it lives."""
LEASE_S = 120.0
"""A holder on another machine that has not touched its file for so long is dead."""
UNNAMED_LEASE_S = 10.0
"""A holder's file that names nobody for so long is left by a process that was killed while it wrote it."""


def _import_if_there(name: str) -> ModuleType | None:
    with suppress(ImportError):
        return importlib.import_module(name)
    return None


fcntl, msvcrt = _import_if_there("fcntl"), _import_if_there("msvcrt")


@contextmanager
def lock_file(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock at `path`, whose folder is there, while the block runs.

    The kernel keeps it where it can (flock, Windows' locking): then it ends with its holder. Elsewhere a file names the
    holder, and whoever finds that one dead takes its place.

    Args:
        path: The lock's own file, in which nothing else is kept.
        wait: Until it is free.

    Raises:
        BlockingIOError: It is held, and `wait` is false.
        OSError: The file cannot be written.
    """
    if fcntl is None and msvcrt is None:
        with _lock_by_name(path, wait):
            yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # each opening excludes every other, of the same process too
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        elif msvcrt is not None:
            while not _try_lock_byte(msvcrt, handle):
                _pause(path, wait)
            try:
                yield
            finally:
                msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
    finally:
        os.close(handle)


@contextmanager
def lock_across_machines(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock at `path`, whose folder is there, while the block runs, against other machines too.

    A file names the holder, which touches it while it lives. No kernel's lock is used: shared folders of a network have
    none that can be trusted. A holder that was killed on this machine is followed at once, one of another machine when
    its file has not been touched for `LEASE_S`.

    Raises:
        BlockingIOError: It is held, and `wait` is false.
        OSError: The file cannot be written.
    """
    ended = threading.Event()
    with _lock_by_name(path, wait) as record:
        beat = threading.Thread(target=_renew_lease, args=(path, record, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()


@contextmanager
def lock_folder(folder: Path, what: str, hint: str) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, for one command alone.

    Args:
        folder: Whose contents the block writes.
        what: The command, as the message calls it.
        hint: The way out.

    Raises:
        UsageError: Another process has it; the message names it, its machine, and since when.
        FileError: The folder cannot be written.
    """
    missing = not folder.exists()
    try:
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock_across_machines(folder / LOCK_NAME, wait=False))
            except BlockingIOError:
                raise UsageError(
                    f"{folder}: {what} works in it{_describe_holder(folder / LOCK_NAME)}", hint=hint
                ) from None
            except OSError as error:
                raise write_error(folder, error) from error
            yield
    finally:
        if missing:
            with suppress(OSError):  # where something was written it stays
                folder.rmdir()


@contextmanager
def exclusive_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let nobody else, of any machine, into a block with this lock's file; its folder is made where missing.

    Raises:
        BlockingIOError: Somebody is in one, and `wait` is false.
        FileError: The folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            while True:
                path.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # the folder was tidied away in between
                    stack.enter_context(lock_across_machines(path, wait=wait))
                    break
        except BlockingIOError:
            raise
        except OSError as error:
            raise write_error(path, error) from error
        yield


def _describe_holder(path: Path) -> str:
    """` (process 7 on host, since 2026-01-01 12:00:00)`, for messages; empty where the file does not say."""
    parts = (_read_holder(path) or "").split()
    try:
        pid, _, _, host, since = parts
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(since)))
    except ValueError:
        return ""
    return f" (process {pid} on {host.partition(':')[0]}, since {when})"


def _renew_lease(path: Path, record: str, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        with suppress(OSError):
            if _read_holder(path) == record:
                os.utime(path)


def _try_lock_byte(windows: ModuleType, handle: int) -> bool:
    try:
        windows.locking(handle, windows.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _holder_record() -> str:
    """The text of a holder's file: process, its start time, a random token, the machine, the time."""
    return f"{os.getpid()} {start_time(os.getpid())} {secrets.token_hex(8)} {machine_id()} {time.time():.0f}"


@contextmanager
def _lock_by_name(path: Path, wait: bool) -> Iterator[str]:
    """Hold the lock by a file that only one can create; yields the holder's record in it."""
    record, before, pause_s = _holder_record(), None, POLL_EVERY_S
    while not _try_create(path, record):
        holder = _read_holder(path)
        pause_s = min(BACKOFF * pause_s, POLL_AT_LEAST_EVERY_S) if holder == before else POLL_EVERY_S
        before = holder
        if holder is not None and _is_dead(path, holder):
            _remove_dead_lock(path, holder)
        elif holder is not None:
            _pause(path, wait, pause_s)
    try:
        yield record
    finally:
        if _read_holder(path) == record:
            path.unlink()


def _try_create(path: Path, record: str) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(record)
    return True


def _read_holder(path: Path) -> str | None:
    """The record of the lock's holder; None where it was let go meanwhile."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii", errors="replace")
    return None


def _is_dead(path: Path, holder: str) -> bool:
    try:
        pid, since, _, *host = holder.split()
        if host and host[0] != machine_id():
            return age_s(path) > LEASE_S
        return not is_process_alive(int(pid), float(since))
    except ValueError:
        return age_s(path) > UNNAMED_LEASE_S


def _remove_dead_lock(path: Path, holder: str) -> None:
    """Remove a dead holder's file, and never the file of one who was quicker to take its place.

    One at a time of those who found that holder dead looks again, and removes. Should this one die over it, its own
    lock is found dead in the same way.
    """
    token = "".join(holder.split()[2:3])[:32] or hashlib.sha256(path.name.encode()).hexdigest()[:16]
    try:
        with _lock_by_name(path.with_name(f"{LOCK_NAME}-{token}"), wait=False):
            if _read_holder(path) == holder:
                path.unlink(missing_ok=True)
    except BlockingIOError:
        time.sleep(POLL_EVERY_S)


def _pause(path: Path, wait: bool, pause_s: float = POLL_EVERY_S) -> None:
    if not wait:
        raise BlockingIOError(errno.EAGAIN, "another process or thread holds it", str(path))
    time.sleep(pause_s)
