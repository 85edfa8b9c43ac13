"""Zip archives of unknown origin: what one claims of itself is not believed, and bytes are counted as they come out."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Self

from osteon.core.errors import OsteonError

MAX_DIRECTORY_BYTES = 64 << 20
"""Bytes of a table of contents, which is held in memory."""
MAX_RATIO, SLACK = 200, 64 << 20
"""Bytes that may come out of an archive for each that it has, and beside these out of any. Empty masks pack 1000:1, but
no scan does, and beside them lie scans."""
CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error)
_AGAIN = "zip the folder again, with any program"
_TAIL_BYTES = 22 + 65_535
_ZIP64 = 0xFFFFFFFF
"""zip64 keeps the true length in a record of its own."""


class UntrustedZip:
    """An archive of unknown origin, open for reading until the `with` block ends.

    Args:
        path: The archive.
        reject: Makes the error from what is wrong with the archive (`is encrypted`) and the way out.
        slack: Bytes that may come out of any archive, beside `MAX_RATIO` for each byte that it has.

    Attributes:
        files: What it lists, folders left out.
        budget: Bytes that may come out of it.
        size: Bytes that have come out of it.

    Raises:
        OsteonError: As `reject` makes it: it is damaged, or not a zip, or lists too much.
    """

    def __init__(self, path: Path, reject: Callable[[str, str], OsteonError], *, slack: int | None = None) -> None:
        self.reject, self.size = reject, 0
        self.budget = MAX_RATIO * path.stat().st_size + (SLACK if slack is None else slack)
        try:
            if not is_directory_readable(path):
                raise reject("has too large a table of contents", "zip fewer files at once")
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise reject("is damaged, or not a zip", _AGAIN) from error
        self.files = [entry for entry in self._zip.infolist() if not entry.is_dir()]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._zip.close()

    def name(self, entry: zipfile.ZipInfo) -> PurePosixPath:
        """A file's name, relative. Raises OsteonError (`reject`) where it leads out of the archive's folder."""
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
            raise self.reject("holds a name that leads out of its folder", _AGAIN)
        return name

    def extract(self, entry: zipfile.ZipInfo, target: Path, count: Callable[[int], None] | None = None) -> None:
        """Write one of `files` to a path where nothing is yet; its folder is made.

        Args:
            entry: The file.
            target: The path.
            count: Called with the size of each piece that comes out, before it is written; may raise.

        Raises:
            OsteonError: As `reject` makes it: a link or device, damaged or encrypted, or the archive is a bomb.
            OSError: It cannot be written.
        """
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise self.reject("holds links or devices", "zip the files themselves")
        if entry.flag_bits & 1:
            raise self.reject("is encrypted", "zip the folder without a password")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._zip.open(entry) as packed, target.open("xb") as unpacked:
                while chunk := packed.read(CHUNK):
                    if count is not None:
                        count(len(chunk))
                    self.size += len(chunk)
                    if self.size > self.budget:
                        raise self.reject("unpacks to far more than it holds: a zip bomb", _AGAIN)
                    unpacked.write(chunk)
        except _DAMAGE as error:
            raise self.reject("is damaged, or not a zip", _AGAIN) from error


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
