"""The folder that the app works in, and the names by which pages and URLs know what lies in it.

WORKSPACE/sources/    what was uploaded: a folder for each upload
WORKSPACE/datasets/   what `osteon import` made
WORKSPACE/runs/       what `osteon train` made
WORKSPACE/results/    what `osteon predict` made, and results that were uploaded
WORKSPACE/exports/    what `osteon export` made
WORKSPACE/plans/      the plans that runs were started with
WORKSPACE/jobs/       the commands, with their state and log: see `jobs`
WORKSPACE/cache/      previews; may be removed at any time
WORKSPACE/.bin/       what was deleted, until the bin is emptied: see `bin`
WORKSPACE/app.json    what was chosen on the pages
WORKSPACE/secret      32 bytes: of it ids, the token and cookies are made

A URL never holds a name or a path: ids are keyed hashes of them, the same after a restart.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osteon.core.errors import FileError, UsageError
from osteon.core.file_names import free_name, name_key
from osteon.core.files import atomic_write, read_json, write_error, write_json

Kind = Literal["sources", "datasets", "runs", "results", "exports"]
KINDS: tuple[Kind, ...] = ("sources", "datasets", "runs", "results", "exports")
OTHERS = ("plans", "jobs", "cache")
BIN, SPENT = ".bin", "spent.json"
"""Where what was deleted lies; in it the names of what was removed for good, which are given to nothing new."""
ABOUT = ".about.json"
"""In a folder of the workspace: from what it was made, in names of the workspace, and what is to be known of it."""
TITLE = "title"
"""There: what people renamed it to; the folder keeps its name, by which commands, jobs and other folders know it."""
SECRET, SETTINGS = "secret", "app.json"
ID_DIGITS = 20
LONGEST_NAME = 80
_UNWANTED = re.compile(r"[^\w.+=-]+")


@dataclass(frozen=True)
class Item:
    """A folder of the workspace: what it is, its name, and the id that stands for it in URLs."""

    kind: Kind
    name: str
    path: Path
    id: str

    @property
    def title(self) -> str:
        """What people call it: its name, where they gave it no other."""
        return about(self).get(TITLE) or self.name

    @property
    def place(self) -> str:
        """From the workspace on, as commands, which run there, and references name it."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Workspace:
    """The folder, with its secret.

    Attributes:
        root: Absolute, without links.
        secret: Known to this workspace alone.
        data: Further folders that may be read; nothing is ever written there.
    """

    root: Path
    secret: bytes
    data: tuple[Path, ...] = ()

    @classmethod
    def open(cls, root: Path, data: tuple[Path, ...] = ()) -> Workspace:
        """Make the folder where it does not exist; others than its owner cannot look into it then.

        Raises:
            UsageError: It is a file, or a data folder does not exist.
            FileError: It cannot be written.
        """
        root = Path(root)
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root}: is a file; the workspace is a folder", hint="give another --workspace")
        for folder in data:
            if not folder.is_dir():
                raise UsageError(f"{folder}: there is no such folder", hint="check --data")
        try:
            if not root.exists():
                root.mkdir(parents=True)
                root.chmod(0o700)
            for name in (*KINDS, *OTHERS, BIN):
                (root / name).mkdir(exist_ok=True, mode=0o700)
            secret = _secret(root / SECRET)
        except OSError as error:
            raise write_error(root, error) from error
        return cls(root.resolve(), secret, tuple(folder.resolve() for folder in data))

    def keyed(self, *parts: str, digits: int = ID_DIGITS) -> str:
        """A hash of some words that nobody can make without the secret."""
        return hmac.new(self.secret, "\0".join(parts).encode(), "sha256").hexdigest()[:digits]

    def items(self, kind: Kind) -> list[Item]:
        """What lies there, the newest first."""
        folders = [path for path in self._inner(kind) if path.is_dir()]
        newest = sorted(folders, key=lambda path: (-path.stat().st_mtime, path.name))
        return [self.item(kind, path.name) for path in newest]

    def item(self, kind: Kind, name: str) -> Item:
        """The item of that name, whether it is there or not."""
        return Item(kind, name, self.root / kind / name, self.keyed(kind, name))

    def find(self, kind: Kind, item_id: str) -> Item | None:
        """The item of that id; None where there is none."""
        return next((item for item in self.items(kind) if hmac.compare_digest(item.id, item_id)), None)

    def title(self, kind: Kind, name: str) -> str:
        """What people call the item of that name, whether it is there or not."""
        return self.item(kind, name).title

    def new(self, kind: Kind, wanted: str) -> Item:
        """An item with a plain name like the one wanted that nothing has or had; nothing is made."""
        return self.item(kind, free_name(plain_name(wanted), self.taken(kind)))

    def make(self, kind: Kind, wanted: str, of: Mapping[str, str]) -> Item:
        """A new folder, so that nothing else takes its name, with a note of what it is made from.

        Raises:
            FileError: It cannot be written.
        """
        item = self.new(kind, wanted)
        try:
            item.path.mkdir(parents=True)
        except OSError as error:
            raise write_error(item.path, error) from error
        write_json(item.path / ABOUT, dict(of))
        return item

    def taken(self, kind: Kind, but: Item | None = None) -> set[str]:
        """Keys of the names and titles of what is there and of what lies in the bin, and of names that were spent.

        Args:
            kind: Of which.
            but: Whose own name and title are left out.
        """
        deleted = [Item(kind, path.name, path, "") for path in (self.root / BIN).glob(f"*/{kind}/*")]
        others = [item for item in self.items(kind) if item != but]
        spent = [name for row in self.spent() for of, _, name in [row.partition("/")] if of == kind]
        names = [*spent, *(name for item in (*others, *deleted) for name in (item.name, item.title))]
        own = "" if but is None else but.name  # what was deleted may have had it, too
        return {name_key(name) for name in names if name != own}

    def spent(self) -> list[str]:
        """KIND/NAME of what was removed for good."""
        try:
            data = read_json(self.root / BIN / SPENT, "the names of what was removed")
        except FileError:
            return []
        return [str(row) for row in data] if isinstance(data, list) else []

    def may_read(self, path: Path) -> bool:
        """Whether a path, followed through links and dots, lies in the workspace or in a data folder."""
        try:
            real = Path(path).resolve()
        except (OSError, ValueError, RuntimeError):
            return False
        return any(real.is_relative_to(folder) for folder in (self.root, *self.data))

    def check_readable(self, path: Path) -> Path:
        """The path. Raises FileError where it lies elsewhere."""
        if not self.may_read(path):
            raise FileError(
                f"{Path(path).name}: lies outside the workspace, and the app reads nothing there",
                hint="upload it, move it into the workspace, or start `osteon app` with --data FOLDER",
            )
        return path

    def given(self, path: Path) -> str:
        """A path as a command is given it: from the workspace on where it lies there."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def settings(self) -> dict[str, object]:
        """What was chosen on the pages; nothing where the file is missing or damaged."""
        try:
            data = read_json(self.root / SETTINGS, "the app's settings")
        except FileError:
            return {}
        return data if isinstance(data, dict) else {}

    def choose(self, **changes: object) -> None:
        """Keep what was chosen."""
        write_json(self.root / SETTINGS, self.settings() | changes)

    def _inner(self, kind: Kind) -> Iterator[Path]:
        folder = self.root / kind
        return (path for path in folder.iterdir() if not path.name.startswith(".") and self.may_read(path))


def about(item: Item) -> dict[str, str]:
    """From what an item was made, and what it is called; empty where nobody wrote it down."""
    try:
        data = read_json(item.path / ABOUT, "what it was made from")
    except FileError:
        return {}
    return {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}


def plain_name(wanted: str) -> str:
    """A name for a folder: letters, digits and `_.+=-`, no leading dot, not too long; `untitled` where none is left."""
    plain = _UNWANTED.sub("-", wanted.strip()).strip("-.")[:LONGEST_NAME].strip("-.")
    return plain or "untitled"


def _secret(path: Path) -> bytes:
    if path.is_file() and len(held := path.read_bytes()) == 32:
        return held
    made = secrets.token_bytes(32)
    with atomic_write(path) as temporary:
        temporary.touch(mode=0o600)
        os.chmod(temporary, 0o600)  # noqa: PTH101 (touch leaves a mode that is there)
        temporary.write_bytes(made)
    return made
