"""Uploads: written to the disk as they come in, counted as they come, and nothing left of what was refused."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread

from osteon.core.files import write_error
from osteon.serving.content_type import kind_suffix
from osteon.serving.http_errors import RefusedError, check_room, too_large
from osteon.serving.jobs import SCAN
from osteon.serving.zip_scans import unpack
from osteon.web.slow_bodies import Paced

AT_ONCE = 1 << 20
"""Bytes of an upload that are held in memory."""
UNPACKED = 4
"""So many times the limit of an upload may come out of an archive: series pack 2:1 or 3:1."""


@dataclass(frozen=True)
class Upload:
    """What a request announces.

    Attributes:
        length: Bytes; None where it does not say.
        kind: `Content-Type`.
        body: The bytes, as they come.
    """

    length: int | None
    kind: str
    body: Paced


def check_announced(upload: Upload, limit: int) -> None:
    """Refuse by what is announced, before anything is read: 413, and 415 for a form of a browser."""
    if upload.length is not None and upload.length > limit:
        raise too_large(limit)
    if upload.kind.lower().startswith("multipart/"):
        raise RefusedError(
            415, "the upload is a form, not a file", hint="send the file itself as the body: curl -T FILE, not curl -F"
        )


async def receive(upload: Upload, folder: Path, limit: int) -> None:
    """Write an upload into a folder, as the scan that it is.

    Raises:
        RefusedError: 413, 415, 422, 507.
        SlowError: It comes too slowly.
        FileError: It cannot be written.
    """
    scan = folder / SCAN
    await to_thread.run_sync(check_room, folder, upload.length or 0)
    scan.mkdir()
    path = scan / "upload"
    try:
        with path.open("xb") as out:
            await _write(upload.body, out, folder, limit)
    except OSError as error:
        raise write_error(Path("the upload"), error) from error
    await to_thread.run_sync(_settle, path, limit)


async def _write(body: AsyncIterator[bytes], out: BinaryIO, folder: Path, limit: int) -> None:
    size, held, since = 0, bytearray(), 0
    async for chunk in body:
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        held += chunk
        if len(held) >= AT_ONCE:
            since += len(held)
            await to_thread.run_sync(out.write, bytes(held))
            held.clear()
            if since >= 64 * AT_ONCE:
                await to_thread.run_sync(check_room, folder)
                since = 0
    out.write(held)
    out.flush()
    await to_thread.run_sync(os.fsync, out.fileno())


def _settle(path: Path, limit: int) -> None:
    """Give an upload the name that readers know it by, or unpack it."""
    suffix = kind_suffix(path)
    if suffix == ".zip":
        unpack(path, path.with_name("scan"), UNPACKED * limit)
        path.unlink()
    else:
        path.rename(path.with_name(f"scan{suffix}"))
