"""MetaImage, as ITK writes it: header and voxels in one file (.mha), or voxels beside it (.mhd with .raw or .zraw).

Read here for the reasons for which NRRD is: sheared axes are taken, a header that claims more than its file holds is
refused before memory is taken, and whatever is wrong names the file. Reference: the tags of MetaIO
(https://itk.org/Wiki/MetaIO/Documentation); where that is silent, what ITK 5.4 does with the same file. The world is
LPS. A file that gives no spacing is measured in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import isal.isal_zlib
import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, missing_file_error
from osteon.core.files import open_binary
from osteon.core.geometry import Geometry
from osteon.core.gzip_files import GZIP_ERRORS
from osteon.core.volume import Volume
from osteon.formats.header_limits import CUT_SHORT, MAX_HEADER_BYTES, check_claimed_size, make_reader
from osteon.formats.voxel_stream import array_type, fill_array

TO_RAS = np.array([-1.0, -1.0, 1.0])
"""The one place where a MetaImage's world turns into RAS: the signs of its axes."""
_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "long": "i4",  # of four bytes, on every machine
    "ulong": "u4",
    "long_long": "i8",
    "ulong_long": "u8",
    "float": "f4",
    "double": "f8",
}
_LOCAL = "local"
_CHUNK = 1 << 20
_ANY_STREAM = 47
"""What zlib's window bits are for streams of zlib and of gzip."""
_AGAIN = "save the file again from its source, for example with 3D Slicer or SimpleITK"
_zlib: Any = isal.isal_zlib


@dataclass(frozen=True)
class _Header:
    """What a header says.

    Attributes:
        shape: Channels that lie beside one another, i, j, k, and channels that follow one another.
        geometry: The grid.
        dtype: The stored type with its byte order.
        data: The file of the voxels.
        start: Byte at which they begin there; None where they end with the file (`HeaderSize = -1`).
        packed: Whether they are a stream of zlib.
    """

    shape: tuple[int, int, int, int, int]
    geometry: Geometry
    dtype: np.dtype[np.generic]
    data: Path
    start: int | None
    packed: bool


