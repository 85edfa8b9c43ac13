"""Files that are being written: names that nobody else takes, and an end of those whose writers were killed."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import psutil

from osteon.core.processes import machine_mark

_PART = ".part-"
_TAIL = 24
"""Characters of a file's name that its temporary keeps: a name may be as long as the system allows."""
_LEFT = re.compile(rf"{re.escape(_PART)}(?:([0-9a-f]{{8}})-)?(\d+)-")
"""A temporary's machine (earlier ones named none) and process."""
_FORSAKEN_S = 24 * 3600.0
"""A temporary that another machine has not touched for so long is nobody's."""
_swept: set[Path] = set()


def temporary_beside(path: Path) -> Path:
    """Where a file is written until it is whole. No other process of any machine takes this name."""
    return path.with_name(f"{_PART}{machine_mark()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name[-_TAIL:]}")


def sweep(folder: Path) -> None:
    """Remove the temporaries of processes that were killed; a process looks once into a folder, which may be long."""
    if folder in _swept:
        return
    _swept.add(folder)
    with os.scandir(folder) as entries:
        left = [(folder / entry.name, found) for entry in entries if (found := _LEFT.match(entry.name))]
    for path, found in left:
        with suppress(OSError):
            here = found[1] == machine_mark()
            if not psutil.pid_exists(int(found[2])) if here else untouched_s(path) > _FORSAKEN_S:
                path.unlink()


def untouched_s(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the disk that it lies on; 0 where it is gone."""
    probe = path.with_name(f".probe-{secrets.token_hex(8)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)
