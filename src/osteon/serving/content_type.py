"""What kind of file an upload is, by its first bytes: its name is not asked for, since it may be a patient's."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from osteon.formats.dicom_files import looks_like_dicom
from osteon.serving.http_errors import RefusedError

_HEAD = 540


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: As people call it.
        suffix: With which the file is kept, so that readers know it.
        begins: Whether the first bytes are its own.
    """

    name: str
    suffix: str
    begins: Callable[[bytes], bool]


def _nifti(head: bytes) -> bool:
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def _nifti_gz(head: bytes) -> bool:
    if not head.startswith(b"\x1f\x8b"):
        return False
    try:
        return _nifti(zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, _HEAD))
    except zlib.error:
        return False


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic)


KINDS = (
    Kind("NIfTI, packed", ".nii.gz", _nifti_gz),
    Kind("NIfTI", ".nii", _nifti),
    Kind("NRRD", ".nrrd", _starts(b"NRRD000")),
    Kind("MetaImage", ".mha", _starts(b"ObjectType", b"NDims")),
    Kind("zip", ".zip", _starts(b"PK\x03\x04", b"PK\x05\x06")),
    Kind("PNG", ".png", _starts(b"\x89PNG\r\n\x1a\n")),
    Kind("JPEG", ".jpg", _starts(b"\xff\xd8\xff")),
    Kind("TIFF", ".tif", _starts(b"II*\x00", b"MM\x00*")),
)
DICOM = ".dcm"


def kind_suffix(path: Path) -> str:
    """The suffix of a file whose name says nothing. Raises RefusedError (415) where it is none that osteon reads."""
    with path.open("rb") as stream:
        head = stream.read(1 << 12)
    for kind in KINDS:
        if kind.begins(head):
            return kind.suffix
    if looks_like_dicom(path):
        return DICOM
    raise RefusedError(
        415,
        "the upload is no scan that osteon reads" if head else "the upload is empty",
        hint="send the file itself as the body (curl -T FILE): .nii, .nii.gz, .nrrd, .mha, a zip of a DICOM series, "
        "a DICOM file, or a picture (PNG, JPEG, TIFF)",
    )
