"""Deleting and renaming what the workspace holds, so that both can be undone and nothing refers to what is not there.

WORKSPACE/.bin/<time>-<kind>-<name>/<kind>/<name>   all that went with one deletion, as it lay in the workspace

Whatever lies in such a folder is what can be restored: a deletion that was killed half-way is undone like any other.
A new name is a title (`workspace.TITLE`): no file moves, so every reference and every job stays right.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from osteon.app.item_references import attached_paths, dependent_datasets, find_job_using, items_with_files, job_uses
from osteon.app.jobs import Job
from osteon.app.state import AppState
from osteon.app.workspace import (
    ABOUT,
    BIN,
    ITEM_KINDS,
    KIND_NAMES,
    MAX_NAME_LENGTH,
    TITLE,
    USED_NAMES,
    Item,
    ItemKind,
    read_about,
)
from osteon.core.errors import UsageError
from osteon.core.file_names import name_key
from osteon.core.files import write_error, write_json
from osteon.core.locks import LOCK_NAME as LOCK
from osteon.core.locks import lock_folder

_PURGING = ".going-"
"""Before the name of what is being removed for good: an interrupted removal is finished at the next start."""
_TIME, _NAME = "%Y%m%d-%H%M%S", re.compile(r"\d{8}-\d{6}-\w+-.")


@dataclass(frozen=True)
class Deletion:
    """A deleted item in the bin, with all that went with it.

    Attributes:
        path: Its folder in the bin.
        kind: Of the item.
        name: Of the item's folder.
        title: Of the item.
        at: When it was deleted, as `2026-11-29 23:15`.
        items: All that went with it, and itself, as `KIND/NAME`.
    """

    path: Path
    kind: ItemKind
    name: str
    title: str
    at: str
    items: tuple[str, ...]


def rename(app: AppState, item: Item, name: str) -> str:
    """Give an item another title.

    Returns:
        The title that it had.

    Raises:
        UsageError: It is no name, or another item of its kind has or had it.
        FileError: It cannot be written.
    """
    before, title = item.title, " ".join(name.split())
    if not title or not title.isprintable() or len(title) > MAX_NAME_LENGTH:
        raise UsageError("this is not a valid name", hint=f"give 1 to {MAX_NAME_LENGTH} characters")
    if name_key(title) in app.workspace.used_name_keys(item.kind, exclude=item):
        raise UsageError(f"another {KIND_NAMES[item.kind]} is, or was, called {title}", hint="choose another name")
    record = {k: v for k, v in read_about(item).items() if k != TITLE} | ({} if title == item.name else {TITLE: title})
    try:
        stat = item.path.stat()
        if record:
            write_json(item.path / ABOUT, record)
        else:
            (item.path / ABOUT).unlink(missing_ok=True)
        os.utime(item.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # lists have the newest first: its place stays
    except OSError as error:
        raise write_error(item.path, error) from error
    return before


def delete(app: AppState, item: Item) -> Deletion:
    """Move an item into the bin: an upload with the datasets that need it, a result with its exports.

    Raises:
        UsageError: A job uses it, or a command in a terminal does. Nothing is moved then.
        FileError: It cannot be moved.
    """
    items = [*dependent_datasets(app, item), item]
    with app.jobs.store.lock():  # no job begins meanwhile
        job = find_job_using(app, items)
        if job is not None:
            raise UsageError(
                f"{item.title}: the job “{job.title}” uses it", hint="let it end, or cancel it on the page Jobs"
            )
        for each in items:
            if (each.path / LOCK).exists():
                with lock_folder(each.path, "a command", "let it end first"):
                    pass
        folder = _new_folder(app, item)
        try:
            for path in [path for each in items for path in (*attached_paths(app, each), each.path)]:
                target = folder / path.relative_to(app.workspace.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        except OSError as error:
            _move_back(app, _read_deletion(folder))
            raise write_error(item.path, error) from error
    return _read_deletion(folder)


def list_deletions(app: AppState) -> list[Deletion]:
    """All that can be restored, the newest first."""
    folders = sorted(folder for folder in _bin_folder(app).iterdir() if _NAME.match(folder.name) and folder.is_dir())
    return [found for folder in reversed(folders) if (found := _read_deletion(folder)).items]


def restore(app: AppState, deletion: Deletion) -> None:
    """Move everything of a deletion back to where it was.

    Raises:
        UsageError: Something else has its place by now. Nothing is moved then.
        FileError: It cannot be moved.
    """
    root = app.workspace.root
    with app.jobs.store.lock():
        if not deletion.path.is_dir():
            raise UsageError(f"{deletion.title}: is no longer in the bin", hint="reload the page")
        for place in deletion.items:
            if (root / place).exists() or (root / place).is_symlink():
                raise UsageError(
                    f"{deletion.title}: something else is called {place} by now", hint="delete that one first"
                )
        try:
            _move_back(app, deletion)
        except OSError as error:
            raise write_error(deletion.path, error) from error


def missing_uploads(app: AppState, restored: Deletion) -> list[Deletion]:
    """Deletions with an upload that holds the files of a dataset that was restored."""
    names = [Path(place).name for place in restored.items if place.startswith("datasets/")]
    needed = {place for name in names for place in items_with_files(app, app.workspace.item("datasets", name))}
    return [deletion for deletion in list_deletions(app) if needed.intersection(deletion.items)]


def purge(app: AppState, deletions: Sequence[Deletion]) -> None:
    """Remove deletions for good; no new item gets their names.

    Raises:
        FileError: Their names cannot be recorded. Nothing is removed then.
    """
    with app.jobs.store.lock():
        names = [*app.workspace.used_names(), *(place for each in deletions for place in each.items)]
        write_json(_bin_folder(app) / USED_NAMES, list(dict.fromkeys(names)))
        for each in deletions:
            with suppress(FileNotFoundError):  # removed on another page
                each.path.rename(each.path.with_name(f"{_PURGING}{each.path.name}"))
    finish_purges(app)


def finish_purges(app: AppState) -> None:
    """Finish removals that were interrupted."""
    for folder in _bin_folder(app).glob(f"{_PURGING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def check_not_deleted(app: AppState, job: Job) -> None:
    """Raise UsageError where a job that is to be started again would use what is in the bin."""
    for deletion in list_deletions(app):
        for place in deletion.items:
            if job_uses(app, job, app.workspace.root / place):
                raise UsageError(
                    f"{deletion.title} was deleted, and the job uses it", hint="restore it on the page Space"
                )


def _move_back(app: AppState, deletion: Deletion) -> None:
    for place in deletion.items:
        (deletion.path / place).rename(app.workspace.root / place)
    shutil.rmtree(deletion.path)


def _read_deletion(folder: Path) -> Deletion:
    date, clock, kind, name = folder.name.split("-", 3)
    order = {kind: number for number, kind in enumerate(("plans", "exports", *ITEM_KINDS))}
    inner = [path.relative_to(folder) for path in folder.glob("*/*") if path.parent.name in order]
    items = sorted(inner, key=lambda path: (order[path.parts[0]], path.name))
    known: ItemKind = next((k for k in ITEM_KINDS if k == kind), "exports")
    name = next((path.name for path in items if path.parts[0] == known), name.partition("~")[0])
    title = Item(known, name, folder / known / name, "").title
    at = f"{date[:4]}-{date[4:6]}-{date[6:]} {clock[:2]}:{clock[2:4]}"
    return Deletion(folder, known, name, title, at, tuple(path.as_posix() for path in items))


def _new_folder(app: AppState, item: Item) -> Path:
    """`~2` at the end where one of the name was deleted in this second.

    The deleted item's name is read from what lies in the folder: it is the only one of its kind there, and a name that
    was not given by the app may have a `~`, too.
    """
    first = f"{time.strftime(_TIME)}-{item.kind}-{item.name}"
    number = 1
    while True:
        folder = _bin_folder(app) / (first if number == 1 else f"{first}~{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        return folder


def _bin_folder(app: AppState) -> Path:
    folder = app.workspace.root / BIN
    folder.mkdir(mode=0o700, exist_ok=True)  # it may have been removed by hand
    return folder
