"""A zip archive's table of contents, measured before anything reads it."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

MOST_DIRECTORY = 64 << 20
"""Bytes of a table of contents, which is held in memory."""
_TAIL = 22 + 65_535
_ELSEWHERE = 0xFFFFFFFF
"""zip64 keeps the true length in a record of its own."""


def directory_fits(archive: Path) -> bool:
    """Whether an archive's table of contents takes no more memory than it may, nor more than the file has.

    Raises:
        BadZipFile: There is none.
    """
    size = archive.stat().st_size
    with archive.open("rb") as stream:
        stream.seek(max(0, size - _TAIL))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile
    length = struct.unpack_from("<I", tail, at + 12)[0]
    if length == _ELSEWHERE:
        record = tail.rfind(b"PK\x06\x06")
        length = struct.unpack_from("<Q", tail, record + 40)[0] if record >= 0 else MOST_DIRECTORY + 1
    return bool(length <= min(MOST_DIRECTORY, size))
