"""Temporary files: names that no other process takes, and the removal of those whose writers were killed."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import psutil

from osteon.core.processes import machine_hash

_PART = ".part-"
_TAIL = 24
"""Characters of a file's name that its temporary keeps: a name may be as long as the system allows."""
_TEMPORARY = re.compile(rf"{re.escape(_PART)}(?:([0-9a-f]{{8}})-)?(\d+)-")
"""A temporary's machine (earlier ones named none) and process."""
_STALE_S = 24 * 3600.0
"""A temporary file that another machine has not touched for so long is stale."""
_cleaned: set[Path] = set()


def temporary_path(path: Path) -> Path:
    """Where a file is written until it is whole. No other process of any machine takes this name."""
    return path.with_name(f"{_PART}{machine_hash()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name[-_TAIL:]}")


def remove_stale(folder: Path) -> None:
    """Remove the temporaries of processes that were killed; a process looks once into a folder, which may be long."""
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    with os.scandir(folder) as entries:
        left = [(folder / entry.name, found) for entry in entries if (found := _TEMPORARY.match(entry.name))]
    for path, found in left:
        with suppress(OSError):
            here = found[1] == machine_hash()
            if not psutil.pid_exists(int(found[2])) if here else age_s(path) > _STALE_S:
                path.unlink()


def age_s(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the disk that it lies on; 0 where it is gone."""
    probe = path.with_name(f".probe-{secrets.token_hex(8)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)
