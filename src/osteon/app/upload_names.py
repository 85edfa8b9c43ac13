"""Untrusted names of files: refused where they lead elsewhere, and made plain where they are only odd.

Two names never become one: neither do files in two folders come into the same one, nor does a name stand where only
Windows or macOS would find another.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from osteon.app.workspace import ABOUT
from osteon.core.file_names import name_key
from osteon.web.http_errors import RejectedError

DEEPEST, LONGEST_PART, LONGEST_PATH, LEAST_PART = 16, 200, 900, 40
MOST_LISTED = 200
"""Names that notes list; of further ones they have the number."""
JUNK = re.compile(r"__MACOSX|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
"""Files and folders that systems put beside everything, and nobody sends."""
_SUFFIX = 12
"""Letters at the end of a name among which its suffix is looked for."""
_DRIVE = re.compile(r"[A-Za-z]:")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/<>:"|?*]|[. ]$')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)
_RESERVED = (ABOUT, ".lock", ".records")
"""What lies in folders under these names is taken for osteon's own."""


@dataclass
class SafeNames:
    """The names of one upload or archive, and the paths below its folder under which its files are taken.

    Attributes:
        renamed: Names as they were sent, of files that are taken under others, and these.
        skipped: Number of files that no one sends (`JUNK`).
    """

    renamed: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0
    _paths: dict[tuple[str, ...], PurePosixPath] = field(default_factory=lambda: {(): PurePosixPath()})
    _files: set[tuple[str, ...]] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)
    _numbers: Counter[str] = field(default_factory=Counter)

    def add(self, name: str) -> PurePosixPath | None:
        """The path of one more file; None for one that is skipped (`JUNK`).

        What means something to HTML, to a shell, to osteon or to another system becomes `_`, what is too long is cut
        and ends in a digest, and where folders lie too deep the first of them become one.

        Raises:
            RejectedError: It leads elsewhere, or two files have this name. The message does not name it: it may be a
                patient's.
        """
        parts = _parts(name)
        if any(JUNK.fullmatch(part) for part in parts):
            self.skipped += 1
            return None
        above = [parts[:length] for length in range(1, len(parts))]
        if parts in self._paths or any(folder in self._files for folder in above):
            hint = "send them one after the other, in two folders"
            raise RejectedError(422, "two files have the same name", hint=hint)
        self._files.add(parts)
        for length in range(1, len(parts) + 1):
            self._assign(parts[:length])
        path = self._paths[parts]
        if str(path) != unicodedata.normalize("NFC", name).replace("\\", "/"):
            self.renamed.append((name, str(path)))
        return path

    def new_folder(self, name: str) -> PurePosixPath:
        """A folder that nothing else has, named after a path that was added."""
        path = PurePosixPath(name)
        return self._unused(path.parent, path.name)

    def notes(self) -> list[str]:
        """What a person should know of the names, in sentences."""
        lines = [
            f"{given!r} is taken as {plain}: its name is not valid on every system, or not unique on some"
            for given, plain in self.renamed[:MOST_LISTED]
        ]
        if len(self.renamed) > MOST_LISTED:
            lines.append(f"and {len(self.renamed) - MOST_LISTED} more files get simpler names")
        return lines

    def _assign(self, parts: tuple[str, ...]) -> None:
        """Assign a file or folder its path; the folder around it has one."""
        if parts in self._paths:
            return
        parent = self._paths[parts[:-1]]
        room = LONGEST_PATH - (LEAST_PART + 1) * (DEEPEST - len(parts)) - len(str(parent).encode()) - 1
        self._paths[parts] = self._unused(parent, _plain(parts[-1], min(LONGEST_PART, room)))

    def _unused(self, parent: PurePosixPath, name: str) -> PurePosixPath:
        first = name_key(str(parent / name))
        path, stem, dot, suffix = parent / name, *name.partition(".")
        while name_key(str(path)) in self._used:
            self._numbers[first] += 1  # so that thousands of one name are not counted through for each
            path = parent / f"{stem}-{self._numbers[first] + 1}{dot}{suffix}"
        self._used.add(name_key(str(path)))
        return path


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file, none of which leads elsewhere; at most `DEEPEST`."""
    parts: Sequence[str] = re.split(r"[/\\]", unicodedata.normalize("NFC", name))
    absolute = not parts[0] or _DRIVE.fullmatch(parts[0])
    parts = [part for part in parts if part not in ("", ".")]
    if absolute or ".." in parts or not parts:
        raise RejectedError(422, "a file's name leads out of its folder", hint="zip the folder itself, or choose it")
    deep = len(parts) - DEEPEST
    return ("/".join(parts[: deep + 1]), *parts[deep + 1 :]) if deep > 0 else tuple(parts)


def _plain(part: str, longest: int) -> str:
    """A name of one file or folder on every system."""
    plain = "".join("_" if not sign.isprintable() else sign for sign in _UNSAFE.sub("_", part))
    if _DEVICES.fullmatch(plain) or name_key(plain) in _RESERVED:
        plain = f"_{plain}"
    if len(plain.encode()) <= longest:
        return plain
    digest = hashlib.sha256(part.encode(errors="replace")).hexdigest()[:8]
    dot = plain.find(".", max(0, len(plain) - _SUFFIX))
    suffix = plain[dot:] if dot >= 0 else ""
    if len(suffix.encode()) > _SUFFIX:
        suffix = ""
    return plain.encode()[: longest - 9 - len(suffix.encode())].decode(errors="ignore") + f"-{digest}{suffix}"
