"""What is not taken of uploads: the error that says so, and sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

from osteon.core.errors import UsageError

SPARE_BYTES = 10**9
"""Of the disk, that stay free."""


class RefusedError(UsageError):
    """An upload, or a name in it, that is not taken."""


def too_large(limit: int) -> RefusedError:
    """The error for more bytes than are allowed."""
    return RefusedError(f"more than {limit / 1e9:.3g} GB", hint="start `osteon app` with a larger --upload-limit")


def check_room(folder: Path, wanted: int) -> None:
    """Raise RefusedError where the disk would be full."""
    if shutil.disk_usage(folder).free - wanted < SPARE_BYTES:
        raise RefusedError("the disk is nearly full", hint="free some space, then upload again")