def read_meta_image(path: Path, *, single: bool = False) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres. A picture gets a singleton k.

    Raises:
        FileError: The file or that of its voxels is missing, truncated, damaged, or of a kind that is not read.
    """
    header = _read_header(Path(path))
    return Volume(_voxels(header, Path(path), single=single), header.geometry)


def read_meta_image_geometry(path: Path) -> Geometry:
    """The grid alone; reads no voxels. Raises FileError as `read_meta_image` does for the header."""
    return _read_header(Path(path)).geometry


def meta_image_data(path: Path) -> tuple[Path, ...]:
    """The file beside a header that holds its voxels; none where they lie in the same file. Raises FileError."""
    header = _read_header(Path(path))
    return () if header.data == Path(path) else (header.data,)


def _read_header(path: Path) -> _Header:
    with open_binary(path, "the MetaImage file") as stream:
        fields = _fields(stream, path)
        start = stream.tell()
    try:
        return _parse_header(fields, path, start)
    except (KeyError, ValueError, OverflowError) as error:
        what = f"lacks {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise FileError(f"{path}: the header is damaged: {what}", hint=_AGAIN) from error


def _fields(stream: BinaryIO, path: Path) -> dict[str, str]:
    """The tags up to the one that says where the voxels are; the stream then stands behind it."""
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields:
        line = stream.readline(MAX_HEADER_BYTES)
        if stream.tell() > MAX_HEADER_BYTES or not line:
            what = "the header does not give the place of the voxels" if fields else "not a MetaImage file"
            raise FileError(f"{path}: {what}", hint=CUT_SHORT)
        name, equals, value = line.decode("latin-1").partition("=")
        if not equals and not fields:
            raise FileError(f"{path}: not a MetaImage file", hint="check that the suffix says what the file is")
        fields[name.strip().lower()] = value.strip()
    return fields


def _parse_header(fields: dict[str, str], path: Path, start: int) -> _Header:
    if fields.get("objecttype", "Image").lower() != "image":
        raise FileError(f"{path}: holds a {fields['objecttype']}, no image", hint="give the image itself")
    axes = int(fields["ndims"])
    sizes = [int(size) for size in fields["dimsize"].split()]
    if axes not in (2, 3, 4) or len(sizes) != axes or min(sizes) < 1:
        raise ValueError(f"DimSize {fields['dimsize']} for NDims {axes}")
    channels, following = int(fields.get("elementnumberofchannels", "1")), sizes[3] if axes == 4 else 1
    if channels < 1 or (channels > 1 and following > 1):
        raise ValueError(f"{channels} channels in {following} volumes")
    kind = fields["elementtype"].lower().removeprefix("met_").removesuffix("_array")
    if kind not in _TYPES:
        raise ValueError(f"voxels of type {fields['elementtype']}")
    if not _is_true(fields.get("binarydata", "True")):
        raise FileError(f"{path}: its voxels are written as text", hint=_AGAIN)
    scale = float(fields.get("elementtointensityfunctionslope", "1") or 1)
    if scale != 1 or float(fields.get("elementtointensityfunctionoffset", "0") or 0) != 0:
        raise FileError(
            f"{path}: its header scales the voxels (ElementToIntensityFunctionSlope), which ITK's readers pass over: "
            "their values cannot be told",
            hint="save the scaled voxels, or take the scale out of the header where it is not meant",
        )
    swapped = _is_true(fields.get("elementbyteordermsb", fields.get("binarydatabyteordermsb", "False")))
    i, j, k = (*sizes[:3], 1)[:3]
    data, begin = _data_file(fields, path, start)
    return _Header(
        (channels, i, j, k, following),
        _geometry(fields, axes, (i, j, k)),
        np.dtype((">" if swapped else "<") + _TYPES[kind]),
        data,
        begin,
        _is_true(fields.get("compresseddata", "False")),
    )


def _data_file(fields: Mapping[str, str], path: Path, start: int) -> tuple[Path, int | None]:
    """Where the voxels lie, and from which byte on.

    A header names files of its own folder alone: a path into other folders could lead to anybody's files.
    """
    name = fields["elementdatafile"]
    if name.lower() == _LOCAL:
        return path, start
    if path.suffix.lower() == ".mha":
        raise FileError(f"{path}: keeps its voxels in another file, {name[:80]}", hint="call such a header .mhd")
    if name.lower().split()[:1] == ["list"] or "%" in name:
        raise FileError(f"{path}: keeps each slice in a file of its own", hint="save it as one .mha file")
    if not name or "/" in name or "\\" in name or name in (".", "..") or name == path.name:
        raise FileError(
            f"{path}: keeps its voxels in {name[:80] or 'no file'}, and there is no such file beside it",
            hint="put the file beside the header and write its plain name as ElementDataFile",
        )
    skipped = int(fields.get("headersize", "0") or 0)
    return path.with_name(name), None if skipped == -1 else max(skipped, 0)


def _geometry(fields: Mapping[str, str], axes: int, shape: tuple[int, int, int]) -> Geometry:
    space = min(axes, 3)
    steps = _numbers(fields, ("elementspacing", "elementsize"), axes)
    turned = _numbers(fields, ("transformmatrix", "rotation", "orientation"), axes * axes)
    first = _numbers(fields, ("offset", "position", "origin"), axes)
    affine = np.eye(4)
    vectors = np.eye(axes) if turned is None else turned.reshape(axes, axes)  # a row for each axis
    affine[:space, :space] = vectors[:space, :space].T * (1.0 if steps is None else steps[:space])
    if space == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    if first is not None:
        affine[:space, 3] = first[:space]
    affine[:3] *= TO_RAS[:, None]
    return Geometry(shape, affine, "px" if steps is None else "mm")


def _numbers(fields: Mapping[str, str], names: Sequence[str], count: int) -> npt.NDArray[np.float64] | None:
    """The numbers of the first of these tags that is there; None where none is. Raises ValueError."""
    name = next((name for name in names if fields.get(name)), None)
    if name is None:
        return None
    numbers = np.array([float(number) for number in fields[name].split()])
    if len(numbers) != count:
        raise ValueError(f"{name} holds {len(numbers)} numbers where {count} belong")
    return numbers


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "t", "1")


def _voxels(header: _Header, path: Path, *, single: bool) -> npt.NDArray[np.generic]:
    """`[channel, i, j, k]`, contiguous and native."""
    count = math.prod(header.shape)
    claimed = count * header.dtype.itemsize
    if not header.data.is_file():
        raise missing_file_error(header.data, f"the file of voxels of {path}")
    kind = array_type(header.dtype, single=single)
    check_claimed_size(header.data, claimed, packed=header.packed, held=count * kind.itemsize)
    beside, i, j, k, following = header.shape
    array = np.zeros((beside * following, i, j, k), dtype=kind)
    own_axes = np.moveaxis(array, 0, -1)[None] if following > 1 else array[..., None]
    try:
        with header.data.open("rb") as stream:
            stream.seek(header.start if header.start is not None else max(header.data.stat().st_size - claimed, 0))
            packed = _ZlibReader(stream) if header.packed else None
            fill_array(
                own_axes, make_reader((packed or stream).read, count, header.dtype.itemsize, header.data), header.dtype
            )
            if packed is not None:
                packed.check_end(claimed, header.data)
    except GZIP_ERRORS as error:
        raise FileError(f"{header.data}: the voxels are truncated or damaged ({error})", hint=CUT_SHORT) from error
    return array


class _ZlibReader:
    """What a stream of zlib holds, unpacked as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._zlib = _zlib.decompressobj(wbits=_ANY_STREAM)
        self._left = b""

    def read(self, count: int) -> bytes:
        """So many bytes; fewer where the stream ends."""
        parts = []
        while count and not self._zlib.eof:
            self._left = self._left or self._stream.read(_CHUNK)
            if not self._left:
                break
            parts.append(self._zlib.decompress(self._left, count))
            self._left = self._zlib.unconsumed_tail
            count -= len(parts[-1])
        return b"".join(parts)

    def check_end(self, claimed: int, path: Path) -> None:
        """Read to the stream's end, where it has its checksum. Raises FileError, or one of `GZIP_ERRORS`."""
        if self.read(1):
            raise FileError(f"{path}: holds more than the {claimed} bytes that its header speaks of", hint=_AGAIN)
        if not self._zlib.eof:
            raise EOFError("it ends before its checksum")
