"""Uploads: counted while they come in and while they are unpacked, and stopped before they fill the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from zipfile import ZipInfo

from anyio import to_thread

from osteon.core.files import write_error
from osteon.core.quantities import format_bytes
from osteon.core.zip_files import UntrustedZip
from osteon.web.http_errors import RejectedError

MOST_FILES = 200_000
"""Of an upload, or an archive in it."""
SPARE_BYTES = 10**9
"""Of the disk, that stay free."""
BUFFER_BYTES = 1 << 20
"""Bytes of an upload that are held in memory."""
CHECK_EVERY = 64
"""Buffers after which the disk's free space is looked at again."""


@dataclass
class ByteCounter:
    """Counts the bytes of an upload, or those that come out of it, and ends it where they are too many.

    Attributes:
        limit: Bytes.
        hint: How more is allowed.
        size: Bytes counted.
    """

    limit: int
    hint: str
    size: int = 0

    def add(self, size: int) -> None:
        """Count so many more. Raises RejectedError (413) where that is too many."""
        self.size += size
        if self.size > self.limit:
            raise RejectedError(413, f"the upload has more than {format_bytes(self.limit)}", hint=self.hint)


def check_free_space(folder: Path, needed: int = 0) -> None:
    """Raise RejectedError (507) where so many bytes more would fill the disk."""
    if shutil.disk_usage(folder).free - needed < SPARE_BYTES:
        raise RejectedError(
            507, "the server's disk is nearly full", hint="free some space there, or ask the server's administrator"
        )


async def write_body(
    body: AsyncIterator[bytes], path: Path, count: Callable[[int], None], *, announced: int = 0, sync: bool = False
) -> None:
    """Write a request's body into a new file as it comes in.

    Args:
        body: The bytes, in pieces.
        path: The file, which is not there yet.
        count: Called with the size of each piece before it is kept; may raise.
        announced: Bytes that are to come.
        sync: Whether all of it is on the disk when this returns.

    Raises:
        RejectedError: 507, the disk would be full; and what `body` and `count` raise.
        OSError: It cannot be written.
    """
    await to_thread.run_sync(check_free_space, path.parent, announced)
    buffer, written = bytearray(), 0
    with path.open("xb") as out:
        async for chunk in body:
            count(len(chunk))
            buffer += chunk
            if len(buffer) >= BUFFER_BYTES:
                await to_thread.run_sync(out.write, bytes(buffer))
                buffer.clear()
                written += 1
                if written % CHECK_EVERY == 0:
                    await to_thread.run_sync(check_free_space, path.parent)
        out.write(buffer)
        if sync:
            out.flush()
            await to_thread.run_sync(os.fsync, out.fileno())


def unpack(
    archive: Path,
    folder: Path,
    counter: ByteCounter,
    place: Callable[[UntrustedZip, ZipInfo], PurePath | None],
    *,
    slack: int,
) -> None:
    """Unpack a zip of unknown origin into a folder.

    Args:
        archive: The file.
        folder: Where its files go; made where it does not exist.
        counter: Of what comes out of it.
        place: Where a file goes, relative to the folder; None for one that is skipped.
        slack: Bytes that may come out of any archive (`core.zip_files.UntrustedZip`).

    Raises:
        RejectedError: 422 where it is damaged, encrypted, empty, a bomb, or holds links or too many files, 413 where
            more comes out of it than is allowed, 507; and what `place` raises. No message holds a file's name.
        FileError: A file cannot be written.
    """
    try:
        with UntrustedZip(archive, _reject, slack=slack) as zipped:
            if len(zipped.files) > MOST_FILES:
                raise _reject(f"holds more than {MOST_FILES:,} files", "zip fewer files at once")
            files = [(entry, path) for entry in zipped.files if (path := place(zipped, entry)) is not None]
            if not files:
                raise _reject("is empty", "zip a folder that holds files")
            folder.mkdir(parents=True, exist_ok=True)
            for entry, path in files:
                check_free_space(folder, min(entry.file_size, counter.limit, zipped.budget))
                zipped.extract(entry, folder / path, counter.add)
    except OSError as error:
        raise write_error(Path("the archive"), error) from error


def _reject(problem: str, hint: str) -> RejectedError:
    return RejectedError(422, f"the archive {problem}", hint=hint)
