"""Uploads: names that are refused, sizes that are counted while they come in, and nothing left of what was refused."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from osteon.app.upload_names import MOST_LISTED, SafeNames
from osteon.app.workspace import ABOUT, Item, Workspace
from osteon.core.files import write_error, write_json
from osteon.web.http_errors import RejectedError
from osteon.web.uploads import MOST_FILES, ByteCounter, unpack, write_body

MOST_BYTES = 20 * 10**9
ARCHIVE_SLACK = 256 << 20
"""Bytes that may come out of any archive."""
IDLE_S = 120.0
"""A page sends one file right after the other: one that has sent nothing for so long is closed."""
_INCOMING, _PART = ".incoming-", ".part-"


@dataclass
class Upload:
    """One upload: files that come in one after the other, into a folder that becomes a source when all are there.

    Attributes:
        id: Opaque; the page that asked for it knows it.
        folder: Where its files lie until then.
        received: Counts its bytes; as many may come out of its archives.
        suffixes: Of the files that are taken, lower case; any where empty.
        files: Paths of the files received.
        active: When bytes came in last; seconds of the monotonic clock.
        finishing: Whether it is being made a source of.
        names: The names of its files, and the paths under which they are taken.
        archive_names: The same of each archive among them.
        skipped: Paths of files whose suffixes are not taken.
    """

    id: str
    folder: Path
    received: ByteCounter
    suffixes: tuple[str, ...] = ()
    files: list[PurePosixPath] = field(default_factory=list)
    active: float = field(default_factory=time.monotonic)
    finishing: bool = False
    names: SafeNames = field(default_factory=SafeNames)
    archive_names: list[SafeNames] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What a person should know of the names, in sentences."""
        lines = [line for names in (self.names, *self.archive_names) for line in names.notes()]
        lines += [f"{name} is skipped: {_suffix(name)} is not accepted here" for name in self.skipped[:MOST_LISTED]]
        more = len(self.skipped) - MOST_LISTED
        return lines + ([f"and {more} more files are skipped"] if more > 0 else [])

    async def receive(self, name: str, body: AsyncIterator[bytes]) -> None:
        """Write one file as it comes in. One that is refused is removed; one with another suffix is skipped and noted.

        Raises:
            RejectedError: Its name, its size, or the disk is nearly full.
            FileError: It cannot be written.
        """
        if len(self.files) + len(self.skipped) + self.names.skipped >= MOST_FILES:
            raise RejectedError(422, f"more than {MOST_FILES:,} files", hint="upload them in parts, or as a zip")
        path = self.names.add(name)
        if path is None or (self.suffixes and not path.name.lower().endswith(self.suffixes)):
            if (name, str(path)) in self.names.renamed[-1:]:
                self.names.renamed.pop()  # or it would be noted as taken
            async for chunk in body:
                self._count(len(chunk))
            if path is not None:
                self.skipped.append(str(path))
            return
        target = self.folder / path
        part = target.with_name(f"{_PART}{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            await write_body(body, part, self._count)
            part.replace(target)
        except OSError as error:
            raise write_error(Path(path.name), error) from error
        finally:
            with suppress(OSError):
                part.unlink()
        self.files.append(path)

    def _count(self, size: int) -> None:
        self.active = time.monotonic()
        self.received.add(size)

    def unpack(self) -> None:
        """Put the contents of each archive in its place: a folder of its name, or where it is alone the upload's.

        Raises:
            RejectedError, FileError: As `web.uploads.unpack`.
        """
        for path in self.files:
            if not path.name.lower().endswith(".zip"):
                continue
            stem = str(path.with_name(path.stem if path.suffix else "archive"))
            folder = self.folder / self.names.new_folder(stem) if len(self.files) > 1 else self.folder
            self.archive_names.append(SafeNames())
            unpack_archive(self.folder / path, folder, replace(self.received, size=0), self.archive_names[-1])
            (self.folder / path).unlink()


def unpack_archive(archive: Path, folder: Path, counter: ByteCounter, names: SafeNames) -> None:
    """Unpack a zip under names that are safe (`web.uploads.unpack`)."""
    unpack(archive, folder, counter, lambda _, entry: names.add(entry.filename), slack=ARCHIVE_SLACK)


@dataclass(frozen=True)
class InterruptedUpload:
    """An upload that ended before all of it was there.

    Attributes:
        files: That had come in whole.
        size: Their bytes, and those of the one that was interrupted.
    """

    files: int
    size: int

    def describe(self) -> str:
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
        interrupted: Those that ended before all of them was there and nobody has seen that yet, by id.
    """

    workspace: Workspace
    limit: int = MOST_BYTES
    open: dict[str, Upload] = field(default_factory=dict)
    interrupted: dict[str, InterruptedUpload] = field(default_factory=dict)

    def start(self, suffixes: tuple[str, ...] = ()) -> Upload:
        """A new upload, of files with these suffixes; any where empty."""
        upload_id = secrets.token_hex(12)
        folder = self.workspace.root / "sources" / f"{_INCOMING}{upload_id}"
        folder.mkdir(mode=0o700)
        counter = ByteCounter(self.limit, "start `osteon app` with a larger --upload-limit")
        upload = self.open[upload_id] = Upload(upload_id, folder, counter, suffixes)
        return upload

    def discard(self, upload: Upload) -> None:
        """Remove an upload with its files."""
        self.open.pop(upload.id, None)
        shutil.rmtree(upload.folder, ignore_errors=True)

    def interrupt(self, upload: Upload) -> None:
        """Discard an upload whose sender is gone, and note it, unless it was given up before."""
        if self.open.get(upload.id) is upload:
            self.interrupted[upload.id] = InterruptedUpload(len(upload.files), upload.received.size)
            self.discard(upload)

    def cancel(self, upload_id: str) -> None:
        """Discard what its sender gives up; the connection of a body that is given up was interrupted just before."""
        self.interrupted.pop(upload_id, None)
        upload = self.open.get(upload_id)
        if upload is not None:
            self.discard(upload)

    def interrupt_idle(self) -> None:
        """Interrupt uploads whose page was closed between two files, or before it asked for a source."""
        for upload in list(self.open.values()):
            if not upload.finishing and time.monotonic() - upload.active > IDLE_S:
                self.interrupt(upload)

    def remove_leftovers(self) -> None:
        """Remove, and note, what an earlier server left half received."""
        for folder in (self.workspace.root / "sources").glob(f"{_INCOMING}*"):
            upload_id = folder.name.removeprefix(_INCOMING)
            if upload_id not in self.open:
                files = [path for path in folder.rglob("*") if path.is_file()]
                whole = sum(not path.name.startswith(_PART) for path in files)
                self.interrupted[upload_id] = InterruptedUpload(whole, sum(path.stat().st_size for path in files))
                shutil.rmtree(folder, ignore_errors=True)

    def finish(self, upload: Upload) -> Item:
        """Make a source of it: archives are unpacked, one folder around everything is taken off.

        Raises:
            RejectedError: Nothing came in, or an archive holds what is not taken. Nothing is left of it then.
            FileError: It cannot be written.
        """
        upload.finishing = True
        try:
            if not upload.files:
                if upload.skipped:
                    suffixes = ", ".join(sorted({_suffix(name) for name in upload.skipped}))
                    hint = f"files that end in {', '.join(upload.suffixes)}"
                    raise RejectedError(422, f"{suffixes}: is not accepted here", hint=hint)
                raise RejectedError(422, "no file was received", hint="choose files, a folder, or a zip")
            upload.unpack()
            name, folder = _name_and_folder(upload)
            item = self.workspace.new_item("sources", name)
            folder.rename(item.path)
            if notes := upload.notes():
                write_json(item.path / ABOUT, {"notes": "\n".join(notes)})
        except OSError as error:
            raise write_error(Path("the upload"), error) from error
        finally:
            self.discard(upload)
        return item


def _name_and_folder(upload: Upload) -> tuple[str, Path]:
    """The name of a source, and the folder that becomes it."""
    first = upload.files[0]
    name = first.parts[0] if len(first.parts) > 1 else first.name.partition(".")[0] or first.name
    if len(upload.files) > 1 and len(first.parts) == 1:
        name = f"{name}-and-{len(upload.files) - 1}-more"
    folder = upload.folder
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir() and _only_wraps(inside[0]):
        folder = inside[0]
        inside = list(folder.iterdir())
    return name, folder


def _only_wraps(folder: Path) -> bool:
    """Whether a folder only wraps others: a lone folder with files is a case, and its name is needed."""
    return any(path.is_dir() for path in folder.iterdir()) or (folder / "dataset.json").is_file()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix or "a file without an ending"
