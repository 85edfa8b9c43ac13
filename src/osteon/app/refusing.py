"""What is not taken: names that lead elsewhere or mean something to a browser, and sizes."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path, PurePosixPath

from osteon.core.errors import UsageError

SPARE_BYTES = 10**9
"""Of the disk, that stay free."""
DEEPEST, LONGEST_PART, LONGEST_PATH = 16, 200, 900
_REFUSED = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class RefusedError(UsageError):
    """An upload, or a name in it, that is not taken."""


def relative_path(name: str) -> PurePosixPath:
    """The path that a browser or an archive names, as one below the folder it goes to.

    Raises:
        RefusedError: It leads elsewhere, is too long or too deep, or holds characters that mean something to HTML, to a
            shell or to other systems.
    """
    name = unicodedata.normalize("NFC", name)
    parts = name.split("/")
    hint = "rename it: letters, digits, spaces, dots, dashes and underscores are taken"
    if _REFUSED.search(name) or not name.isprintable():
        raise RefusedError("a file's name holds characters that are not taken", hint=hint)
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise RefusedError("a file's name leads out of its folder", hint=hint)
    if any(_DEVICES.fullmatch(part) for part in parts):
        raise RefusedError("a file's name means a device", hint=hint)
    if len(parts) > DEEPEST or len(name.encode()) > LONGEST_PATH or any(len(p.encode()) > LONGEST_PART for p in parts):
        raise RefusedError(
            "a file's name is too long, or lies in too many folders", hint="shorten it, or zip fewer folders"
        )
    return PurePosixPath(name)


def too_large(limit: int) -> RefusedError:
    """The error for more bytes than are allowed."""
    return RefusedError(f"more than {limit / 1e9:.3g} GB", hint="start `osteon app` with a larger --upload-limit")


def check_room(folder: Path, wanted: int) -> None:
    """Raise RefusedError where the disk would be full."""
    if shutil.disk_usage(folder).free - wanted < SPARE_BYTES:
        raise RefusedError("the disk is nearly full", hint="free some space, then upload again")
