"""Freed memory: kept where a training takes it again in every iteration, returned where it is short or idle."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
"""mallopt(3)."""
_TRIM_BYTES = (1 << 31) - 1
_TOP_PAD_BYTES = 64 << 20
_MMAP_BYTES = 4 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep large blocks that are freed for the next ones of their size, until the process ends.

    glibc otherwise gives every block above 32 MB, as patches of 64³ voxels have them, back to the system at once, and
    gets it anew in the next iteration, page by page and filled with zeros.

    Returns:
        Whether it does: other C libraries do not give memory back so readily, and are left as they are.
    """
    return _mallopt((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _TRIM_BYTES), (_TOP_PAD, _TOP_PAD_BYTES))


def return_freed_memory() -> bool:
    """Let the C library give every block of 4 MB and more back as soon as it is freed, until the process ends.

    Once a block of up to 32 MB was freed, glibc otherwise lays all up to its size side by side (mallopt(3), dynamic
    mmap threshold), and what is freed between others stays with the process: 150 MB of a prediction that took 800.

    Returns:
        Whether it does, as for `keep_freed_memory`.
    """
    return _mallopt((_MMAP_THRESHOLD, _MMAP_BYTES))


def _mallopt(*choices: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    return all(mallopt(what, value) == 1 for what, value in choices)


def trim_heap() -> bool:
    """Return to the system the freed memory that the C library keeps (malloc_trim(3)).

    Returns:
        Whether there was any: other C libraries than glibc are left as they are.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError, TypeError):
        return False
