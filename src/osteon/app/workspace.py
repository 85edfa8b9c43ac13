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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from osteon.core.errors import FileError, UsageError
from osteon.core.file_names import free_name, name_key
from osteon.core.files import atomic_write, read_json, write_error, write_json

T = TypeVar("T", list[Any], dict[str, Any])
ItemKind = Literal["sources", "datasets", "runs", "results", "exports"]
ITEM_KINDS: tuple[ItemKind, ...] = ("sources", "datasets", "runs", "results", "exports")
KIND_NAMES = dict(zip(ITEM_KINDS, ("upload", "dataset", "training", "result", "export"), strict=True))
"""What one item is called on pages."""
PAGES = dict(zip(ITEM_KINDS, ("source", "dataset", "train", "result", "d"), strict=True))
"""The first part of an item's URL."""
OTHER_FOLDERS = ("plans", "jobs", "cache")
BIN, USED_NAMES = ".bin", "spent.json"
"""The folder of what was deleted; in it the names of what was removed for good, which no new item gets."""
ABOUT = ".about.json"
"""In an item's folder: from what it was made, by names of the workspace, and notes on it."""
TITLE = "title"
"""A key in it: the name that users gave; the folder keeps its own, by which commands, jobs and other items know it."""
SECRET, SETTINGS = "secret", "app.json"
ID_DIGITS = 20
MAX_NAME_LENGTH = 80
_NAME_BREAKS = re.compile(r"[^\w.+=-]+")


