"""Uploads: written to the disk as they come in, counted as they come, and nothing left of what was refused."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from zipfile import ZipInfo

from anyio import to_thread

from osteon.core.files import write_error
from osteon.core.zip_files import SLACK, UntrustedZip
from osteon.serving.content_type import detect_suffix
from osteon.serving.jobs import SCAN
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody
from osteon.web.uploads import UploadLimit, unpack, write_body

UNPACKED = 4
"""So many times the limit of an upload may come out of an archive: series pack 2:1 or 3:1."""
MOST_FILES = 100_000
"""Of an archive."""
_HINT = "crop the scan, or start `osteon serve` with a larger --max-upload"
_SKIPPED = ("__MACOSX", ".DS_Store", "Thumbs.db", "DICOMDIR")
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class Upload:
    """An upload as its request announces it.

    Attributes:
        length: Bytes; None where it does not say.
        content_type: Of the request.
        body: The bytes, as they come.
    """

    length: int | None
    content_type: str
    body: PacedBody

    def check(self, limit: int) -> None:
        """Raise RejectedError before anything is read: 413 by the length, 415 for a form of a browser."""
        UploadLimit(limit, _HINT).check(self.length or 0)
        if self.content_type.lower().startswith("multipart/"):
            raise RejectedError(
                415,
                "the upload is a form, not a file",
                hint="send the file itself as the body: curl -T FILE, not curl -F",
            )


async def receive(upload: Upload, folder: Path, limit: int) -> None:
    """Write an upload into a folder, as the scan that it is.

    Args:
        upload: Checked.
        folder: Of the job that it becomes.
        limit: Bytes that it may have.

    Raises:
        RejectedError: 408, 413, 415, 422, 507.
        FileError: It cannot be written.
    """
    allowed, size = UploadLimit(limit, _HINT), 0

    def count_bytes(received: int) -> None:
        nonlocal size
        size += received
        allowed.check(size)

    path = folder / SCAN / "upload"
    try:
        path.parent.mkdir()
        await write_body(upload.body, path, count_bytes, announced=upload.length or 0, sync=True)
    except OSError as error:
        raise write_error(Path("the upload"), error) from error
    await to_thread.run_sync(_name_or_unpack, path, limit)


def _name_or_unpack(path: Path, limit: int) -> None:
    """Give an upload the name that readers know it by, or unpack it: files are numbered, and keep images' suffixes."""
    suffix = detect_suffix(path)
    if suffix != ".zip":
        path.rename(path.with_name(f"scan{suffix}"))
        return
    numbers = count()

    def place(zipped: UntrustedZip, entry: ZipInfo) -> Path | None:
        name = zipped.name(entry)
        if any(part in _SKIPPED for part in name.parts):
            return None
        known = (suffix for suffix in _SUFFIXES if name.name.lower().endswith(suffix))
        return Path(f"{next(numbers):06d}{next(known, '')}")

    limits = UploadLimit(UNPACKED * limit, _HINT)
    unpack(path, path.with_name("scan"), limits, place, most_files=MOST_FILES, slack=SLACK)
    path.unlink()
