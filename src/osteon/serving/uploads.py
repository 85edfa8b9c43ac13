"""Uploads: written to the disk as they come in, counted as they come, and nothing left of what was refused."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from zipfile import ZipInfo

from anyio import to_thread
from starlette.datastructures import Headers

from osteon.core.files import write_error
from osteon.core.zip_files import SLACK, UntrustedZip
from osteon.formats.dicom_files import looks_like_dicom
from osteon.serving.jobs import SCAN
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody
from osteon.web.uploads import ByteCounter, unpack, write_body

UNPACKED = 4
"""So many times the limit of an upload may come out of an archive: series pack 2:1 or 3:1."""
_HINT = "crop the scan, or start `osteon serve` with a larger --max-upload"
_SKIPPED = ("__MACOSX", ".DS_Store", "Thumbs.db", "DICOMDIR")
_HEAD = 540
_SIGNATURES = {
    ".nrrd": (b"NRRD000",),
    ".mha": (b"ObjectType", b"NDims"),
    ".zip": (b"PK\x03\x04", b"PK\x05\x06"),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".tif": (b"II*\x00", b"MM\x00*"),
}
"""How files begin, by the suffix by which readers know them."""
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


def announced_length(headers: Headers, limit: int) -> int:
    """The length of an upload as its request announces it, in bytes; 0 where it does not.

    Raises:
        RejectedError: It is longer than `limit` (413), or no number (422).
    """
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise RejectedError(422, "Content-Length is not a number", hint="leave it to the client's library")
    count_bytes(limit)(int(length))
    return int(length)


def count_bytes(limit: int) -> Callable[[int], None]:
    """Counts the bytes of an upload; raises RejectedError (413) where they are more than `limit`."""
    return ByteCounter(limit, _HINT).add


def check_headers(headers: Headers, limit: int) -> int:
    """`announced_length` of an upload that is the file itself. Raises RejectedError (415) for a form of a browser."""
    length = announced_length(headers, limit)
    if headers.get("content-type", "").lower().startswith("multipart/"):
        hint = "send the file itself as the body: curl -T FILE, not curl -F"
        raise RejectedError(415, "the upload is a form, not a file", hint=hint)
    return length


async def receive(body: PacedBody, length: int, folder: Path, limit: int) -> None:
    """Write an upload into a folder, as the scan that it is.

    Args:
        body: The bytes, as they come.
        length: Bytes announced.
        folder: Of the job that it becomes.
        limit: Bytes that it may have.

    Raises:
        RejectedError: 408, 413, 415, 422, 507.
        FileError: It cannot be written.
    """
    path = folder / SCAN / "upload"
    try:
        path.parent.mkdir()
        await write_body(body, path, count_bytes(limit), announced=length, sync=True)
    except OSError as error:
        raise write_error(Path("the upload"), error) from error
    await to_thread.run_sync(name_or_unpack, path, limit)


def name_or_unpack(path: Path, limit: int) -> None:
    """Give an upload the name that readers know it by, or unpack it: files are numbered, and keep images' suffixes.

    Args:
        path: The upload.
        limit: Bytes that an upload may have.

    Raises:
        RejectedError: 413, 415, 422, 507.
        FileError: It cannot be written.
    """
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

    unpack(path, path.with_name("scan"), ByteCounter(int(UNPACKED * limit), _HINT), place, slack=SLACK)
    path.unlink()


def detect_suffix(path: Path) -> str:
    """The suffix of a file whose name says nothing. Raises RejectedError (415) where it is none that osteon reads."""
    with path.open("rb") as stream:
        head = stream.read(1 << 12)
    if _is_nifti(head):
        return ".nii"
    if head.startswith(b"\x1f\x8b") and _is_nifti(_decompress(head)):
        return ".nii.gz"
    for suffix, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return suffix
    if looks_like_dicom(path):
        return ".dcm"
    raise RejectedError(
        415,
        "the upload is not a scan that osteon reads" if head else "the upload is empty",
        hint="send the file itself as the body (curl -T FILE): .nii, .nii.gz, .nrrd, .mha, a zip of a DICOM series, "
        "a DICOM file, or a picture (PNG, JPEG, TIFF)",
    )


def _is_nifti(head: bytes) -> bool:
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def _decompress(head: bytes) -> bytes:
    """The first bytes of what gzip has compressed, given its own first bytes; none where it is damaged."""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, _HEAD)
    except zlib.error:
        return b""
