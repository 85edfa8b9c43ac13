"""Uploads: names that are refused, sizes that are counted while they come in, and nothing left of what was refused."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from osteon.app.upload_errors import RefusedError, check_room, too_large
from osteon.app.upload_names import TOLD, PlainNames
from osteon.app.workspace import ABOUT, Item, Workspace
from osteon.app.zip_uploads import unpack
from osteon.core.errors import OsteonError
from osteon.core.files import write_error, write_json

MOST_BYTES = 20 * 10**9
MOST_FILES = 200_000
ROOM_EVERY = 1 << 26
"""Bytes after which the disk's free space is asked for again."""
IDLE_S = 120.0
"""A page sends one file right after the other: one that has sent nothing for so long is closed."""
_INCOMING, _PART = ".incoming-", ".part-"


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
        heard: When bytes came in last; seconds of the monotonic clock.
        busy: Whether it is being made a source of.
        names: Which they have, and under which they are taken.
        inner: The same of each archive among them.
        passed: Names of files whose endings are not taken.
    """

    id: str
    folder: Path
    limit: int
    kinds: tuple[str, ...] = ()
    size: int = 0
    files: list[PurePosixPath] = field(default_factory=list)
    heard: float = field(default_factory=time.monotonic)
    busy: bool = False
    names: PlainNames = field(default_factory=PlainNames)
    inner: list[PlainNames] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """What a person should know of the names, in sentences."""
        lines = [line for names in (self.names, *self.inner) for line in names.told()]
        lines += [f"{name} is passed over: {_ending(name)} is not taken here" for name in self.passed[:TOLD]]
        more = len(self.passed) - TOLD
        return lines + ([f"and {more} more files are passed over"] if more > 0 else [])

    async def take(self, name: str, stream: AsyncIterator[bytes]) -> None:
        """Write one file as it comes in. What is refused is removed; what has another ending is noted and passed over.

        Raises:
            RefusedError: Its name, or its size.
            FileError: It cannot be written.
        """
        if len(self.files) + len(self.passed) + self.names.junk >= MOST_FILES:
            raise RefusedError(f"more than {MOST_FILES:,} files", hint="upload them in parts, or as a zip")
        path = self.names.take(name)
        wanted = path is not None and (not self.kinds or path.name.lower().endswith(self.kinds))
        if path is None or not wanted:
            if (name, str(path)) in self.names.renamed[-1:]:
                self.names.renamed.pop()  # or it would be told as taken
            async for chunk in stream:
                self._count(len(chunk))
            if path is not None:
                self.passed.append(str(path))
            return
        target = self.folder / path
        partly = target.with_name(f"{_PART}{secrets.token_hex(4)}")
        checked = 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partly.open("wb") as out:
                async for chunk in stream:
                    self._count(len(chunk))
                    checked -= len(chunk)
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

    def _count(self, size: int) -> None:
        self.size += size
        self.heard = time.monotonic()
        if self.size > self.limit:
            raise too_large(self.limit)


@dataclass(frozen=True)
class Broken:
    """An upload that ended before all of it was there.

    Attributes:
        files: That had come in whole.
        size: Their bytes, and those of the one that was broken off.
    """

    files: int
    size: int

    def told(self) -> str:
        """In a sentence; without names, which may be patients'."""
        files = f"{self.files} whole file{'s' * (self.files != 1)}"
        return (
            f"An upload was broken off after {self.size / 1e6:.1f} MB, {files} among it. Nothing of it was kept: "
            "upload it again."
        )


@dataclass
class Uploads:
    """The uploads of a workspace that are not finished.

    Attributes:
        workspace: Where they become sources.
        limit: Bytes that one may have.
        open: Those that come in just now, by id.
        broken: Those that ended before all of them was there and nobody has seen that yet, by id.
    """

    workspace: Workspace
    limit: int = MOST_BYTES
    open: dict[str, Upload] = field(default_factory=dict)
    broken: dict[str, Broken] = field(default_factory=dict)

    def begin(self, kinds: tuple[str, ...] = ()) -> Upload:
        """A new one."""
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

    def break_off(self, upload: Upload) -> None:
        """Throw an upload away whose sender is gone, and note it, unless it was given up before."""
        if self.open.get(upload.id) is upload:
            self.broken[upload.id] = Broken(len(upload.files), upload.size)
            self.drop(upload)

    def cancel(self, upload_id: str) -> None:
        """Throw away what its sender gives up; the connection of a body that is given up was broken off just before."""
        self.broken.pop(upload_id, None)
        upload = self.open.get(upload_id)
        if upload is not None:
            self.drop(upload)

    def break_idle(self) -> None:
        """Break off those whose page was closed between two files, or before it asked for a source."""
        for upload in list(self.open.values()):
            if not upload.busy and time.monotonic() - upload.heard > IDLE_S:
                self.break_off(upload)

    def sweep(self) -> None:
        """Remove, and note, what an earlier server left half received."""
        for folder in (self.workspace.root / "sources").glob(f"{_INCOMING}*"):
            upload_id = folder.name.removeprefix(_INCOMING)
            if upload_id not in self.open:
                files = [path for path in folder.rglob("*") if path.is_file()]
                whole = sum(not path.name.startswith(_PART) for path in files)
                self.broken[upload_id] = Broken(whole, sum(path.stat().st_size for path in files))
                shutil.rmtree(folder, ignore_errors=True)

    def finish(self, upload: Upload) -> Item:
        """Make a source of it: archives are unpacked, one folder around everything is taken off.

        Raises:
            RefusedError: Nothing came in, or an archive holds what is not taken. Nothing is left of it then.
            FileError: It cannot be written.
        """
        upload.busy = True
        try:
            if not upload.files:
                if upload.passed:
                    endings = ", ".join(sorted({_ending(name) for name in upload.passed}))
                    raise RefusedError(f"{endings}: is not taken here", hint=_wanted(upload.kinds))
                raise RefusedError("no file came in", hint="choose files, a folder, or a zip")
            for path in upload.files:
                if path.name.lower().endswith(".zip"):
                    archive = upload.folder / path
                    stem = str(path.with_name(path.stem if path.suffix else "archive"))
                    inner = upload.folder / upload.names.folder(stem) if len(upload.files) > 1 else upload.folder
                    upload.inner.append(PlainNames())
                    unpack(archive, inner, upload.limit, upload.inner[-1])
                    archive.unlink()
            wanted, folder = _named(upload)
            item = self.workspace.new_item("sources", wanted)
            folder.rename(item.path)
            if told := upload.told():
                write_json(item.path / ABOUT, {"notes": "\n".join(told)})
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


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix or "a file without an ending"


def _wanted(kinds: tuple[str, ...]) -> str:
    return f"files that end in {', '.join(kinds)}"
