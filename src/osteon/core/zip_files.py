"""A zip archive's table of contents, measured before anything reads it."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

MAX_DIRECTORY_BYTES = 64 << 20
"""Of a table of contents, which is held in memory."""
_TAIL_BYTES = 22 + 65_535
_ZIP64 = 0xFFFFFFFF
"""Stands for a length that zip64 keeps in another record."""


def is_directory_readable(archive: Path) -> bool:
    """Whether an archive's table of contents takes no more memory than it may, nor more than the file has.

    Raises:
        BadZipFile: There is none.
    """
    size = archive.stat().st_size
    with archive.open("rb") as stream:
        stream.seek(max(0, size - _TAIL_BYTES))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile
    length = struct.unpack_from("<I", tail, at + 12)[0]
    if length == _ZIP64:
        record = tail.rfind(b"PK\x06\x06")
        length = struct.unpack_from("<Q", tail, record + 40)[0] if record >= 0 else MAX_DIRECTORY_BYTES + 1
    return bool(length <= min(MAX_DIRECTORY_BYTES, size))
