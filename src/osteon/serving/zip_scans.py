"""Zip archives of unknown origin: one scan comes out of each, counted byte by byte, under names of our own."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from osteon.core.files import write_error
from osteon.core.zip_files import is_directory_readable
from osteon.serving.http_errors import RefusedError, check_room, too_large

MOST_ENTRIES = 100_000
MOST_RATIO, SLACK = 200, 64 << 20
"""Bytes that come out of an archive for each that it has, and those that may come out of any."""
CHUNK = 1 << 20
_PASSED_OVER = ("__MACOSX", ".DS_Store", "Thumbs.db", "DICOMDIR")
_KEPT = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_AGAIN = "zip the series' folder again, with any program"


def unpack(archive: Path, folder: Path, limit: int) -> int:
    """Unpack a zip into a folder; files are numbered, and keep only the endings of images.

    Args:
        archive: The file.
        folder: Where its files go; made here.
        limit: Bytes that may come out of it.

    Returns:
        The number of files.

    Raises:
        RefusedError: 422 where it is damaged, encrypted, empty, a bomb, or holds links or names that lead elsewhere;
            413 where more comes out of it than is allowed. No message holds a file's name.
        FileError: A file cannot be written.
    """
    try:
        if not is_directory_readable(archive):
            raise RefusedError(422, "the archive's table of contents is too large", hint="send one series alone")
        with zipfile.ZipFile(archive) as opened:
            return _take_out(opened, folder, limit, min(limit, MOST_RATIO * archive.stat().st_size + SLACK))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise RefusedError(422, "the archive is damaged, or no zip", hint=_AGAIN) from error
    except OSError as error:
        raise write_error(Path("the archive"), error) from error


def _take_out(opened: zipfile.ZipFile, folder: Path, limit: int, allowed: int) -> int:
    entries = [entry for entry in opened.infolist() if not entry.is_dir() and not _passed_over(entry)]
    if len(entries) > MOST_ENTRIES:
        raise RefusedError(422, f"the archive holds more than {MOST_ENTRIES:,} files", hint="send one series alone")
    if not entries:
        raise RefusedError(422, "the archive is empty", hint="zip the series' folder")
    for entry in entries:
        _check_entry(entry)
    folder.mkdir()
    out = 0
    for number, entry in enumerate(entries):
        check_room(folder, min(entry.file_size, allowed))
        name = entry.filename.lower()
        suffix = next((known for known in _KEPT if name.endswith(known)), "")
        with opened.open(entry) as packed, (folder / f"{number:06d}{suffix}").open("xb") as unpacked:
            while chunk := packed.read(CHUNK):
                out += len(chunk)
                if out > limit:
                    raise too_large(limit)
                if out > allowed:
                    raise RefusedError(422, "far more comes out of the archive than it holds: a bomb", hint=_AGAIN)
                unpacked.write(chunk)
    return len(entries)


def _passed_over(entry: zipfile.ZipInfo) -> bool:
    return any(part in _PASSED_OVER for part in PurePosixPath(entry.filename).parts)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.replace("\\", "/").split("/")
    if entry.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise RefusedError(422, "the archive holds a name that leads out of its folder", hint=_AGAIN)
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise RefusedError(422, "the archive holds links or devices", hint="zip the files themselves")
    if entry.flag_bits & 1:
        raise RefusedError(422, "the archive is encrypted", hint="zip the folder without a password")
