"""Freed memory: kept where a training takes it again in every iteration, given back where it is short or idle."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
"""mallopt(3)."""
_KEPT = (1 << 31) - 1
_PAD = 64 << 20
_APART = 4 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep large blocks that are freed for the next ones of their size, until the process ends.

    glibc otherwise gives every block above 32 MB, as patches of 64³ voxels have them, back to the system at once, and
    gets it anew in the next iteration, page by page and filled with zeros.

    Returns:
        Whether it does: other C libraries do not give memory back so readily, and are left as they are.
    """
    return _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PAD))


def return_freed_memory() -> bool:
    """Let the C library give every block of 4 MB and more back as soon as it is freed, until the process ends.

    Once a block of up to 32 MB was freed, glibc else lays all up to its size side by side (mallopt(3), dynamic mmap
    threshold), and what is freed among others stays with the process: of a prediction that took 800 MB another 150.

    Returns:
        Whether it does, as for `keep_freed_memory`.
    """
    return _set((_MMAP_THRESHOLD, _APART))


def _set(*choices: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    return all(mallopt(what, value) == 1 for what, value in choices)


def give_back() -> bool:
    """Give the system what the C library keeps of freed memory.

    Returns:
        Whether there was any: other C libraries than glibc are left as they are.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError, TypeError):
        return False
