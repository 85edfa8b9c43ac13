"""A lock on a file that one thread of one process of this machine holds, however the others end."""

from __future__ import annotations

import errno
import importlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from osteon.core.processes import began_at, is_same

LOOK_EVERY_S = 0.02
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


def _takes_byte(windows: ModuleType, handle: int) -> bool:
    try:
        windows.locking(handle, windows.LK_NBLCK, 1)
    except OSError:
        return False
    return True


@contextmanager
def _named(path: Path, wait: bool) -> Iterator[None]:
    """By a file that only one can create, and that says who it was: process, its beginning, a word of its own."""
    own = f"{os.getpid()} {began_at(os.getpid())} {secrets.token_hex(8)}"
    while not _creates(path, own):
        holder = _read(path)
        if holder is not None and _is_dead(path, holder):
            _clear(path, holder)
        elif holder is not None:
            _pause(path, wait)
    try:
        yield
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
        pid, since, _ = holder.split()
        return not is_same(int(pid), float(since))
    except ValueError:
        with suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime > NAMELESS_S
        return False


def _clear(path: Path, holder: str) -> None:
    """Remove a dead holder's file, and never the file of one who was quicker to take its place.

    One at a time of those who found that holder dead looks again, and removes. Should this one die over it, its own
    lock is found dead in the same way.
    """
    word = holder.rpartition(" ")[2] or "nameless"
    try:
        with _named(path.with_name(f"{path.name}.{word}"), wait=False):
            if _read(path) == holder:
                path.unlink(missing_ok=True)
    except BlockingIOError:
        time.sleep(LOOK_EVERY_S)


def _pause(path: Path, wait: bool) -> None:
    if not wait:
        raise BlockingIOError(errno.EAGAIN, "another process or thread holds it", str(path))
    time.sleep(LOOK_EVERY_S)
