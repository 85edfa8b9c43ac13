"""Freed memory: kept where a training takes it again in every iteration, given back where a server idles."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""mallopt(3)."""
_KEPT = (1 << 31) - 1
_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep large blocks that are freed for the next ones of their size, until the process ends.

    glibc otherwise gives every block above 32 MB, as patches of 64³ voxels have them, back to the system at once, and
    gets it anew in the next iteration, page by page and filled with zeros.

    Returns:
        Whether it does: other C libraries do not give memory back so readily, and are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    return all(
        mallopt(what, value) == 1 for what, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PAD))
    )


def give_back() -> bool:
    """Give the system what the C library keeps of freed memory.

    Returns:
        Whether there was any: other C libraries than glibc are left as they are.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError, TypeError):
        return False