@dataclass(frozen=True)
class Item:
    """A folder of the workspace: what it is, its name, and the id that stands for it in URLs."""

    kind: ItemKind
    name: str
    path: Path
    id: str

    @property
    def title(self) -> str:
        """The name that users gave, or else the folder's."""
        return read_about(self).get(TITLE) or self.name

    @property
    def url(self) -> str:
        """Of its page; an export's is its download."""
        return f"/{PAGES[self.kind]}/{self.id}"

    @property
    def relative_path(self) -> str:
        """Its folder below the workspace, as commands (which run there) and references have it."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Workspace:
    """The folder, with its secret.

    Attributes:
        root: Absolute, without links.
        secret: Known to this workspace alone.
        data_folders: Further folders that may be read; nothing is ever written there.
    """

    root: Path
    secret: bytes
    data_folders: tuple[Path, ...] = ()

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
            for name in (*ITEM_KINDS, *OTHER_FOLDERS, BIN):
                (root / name).mkdir(exist_ok=True, mode=0o700)
            secret = _read_secret(root / SECRET)
        except OSError as error:
            raise write_error(root, error) from error
        return cls(root.resolve(), secret, tuple(folder.resolve() for folder in data))

    def keyed_hash(self, *parts: str, digits: int = ID_DIGITS) -> str:
        """A hash of `parts` that cannot be made without the secret."""
        return hmac.new(self.secret, "\0".join(parts).encode(), "sha256").hexdigest()[:digits]

    def items(self, kind: ItemKind) -> list[Item]:
        """What lies there, the newest first."""
        folders = [path for path in self._visible_paths(kind) if path.is_dir()]
        newest = sorted(folders, key=lambda path: (-path.stat().st_mtime, path.name))
        return [self.item(kind, path.name) for path in newest]

    def item(self, kind: ItemKind, name: str) -> Item:
        """The item of that name, whether it is there or not."""
        return Item(kind, name, self.root / kind / name, self.keyed_hash(kind, name))

    def find(self, kind: ItemKind, item_id: str) -> Item | None:
        """The item of that id; None where there is none."""
        return next((item for item in self.items(kind) if hmac.compare_digest(item.id, item_id)), None)

    def title(self, kind: ItemKind, name: str) -> str:
        """The title of the item of that name, whether it is there or not."""
        return self.item(kind, name).title

    def new_item(self, kind: ItemKind, name: str) -> Item:
        """An item with a safe name like `name` that no item has or had; no folder is made."""
        return self.item(kind, free_name(safe_name(name), self.used_name_keys(kind)))

    def create(self, kind: ItemKind, name: str, origin: Mapping[str, str]) -> Item:
        """A new item with its folder, so that no other gets its name, and a record of what it is made from.

        Raises:
            FileError: It cannot be written.
        """
        item = self.new_item(kind, name)
        try:
            item.path.mkdir(parents=True)
        except OSError as error:
            raise write_error(item.path, error) from error
        write_json(item.path / ABOUT, dict(origin))
        return item

    def used_name_keys(self, kind: ItemKind, exclude: Item | None = None) -> set[str]:
        """Keys of the names and titles of items that are there, were deleted, or were removed for good.

        Args:
            kind: Of the items.
            exclude: Whose name and title are left out.
        """
        deleted = [Item(kind, path.name, path, "") for path in (self.root / BIN).glob(f"*/{kind}/*")]
        others = [item for item in self.items(kind) if item != exclude]
        removed = [row.removeprefix(f"{kind}/") for row in self.used_names() if row.startswith(f"{kind}/")]
        names = [*removed, *(name for item in (*others, *deleted) for name in (item.name, item.title))]
        excluded = "" if exclude is None else exclude.name  # what was deleted may have had it, too
        return {name_key(name) for name in names if name != excluded}

    def used_names(self) -> list[str]:
        """KIND/NAME of what was removed for good."""
        return [str(row) for row in _read(self.root / BIN / USED_NAMES, "the names of what was removed", list)]

    @property
    def readable_folders(self) -> tuple[Path, ...]:
        """The workspace and the data folders."""
        return self.root, *self.data_folders

    def data_sources(self) -> dict[str, Path]:
        """Id → path of each data folder and of the folders in it that may be read."""
        folders = [p for top in self.data_folders for p in (top, *sorted(top.iterdir())) if p.is_dir()]
        readable = [p for p in folders if p in self.data_folders or (p.name[0] != "." and self.may_read(p))]
        return {self.keyed_hash("data", str(path)): path for path in readable}

    def may_read(self, path: Path) -> bool:
        """Whether a path, with links and dots resolved, lies in the workspace or in a data folder."""
        try:
            real = Path(path).resolve()
        except (OSError, ValueError, RuntimeError):
            return False
        return any(real.is_relative_to(folder) for folder in self.readable_folders)

    def check_readable(self, path: Path) -> Path:
        """The path. Raises FileError where it lies elsewhere."""
        if not self.may_read(path):
            raise FileError(
                f"{Path(path).name}: is outside the workspace, where the app reads nothing",
                hint="upload it, move it into the workspace, or start `osteon app` with --data FOLDER",
            )
        return path

    def command_path(self, path: Path) -> str:
        """A path as an argument of a command: relative where it lies in the workspace."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def read_settings(self) -> dict[str, object]:
        """What was chosen on the pages; nothing where the file is missing or damaged."""
        return _read(self.root / SETTINGS, "the app's settings", dict)

    def save_settings(self, **changes: object) -> None:
        """Change some settings."""
        write_json(self.root / SETTINGS, self.read_settings() | changes)

    def _visible_paths(self, kind: ItemKind) -> Iterator[Path]:
        folder = self.root / kind
        return (path for path in folder.iterdir() if not path.name.startswith(".") and self.may_read(path))


def read_about(item: Item) -> dict[str, str]:
    """What an item was made from, and its title; empty where it has no such record."""
    return {str(k): str(v) for k, v in _read(item.path / ABOUT, "what it was made from", dict).items()}


def safe_name(name: str) -> str:
    """A name for a folder: letters, digits and `_.+=-`, no leading dot, not too long; `untitled` where none is left."""
    plain = _NAME_BREAKS.sub("-", name.strip()).strip("-.")[:MAX_NAME_LENGTH].strip("-.")
    return plain or "untitled"


def _read(path: Path, what: str, kind: type[T]) -> T:
    """A list or an object in a file; an empty one where the file is missing or damaged."""
    with suppress(FileError):
        data = read_json(path, what)
        if isinstance(data, kind):
            return data
    return kind()


def _read_secret(path: Path) -> bytes:
    if path.is_file() and len(secret := path.read_bytes()) == 32:
        return secret
    secret = secrets.token_bytes(32)
    with atomic_write(path) as temporary:
        temporary.touch(mode=0o600)
        os.chmod(temporary, 0o600)  # noqa: PTH101 (touch leaves a mode that is there)
        temporary.write_bytes(secret)
    return secret
