"""The kind of file that an upload is, by its first bytes: its name is not asked for, since it may be a patient's."""

from __future__ import annotations

import zlib
from pathlib import Path

from osteon.formats.dicom_files import looks_like_dicom
from osteon.web.http_errors import RejectedError

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
