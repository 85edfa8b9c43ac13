"""What is not taken: names that lead elsewhere, and sizes; and the plain names of what is."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from pathlib import Path, PurePosixPath

from osteon.core.errors import UsageError

SPARE_BYTES = 10**9
"""Of the disk, that stay free."""
DEEPEST, LONGEST_PART, LONGEST_PATH = 16, 200, 900
_SUFFIX = 12
"""Letters at the end of a name among which its suffix is looked for."""
_DRIVE = re.compile(r"[A-Za-z]:")
_REFUSED = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class RefusedError(UsageError):
    """An upload, or a name in it, that is not taken."""


def relative_path(name: str) -> PurePosixPath:
    """The path below its folder under which a file is taken that a browser or an archive calls so.

    What means something to HTML, to a shell or to other systems becomes `_`, what is too long is cut and ends in a
    digest, and where folders lie too deep the first of them become one: an odd name refuses no folder.

    Raises:
        RefusedError: It leads elsewhere.
    """
    parts = re.split(r"[/\\]", unicodedata.normalize("NFC", name))
    if any(part in ("", ".", "..") for part in parts) or _DRIVE.match(parts[0]):
        raise RefusedError("a file's name leads out of its folder", hint="zip the folder itself, or choose it")
    deep = len(parts) - DEEPEST
    if deep > 0:
        parts = ["_".join(parts[: deep + 1]), *parts[deep + 1 :]]
    plain = [_plain(part, LONGEST_PART) for part in parts]
    if len("/".join(plain).encode()) > LONGEST_PATH:
        plain = [_plain(part, LONGEST_PATH // DEEPEST - 1) for part in plain]
    return PurePosixPath(*plain)


def free_path(path: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """The path, or one with a number where another file has it up to capitals; it is added to those taken."""
    free, number = path, 1
    while str(free).lower() in taken:
        number += 1
        stem, dot, suffix = path.name.partition(".")
        free = path.with_name(f"{stem}-{number}{dot}{suffix}")
    taken.add(str(free).lower())
    return free


def is_other(path: PurePosixPath, name: str) -> bool:
    """Whether a path is not the name, however its letters are composed and its folders are parted."""
    return str(path) != unicodedata.normalize("NFC", name).replace("\\", "/")


def _plain(part: str, longest: int) -> str:
    """A name of one file or folder on every system."""
    plain = "".join("_" if _REFUSED.match(sign) or not sign.isprintable() else sign for sign in part)
    if _DEVICES.fullmatch(plain) or not plain.strip(". "):
        plain = f"_{plain}"
    if len(plain.encode()) <= longest:
        return plain
    digest = hashlib.sha256(part.encode(errors="replace")).hexdigest()[:8]
    dot = plain.find(".", max(0, len(plain) - _SUFFIX))
    suffix = plain[dot:] if dot >= 0 else ""
    return plain.encode()[: longest - 9 - len(suffix.encode())].decode(errors="ignore") + f"-{digest}{suffix}"


def too_large(limit: int) -> RefusedError:
    """The error for more bytes than are allowed."""
    return RefusedError(f"more than {limit / 1e9:.3g} GB", hint="start `osteon app` with a larger --upload-limit")


def check_room(folder: Path, wanted: int) -> None:
    """Raise RefusedError where the disk would be full."""
    if shutil.disk_usage(folder).free - wanted < SPARE_BYTES:
        raise RefusedError("the disk is nearly full", hint="free some space, then upload again")
