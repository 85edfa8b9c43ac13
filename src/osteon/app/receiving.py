"""Uploads: names that are refused, sizes that are counted while they come in, and nothing left of what was refused."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from osteon.app.refusing import RefusedError, check_room, relative_path, too_large
from osteon.app.unpacking import unpack
from osteon.app.workspace import Item, Workspace
from osteon.core.errors import OsteonError
from osteon.core.files import write_error

MOST_BYTES = 20 * 10**9
MOST_FILES = 200_000
ROOM_EVERY = 1 << 26
"""Bytes after which the disk's free space is asked for again."""
FORGOTTEN_S = 24 * 3600.0
_INCOMING = ".incoming-"


@dataclass
class Upload:
    """One upload: files that come in one after the other, into a folder that becomes a source when all are there.

    Attributes:
        id: Opaque; it is handed to the page that asked for it.
        folder: Where its files lie until then.
        limit: Bytes that it may have, unpacked too.
        kinds: Endings that are taken, lower case; any where empty.
        size: Bytes that it has.
        files: That it has.
        began: Seconds of the monotonic clock.
    """

    id: str
    folder: Path
    limit: int
    kinds: tuple[str, ...] = ()
    size: int = 0
    files: list[PurePosixPath] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def take(self, name: str, stream: AsyncIterator[bytes]) -> None:
        """Write one file as it comes in. What is refused is removed.

        Raises:
            RefusedError: Its name, or its size.
            FileError: It cannot be written.
        """
        path = relative_path(name)
        if self.kinds and not path.name.lower().endswith(self.kinds):
            raise RefusedError(
                f"{path.suffix or 'a file without an ending'}: is not taken here", hint=_wanted(self.kinds)
            )
        if path in self.files or any(parent in self.files for parent in path.parents):
            raise RefusedError("two files have the same name", hint="upload them one after the other, in two folders")
        if len(self.files) >= MOST_FILES:
            raise RefusedError(f"more than {MOST_FILES:,} files", hint="upload them in parts, or as a zip")
        target = self.folder / path
        partly = target.with_name(f".part-{secrets.token_hex(4)}")
        checked = 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partly.open("wb") as out:
                async for chunk in stream:
                    self.size += len(chunk)
                    checked -= len(chunk)
                    if self.size > self.limit:
                        raise too_large(self.limit)
                    if checked < 0:
                        check_room(self.folder, len(chunk))
                        checked = ROOM_EVERY
                    out.write(chunk)
            partly.replace(target)
        except OSError as error:
            raise write_error(Path(path.name), error) from error
        finally:
            with suppress(OSError):
                partly.unlink()
        self.files.append(path)


@dataclass
class Uploads:
    """The uploads of a workspace that are not finished."""

    workspace: Workspace
    limit: int = MOST_BYTES
    open: dict[str, Upload] = field(default_factory=dict)

    def begin(self, kinds: tuple[str, ...] = ()) -> Upload:
        """A new one. What was begun and forgotten is removed."""
        for upload in list(self.open.values()):
            if time.monotonic() - upload.began > FORGOTTEN_S:
                self.drop(upload)
        upload_id = secrets.token_hex(12)
        folder = self.workspace.root / "sources" / f"{_INCOMING}{upload_id}"
        folder.mkdir(mode=0o700)
        upload = Upload(upload_id, folder, self.limit, kinds)
        self.open[upload_id] = upload
        return upload

    def drop(self, upload: Upload) -> None:
        """Throw an upload away."""
        self.open.pop(upload.id, None)
        shutil.rmtree(upload.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what an earlier server left half received."""
        for folder in (self.workspace.root / "sources").glob(f"{_INCOMING}*"):
            if folder.name.removeprefix(_INCOMING) not in self.open:
                shutil.rmtree(folder, ignore_errors=True)

    def finish(self, upload: Upload) -> Item:
        """Make a source of it: archives are unpacked, one folder around everything is taken off.

        Raises:
            RefusedError: Nothing came in, or an archive holds what is not taken. Nothing is left of it then.
            FileError: It cannot be written.
        """
        try:
            if not upload.files:
                raise RefusedError("no file came in", hint="choose files, a folder, or a zip")
            for path in upload.files:
                if path.name.lower().endswith(".zip"):
                    archive = upload.folder / path
                    inner = archive.with_name(archive.name[:-4]) if len(upload.files) > 1 else upload.folder
                    unpack(archive, inner, upload.limit)
                    archive.unlink()
            wanted, folder = _named(upload)
            item = self.workspace.new("sources", wanted)
            folder.rename(item.path)
        except (OsteonError, OSError) as error:
            self.drop(upload)
            raise error if isinstance(error, OsteonError) else write_error(Path("the upload"), error) from error
        self.drop(upload)
        return item


def _named(upload: Upload) -> tuple[str, Path]:
    """The name of a source, and the folder that becomes it."""
    first = upload.files[0]
    name = first.parts[0] if len(first.parts) > 1 else first.name.partition(".")[0] or first.name
    if len(upload.files) > 1 and len(first.parts) == 1:
        name = f"{name}-and-{len(upload.files) - 1}-more"
    folder = upload.folder
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir() and _alone(inside[0]):
        folder = inside[0]
        inside = list(folder.iterdir())
    return name, folder


def _alone(folder: Path) -> bool:
    """Whether a folder only wraps others: a lone folder with files is a case, and its name is needed."""
    return any(path.is_dir() for path in folder.iterdir()) or (folder / "dataset.json").is_file()


def _wanted(kinds: tuple[str, ...]) -> str:
    return f"files that end in {', '.join(kinds)}"
