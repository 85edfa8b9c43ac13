"""What a request is refused with: a status of HTTP, and the words and the way out that every error has."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from osteon.core.errors import OsteonError

SPARE_BYTES = 10**9
"""Of the disk, that stay free."""


class RefusedError(OsteonError):
    """A request that is not carried out.

    Args:
        status: Of HTTP.
        message: What is wrong; it never holds a file's name, which may be a patient's.
        hint: The way out.
        headers: Of the answer, beside the usual ones.
    """

    def __init__(self, status: int, message: str, *, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = dict(headers or {})


def too_large(limit: int) -> RefusedError:
    """An upload, or what comes out of it, of more bytes than are allowed."""
    return RefusedError(
        413,
        f"the upload has more than {told_bytes(limit)}",
        hint="crop the scan, or start `osteon serve` with a larger --max-upload",
    )


def queue_full(held: int, most: int, wait_s: int) -> RefusedError:
    """No place for another job, or none for another upload from the same address."""
    full = held >= most
    return RefusedError(
        429,
        f"the queue is full: {most} uploads and jobs wait"
        if full
        else "many uploads already come in from this address",
        hint=f"try again in {wait_s} s",
        headers={"Retry-After": str(wait_s)},
    )


def no_job() -> RefusedError:
    """An id that names no job, or none any more."""
    return RefusedError(
        404, "there is no such job", hint="check the id; jobs are removed when they have been kept for --keep"
    )


def check_room(folder: Path, wanted: int = 0) -> None:
    """Raise RefusedError where the disk would be full."""
    if shutil.disk_usage(folder).free - wanted < SPARE_BYTES:
        raise RefusedError(507, "the server's disk is nearly full", hint="delete finished jobs, or ask who runs it")


def told_bytes(count: int) -> str:
    """`2 GB`, `20 MB`, `300 bytes`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
