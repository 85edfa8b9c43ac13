"""The files below a folder: links followed, each folder once; and the paths there whose files are missing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from osteon.core.file_names import natural_key
from osteon.core.files import is_file

_POINTERS = (b"version https://git-lfs.github.com/spec/", b"annex/objects/", b"annex\\objects\\")
"""What stands in the file that Git LFS or git-annex leaves in the place of one that was not fetched."""
_MAX_POINTER_BYTES = 1024
"""Bytes (github.com/git-lfs/git-lfs, docs/spec.md; git-annex.branchable.com/internals/pointer_file)."""
BLOCK_BYTES = 512
"""Bytes in which systems count a file's blocks, whatever the disk's own are (POSIX, sys/stat.h)."""


def user_cache() -> Path:
    """The folder of osteon's in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "osteon"


def files_below(folder: Path, *, hidden: bool = True, skip_with: str | None = None) -> Iterator[Path]:
    """All files below a folder, in an order that is the same on every machine.

    Links are followed, and each folder is read once: a link to a folder that is reached without it, or that holds the
    link itself, leads nowhere new.

    Args:
        folder: Where to begin.
        hidden: Whether files and folders that begin with a dot are taken.
        skip_with: Folders below `folder` that hold a file of this name are skipped.
    """
    return (path for path in _paths_below(folder, hidden, skip_with) if is_file(path))


def missing_files_below(folder: Path, *, skip_with: str | None = None) -> Iterator[tuple[Path, str]]:
    """The paths below a folder whose files are missing, and what lies in their place. Hidden ones are skipped.

    Args:
        folder: Where to begin.
        skip_with: As for `files_below`.
    """
    for path in _paths_below(folder, False, skip_with):
        if path.is_symlink() and not path.exists():
            yield path, f"a link to {path.readlink()}, which is not there"
        elif is_pointer_file(path):
            yield path, "a pointer of Git LFS or git-annex to a file that was not fetched"


def is_pointer_file(path: Path) -> bool:
    """Whether a file is only what Git LFS or git-annex leaves in the place of one that was not fetched."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_POINTER_BYTES:
            return False
        head = path.read_bytes()
    except (OSError, ValueError):
        return False
    return head.startswith(_POINTERS[0]) or any(head.count(b"\n") < 2 and mark in head for mark in _POINTERS[1:])


def _paths_below(folder: Path, hidden: bool, skip_with: str | None) -> Iterator[Path]:
    """All paths below a folder that are no folders, broken links among them."""
    top = os.path.realpath(folder)
    seen = {top}

    def leads_on(name: str, above: str) -> bool:
        path = os.path.join(above, name)  # noqa: PTH118 (os.walk's)
        real = os.path.realpath(path)
        if os.path.islink(path):  # noqa: PTH114
            within = Path(real).relative_to(top).parts if _is_within(real, top) else None
            met = within is not None and (hidden or not any(part.startswith(".") for part in within))
            if met or _is_within(os.path.realpath(above), real):
                return False
        if real in seen:
            return False
        seen.add(real)
        return True

    for root, folders, names in os.walk(folder, followlinks=True):
        if skip_with in names and Path(root) != Path(folder):
            folders.clear()
            continue
        folders[:] = [n for n in sorted(folders, key=natural_key) if (hidden or n[0] != ".") and leads_on(n, root)]
        yield from (Path(root) / name for name in sorted(names, key=natural_key) if hidden or name[0] != ".")


def _is_within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def folder_size(folder: Path, seen: set[tuple[int, int]] | None = None) -> int:
    """Bytes that a file or what is below a folder takes; links are not followed, and a file of two names counts once.

    Args:
        folder: Where to begin.
        seen: Files of two names that were counted; new ones are added.
    """
    seen = set() if seen is None else seen
    total, pending = 0, [str(folder)]
    while pending:
        path = pending.pop()
        try:
            stat_result = os.lstat(path)
            is_folder = stat.S_ISDIR(stat_result.st_mode)
            if stat_result.st_nlink > 1 and not is_folder:
                if (stat_result.st_dev, stat_result.st_ino) in seen:
                    continue
                seen.add((stat_result.st_dev, stat_result.st_ino))
            total += getattr(stat_result, "st_blocks", -(-stat_result.st_size // BLOCK_BYTES)) * BLOCK_BYTES
            if is_folder:
                pending += [entry.path for entry in os.scandir(path)]
        except OSError:  # removed meanwhile, or not readable
            continue
    return total
