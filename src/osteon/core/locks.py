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
from osteon.core.files import write_error
from osteon.core.processes import began_at, is_same, machine
from osteon.core.temporary_files import untouched_s

NAME = ".lock"
"""Of the lock's file in a folder that is held."""
LOOK_EVERY_S = 0.02
LOOK_AT_LEAST_EVERY_S = 1.0
"""Who waits for one and the same holder looks ever more seldom: in a network's folder each look costs several calls."""
LONGER = 1.5
BEAT_EVERY_S = 15.0
"""How often a holder touches its file while it lives."""
LEASE_S = 120.0
"""A holder on another machine that has not touched its file for so long is dead."""
NAMELESS_S = 10.0
"""A holder's file that names nobody for so long is left by a process that was killed while it wrote it."""


def _module(name: str) -> ModuleType | None:
    with suppress(ImportError):
        return importlib.import_module(name)
    return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")


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
        with _named(path, wait):
            yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # each opening excludes every other, of the same process too
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        elif msvcrt is not None:
            while not _takes_byte(msvcrt, handle):
                _pause(path, wait)
            try:
                yield
            finally:
                msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
    finally:
        os.close(handle)


@contextmanager
def lock_everywhere(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock at `path`, whose folder is there, while the block runs, against other machines too.

    A file names the holder, which touches it while it lives. No kernel's lock is used: shared folders of a network have
    none that can be trusted. A holder that was killed on this machine is followed at once, one of another machine when
    its file has not been touched for `LEASE_S`.

    Raises:
        BlockingIOError: It is held, and `wait` is false.
        OSError: The file cannot be written.
    """
    ended = threading.Event()
    with _named(path, wait) as own:
        beat = threading.Thread(target=_beat, args=(path, own, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()


@contextmanager
def hold_folder(folder: Path, what: str, hint: str) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, for one command alone.

    Args:
        folder: Whose contents the block writes.
        what: The command, as it is called in the message.
        hint: The way out.

    Raises:
        UsageError: Another process has it; the message names it, its machine, and since when.
        FileError: The folder cannot be written.
    """
    missing = not folder.exists()
    try:
        with ExitStack() as held:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(lock_everywhere(folder / NAME, wait=False))
            except BlockingIOError:
                raise UsageError(f"{folder}: {what} works in it{_holder(folder / NAME)}", hint=hint) from None
            except OSError as error:
                raise write_error(folder, error) from error
            yield
    finally:
        if missing:
            with suppress(OSError):  # where something was written it stays
                folder.rmdir()


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until nobody else, of any machine, is in a block with this lock's file; its folder is made where missing.

    Raises:
        FileError: The folder cannot be written.
    """
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_everywhere(path, wait=True))
        except OSError as error:
            raise write_error(path, error) from error
        yield


def _holder(path: Path) -> str:
    """Who holds a lock, for people."""
    parts = (_read(path) or "").split()
    try:
        pid, _, _, host, since = parts
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(since)))
    except ValueError:
        return ""
    return f" (process {pid} on {host.partition(':')[0]}, since {when})"


def _beat(path: Path, own: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_EVERY_S):
        with suppress(OSError):
            if _read(path) == own:
                os.utime(path)


def _takes_byte(windows: ModuleType, handle: int) -> bool:
    try:
        windows.locking(handle, windows.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _own() -> str:
    """What a holder's file says: process, its beginning, a word of its own, the machine, the time."""
    return f"{os.getpid()} {began_at(os.getpid())} {secrets.token_hex(8)} {machine()} {time.time():.0f}"


@contextmanager
def _named(path: Path, wait: bool) -> Iterator[str]:
    """By a file that only one can create, and that says who it was."""
    own, before, pause_s = _own(), None, LOOK_EVERY_S
    while not _creates(path, own):
        holder = _read(path)
        pause_s = min(LONGER * pause_s, LOOK_AT_LEAST_EVERY_S) if holder == before else LOOK_EVERY_S
        before = holder
        if holder is not None and _is_dead(path, holder):
            _clear(path, holder)
        elif holder is not None:
            _pause(path, wait, pause_s)
    try:
        yield own
    finally:
        if _read(path) == own:
            path.unlink()


def _creates(path: Path, own: str) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(own)
    return True


def _read(path: Path) -> str | None:
    """Who holds the lock; None where it was let go meanwhile."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii", errors="replace")
    return None


def _is_dead(path: Path, holder: str) -> bool:
    try:
        pid, since, _, *host = holder.split()
        if host and host[0] != machine():
            return untouched_s(path) > LEASE_S
        return not is_same(int(pid), float(since))
    except ValueError:
        return untouched_s(path) > NAMELESS_S


def _clear(path: Path, holder: str) -> None:
    """Remove a dead holder's file, and never the file of one who was quicker to take its place.

    One at a time of those who found that holder dead looks again, and removes. Should this one die over it, its own
    lock is found dead in the same way.
    """
    word = "".join(holder.split()[2:3])[:32] or hashlib.sha256(path.name.encode()).hexdigest()[:16]
    try:
        with _named(path.with_name(f"{NAME}-{word}"), wait=False):
            if _read(path) == holder:
                path.unlink(missing_ok=True)
    except BlockingIOError:
        time.sleep(LOOK_EVERY_S)


def _pause(path: Path, wait: bool, pause_s: float = LOOK_EVERY_S) -> None:
    if not wait:
        raise BlockingIOError(errno.EAGAIN, "another process or thread holds it", str(path))
    time.sleep(pause_s)
