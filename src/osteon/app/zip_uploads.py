"""Zip archives of unknown origin: unpacked as they are read, and refused when they do more than an archive of scans.

What an archive claims of itself is not believed: bytes are counted as they come out of it.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path

from osteon.app.upload_errors import RefusedError, check_room, too_large
from osteon.app.upload_names import PlainNames
from osteon.core.files import write_error
from osteon.core.zip_files import is_directory_readable

MOST_ENTRIES = 200_000
MOST_RATIO, SLACK = 200, 256 << 20
"""Bytes that come out of an archive for each that it has, and those that may come out of any. Empty masks pack 1000:1,
but no scan does, and beside them lie scans."""
CHUNK = 1 << 20


def unpack(archive: Path, folder: Path, limit: int, names: PlainNames | None = None) -> int:
    """Unpack a zip into a folder.

    Args:
        archive: The file.
        folder: Where its files go; made where it does not exist.
        limit: Bytes that may come out of it.
        names: Notes which files are taken under other names.

    Returns:
        The number of files.

    Raises:
        RefusedError: It is no zip, damaged or encrypted; holds links, names that lead elsewhere, one name twice, or too
            many files; or more comes out of it than is allowed. The message names no file: names may be patients'.
        FileError: A file cannot be written.
    """
    again = "zip the folder again, with any program"
    allowed = min(limit, MOST_RATIO * archive.stat().st_size + SLACK)
    out, count = 0, 0
    names = names or PlainNames()
    try:
        if not is_directory_readable(archive):
            raise RefusedError("the archive's table of contents is too large", hint="zip fewer files at a time")
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > MOST_ENTRIES:
                raise RefusedError(f"the archive holds more than {MOST_ENTRIES:,} files", hint="zip them in parts")
            for entry in entries:
                if entry.is_dir() or (path := names.take(entry.filename)) is None:
                    continue
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):
                    raise RefusedError("the archive holds links or devices", hint="zip the files themselves")
                if entry.flag_bits & 1:
                    raise RefusedError("the archive is encrypted", hint="zip the folder without a password")
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                check_room(folder, min(entry.file_size, allowed))
                with opened.open(entry) as packed, target.open("xb") as unpacked:
                    while chunk := packed.read(CHUNK):
                        out += len(chunk)
                        if out > limit:
                            raise too_large(limit)
                        if out > allowed:
                            raise RefusedError(
                                "far more comes out of the archive than it holds: a zip bomb", hint=again
                            )
                        unpacked.write(chunk)
                count += 1
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise RefusedError("the archive is damaged, or no zip", hint=again) from error
    except OSError as error:
        raise write_error(Path("the archive"), error) from error
    if not count:
        raise RefusedError("the archive is empty", hint="choose another file")
    return count
