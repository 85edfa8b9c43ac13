"""What a command finds where it starts: a terminal that is not of UTF-8, a limit on memory, a read-only home."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from osteon.cli.output import warn
from osteon.core.errors import is_out_of_memory
from osteon.core.platform import address_space_limit
from osteon.core.progress import is_quiet

MIN_BYTES = 2 << 30
"""Of address space, with which what needs torch still starts."""


def restart_in_utf8() -> None:
    """Let the command work in UTF-8, whatever the system's language settings are (`LC_ALL=C`, `PYTHONUTF8=0`).

    Names of files, and the files that libraries read by the locale's encoding (torch's own among them), need it; it
    cannot be changed in a process that runs, so the command begins anew in its place. Its output stays in the
    terminal's encoding, and what that does not have is replaced.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a program has put something else there
            stream.reconfigure(errors="replace")
    if os.name != "posix" or sys.flags.utf8_mode or not sys.executable or not sys.orig_argv[1:]:
        return  # names are UTF-16 on Windows
    if locale.getpreferredencoding(do_setlocale=False).lower().replace("-", "") == "utf8":
        return
    os.environ["PYTHONUTF8"] = "1"  # for the processes that are begun from here, too
    os.environ.setdefault("PYTHONIOENCODING", f"{getattr(sys.stdout, 'encoding', 'ascii')}:replace")
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


@contextmanager
def matplotlib_folder(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Give matplotlib a temporary folder inside the block where the home folder cannot be written to.

    By itself it would warn, in each process, and look for the system's fonts in each of them again.
    """
    folders = environment.get("XDG_CONFIG_HOME") or "~/.config", environment.get("XDG_CACHE_HOME") or "~/.cache"
    if "MPLCONFIGDIR" in environment or all(_can_write_below(Path(folder).expanduser()) for folder in folders):
        yield
        return
    with TemporaryDirectory(prefix="osteon-matplotlib-", ignore_cleanup_errors=True) as folder:
        environment["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            environment.pop("MPLCONFIGDIR", None)


def _can_write_below(folder: Path) -> bool:
    """Whether a folder can be written to, or made where it is not there yet."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return os.access(there, os.W_OK | os.X_OK)


def can_ask() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() and not is_quiet()


def warn_memory_limit() -> None:
    """Say before the work begins that there is little memory: libraries may end the process without a word."""
    if is_memory_tight():
        warn(
            f"the memory of a process is limited to {(address_space_limit() or 0) / 1e9:.1f} GB here (`ulimit -v`); "
            f"training and predicting need about {MIN_BYTES / 1e9:.0f} GB to start, and may stop"
        )


def is_memory_tight() -> bool:
    """Whether the process may use less memory than torch takes to start."""
    limit = address_space_limit()
    return limit is not None and limit < MIN_BYTES


def is_memory_error(error: Exception) -> bool:
    """Whether memory was what was lacking; where it is tight, libraries fail to load in ways of their own."""
    return is_out_of_memory(error) or (is_memory_tight() and isinstance(error, ImportError | SystemError))
