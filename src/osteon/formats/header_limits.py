"""What a header claims against what its file can hold: asked before any memory is taken for voxels.

A header of a few bytes can claim terabytes, and a small gzip stream can unpack to gigabytes that no header speaks of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import psutil

from osteon.core.errors import FileError

DEFLATE_RATIO = 1032
"""The most that DEFLATE packs: 258 bytes in 2 bits (zlib.net/zlib_tech.html)."""
MAX_HEADER_BYTES = 64 << 20
"""Bytes. The longest headers in use (diffusion tables, hundreds of named segments) have a hundredth of it."""
SLACK = 16 << 20
"""Bytes that may follow the voxels: other programs' padding and notes."""
_CHUNK = 1 << 20
CUT_SHORT = "copy the file again from its source; it was probably cut short"
"""The way out where a file ends too early."""


def check_claimed_size(path: Path, claimed: int, *, packed: bool, held: int | None = None) -> None:
    """Refuse a header that claims more bytes than the file can hold, or than fit into memory.

    Args:
        path: The file, for its size and for messages.
        claimed: Bytes of everything up to the last voxel, unpacked.
        packed: Whether the voxels are gzip.
        held: Bytes of the array that is made of them; as many where left out.

    Raises:
        FileError: The message says what is claimed and what there is.
    """
    there = path.stat().st_size
    if claimed > there * (DEFLATE_RATIO if packed else 1):
        raise FileError(
            f"{path}: truncated or damaged: its header claims {_size(claimed)} of voxels, which a file of "
            f"{_size(there)} cannot hold",
            hint=CUT_SHORT,
        )
    check_memory(path, claimed if held is None else held)


def check_memory(path: Path, needed: int) -> None:
    """Raise FileError where reading the file takes more bytes than are free."""
    memory = psutil.virtual_memory()
    if needed > memory.available:
        more = "use a machine with more memory, or crop the file"
        raise FileError(
            f"{path}: takes {_size(needed)} of memory to read, {_size(memory.available)} are free",
            hint=more if needed > memory.total else f"close other programs, {more}",
        )


def make_reader(read_some: Callable[[int], bytes], voxels: int, size: int, path: Path) -> Callable[[int], bytes]:
    """What reads so many bytes of `voxels` of `size` bytes each, and raises FileError where `read_some` gives fewer."""
    given = 0

    def read(count: int) -> bytes:
        nonlocal given
        raw = read_some(count)
        given += len(raw)
        if len(raw) < count:
            raise FileError(f"{path}: truncated, {given // size} of {voxels} voxels", hint=CUT_SHORT)
        return raw

    return read


def read_rest(stream: BinaryIO, claimed: int, path: Path) -> int:
    """Go on to the stream's end, where gzip has its checksum. Returns how many bytes follow the `claimed` ones.

    Raises:
        FileError: Far more follows than the header speaks of.
        EOFError: As all of `GZIP_ERRORS`: the stream is damaged.
    """
    beyond = 0
    while chunk := stream.read(_CHUNK):
        beyond += len(chunk)
        if beyond > SLACK:
            raise FileError(
                f"{path}: holds far more than the {_size(claimed)} that its header speaks of",
                hint="save the file again from its source",
            )
    return beyond


def _size(count: int) -> str:
    """Bytes for people; of any magnitude, since headers claim anything."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            number = count // 1000**power
            return f"{number} {unit}" if number < 10**6 else f"10^{math.floor(math.log10(count))} bytes"
    return f"{count} bytes"
