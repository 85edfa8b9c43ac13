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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from osteon.app.jobs import OVER, Job
from osteon.app.result_commands import volumes_table
from osteon.app.results import prediction_records
from osteon.app.state import AppState, open_dataset
from osteon.app.workspace import ABOUT, BIN, ITEM_KINDS, MAX_NAME_LENGTH, TITLE, USED_NAMES, Item, ItemKind, read_about
from osteon.core.errors import UsageError
from osteon.core.file_names import name_key
from osteon.core.files import write_error, write_json
from osteon.core.locks import NAME as LOCK
from osteon.core.locks import hold_folder
from osteon.exporting.registry import FORMS

KIND_NAMES: dict[ItemKind, str] = {
    "sources": "upload",
    "datasets": "dataset",
    "runs": "training",
    "results": "result",
    "exports": "export",
}
_PURGING = ".going-"
"""Before the name of what is being removed for good: a removal that was killed is ended at the next start."""
_TIME, _NAME = "%Y%m%d-%H%M%S", re.compile(r"\d{8}-\d{6}-\w+-.")


@dataclass(frozen=True)
class Deletion:
    """One deletion.

    Attributes:
        path: Its folder in the bin.
        kind: Of what was deleted.
        name: Its own, by which its folder is known.
        title: What people called it.
        at: When, as `2026-11-29 23:15`.
        items: All that went with it, as `KIND/NAME`.
    """

    path: Path
    kind: ItemKind
    name: str
    title: str
    at: str
    items: tuple[str, ...]


def find_references(app: AppState) -> dict[str, list[Item]]:
    """By `KIND/NAME`: the datasets, runs and results that were made of it."""
    found: dict[str, list[Item]] = {}
    for item in (*app.datasets(), *app.workspace.items("runs"), *app.workspace.items("results")):
        for place in _origins(app, item) - {item.relative_path}:
            found.setdefault(place, []).append(item)
    return found


def dependent_datasets(app: AppState, source: Item) -> list[Item]:
    """The datasets whose files an upload holds."""
    return [
        item
        for item in app.datasets()
        if source.kind == "sources" and source.relative_path in _items_with_files(app, item)
    ]


def remaining_references(app: AppState, item: Item, needed: Sequence[Item]) -> list[Item]:
    """What was made of an item and stays when it goes with what needs it, without what it shows of it."""
    return [other for other in find_references(app).get(item.relative_path, []) if other not in needed]


def find_job_using(app: AppState, items: Sequence[Item]) -> Job | None:
    """A job that runs, waits or was paused and reads or writes one of some items."""
    for job in app.jobs.all():
        if app.jobs.state(job).phase not in OVER and any(job_uses(app, job, item.path) for item in items):
            return job
    return None


def job_uses(app: AppState, job: Job, folder: Path) -> bool:
    """Whether a job's command names a folder of the workspace, or something in it."""
    root = app.workspace.root
    return any(_is_within(root / given, folder) for given in (*job.arguments, job.product) if given)


def rename(app: AppState, item: Item, wanted: str) -> str:
    """Call an item otherwise; the name that it had.

    Raises:
        UsageError: It is no name, or something else of its kind has or had it.
        FileError: It cannot be written.
    """
    before, title = item.title, " ".join(wanted.split())
    if not title or not title.isprintable() or len(title) > MAX_NAME_LENGTH:
        raise UsageError("this is no name", hint=f"give one of 1 to {MAX_NAME_LENGTH} letters")
    if name_key(title) in app.workspace.used_name_keys(item.kind, but=item):
        raise UsageError(f"another {KIND_NAMES[item.kind]} is, or was, called {title}", hint="choose another name")
    told = {k: v for k, v in read_about(item).items() if k != TITLE} | ({} if title == item.name else {TITLE: title})
    try:
        was = item.path.stat()
        if told:
            write_json(item.path / ABOUT, told)
        else:
            (item.path / ABOUT).unlink(missing_ok=True)
        os.utime(item.path, ns=(was.st_atime_ns, was.st_mtime_ns))  # lists have the newest first: its place stays
    except OSError as error:
        raise write_error(item.path, error) from error
    return before


def delete(app: AppState, item: Item) -> Deletion:
    """Put an item into the bin: an upload with the datasets that need it, a result with what was exported of it.

    Raises:
        UsageError: A job uses it, or a command in a terminal does. Nothing is moved then.
        FileError: It cannot be moved.
    """
    items = [*dependent_datasets(app, item), item]
    with app.jobs.locked():  # no job begins meanwhile
        job = find_job_using(app, items)
        if job is not None:
            raise UsageError(
                f"{item.title}: the job “{job.title}” uses it", hint="let it end, or cancel it on the page Jobs"
            )
        for each in items:
            if (each.path / LOCK).exists():
                with hold_folder(each.path, "a command", "let it end first"):
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
    """All deletions that can be undone, the newest first."""
    folders = sorted(folder for folder in _bin_folder(app).iterdir() if _NAME.match(folder.name) and folder.is_dir())
    return [found for folder in reversed(folders) if (found := _read_deletion(folder)).items]


def restore(app: AppState, gone: Deletion) -> None:
    """Put everything of a deletion back to where it lay.

    Raises:
        UsageError: Something else is there by now. Nothing is moved then.
        FileError: It cannot be moved.
    """
    root = app.workspace.root
    with app.jobs.locked():
        if not gone.path.is_dir():
            raise UsageError(f"{gone.title}: is no longer in the bin", hint="reload the page")
        for place in gone.items:
            if (root / place).exists() or (root / place).is_symlink():
                raise UsageError(f"{gone.title}: something else is called {place} by now", hint="delete that one first")
        try:
            _move_back(app, gone)
        except OSError as error:
            raise write_error(gone.path, error) from error


def missing_uploads(app: AppState, restored: Deletion) -> list[Deletion]:
    """Other deletions with an upload that holds the files of a dataset that was restored."""
    names = [Path(place).name for place in restored.items if place.startswith("datasets/")]
    needed = {place for name in names for place in _items_with_files(app, app.workspace.item("datasets", name))}
    return [gone for gone in list_deletions(app) if needed.intersection(gone.items)]


def purge(app: AppState, gone: Sequence[Deletion]) -> None:
    """Remove deletions for good; their names are given to nothing new.

    Raises:
        FileError: It cannot be noted which they are. Nothing is removed then.
    """
    with app.jobs.locked():
        names = [*app.workspace.used_names(), *(place for each in gone for place in each.items)]
        write_json(_bin_folder(app) / USED_NAMES, list(dict.fromkeys(names)))
        for each in gone:
            with suppress(FileNotFoundError):  # removed on another page
                each.path.rename(each.path.with_name(f"{_PURGING}{each.path.name}"))
    finish_purges(app)


def finish_purges(app: AppState) -> None:
    """End removals that were begun."""
    for folder in _bin_folder(app).glob(f"{_PURGING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def check_not_deleted(app: AppState, job: Job) -> None:
    """Raise UsageError where a job that is to be given again would use what lies in the bin."""
    for gone in list_deletions(app):
        for place in gone.items:
            if job_uses(app, job, app.workspace.root / place):
                raise UsageError(f"{gone.title} was deleted, and the job uses it", hint="restore it on the page Space")


def _move_back(app: AppState, gone: Deletion) -> None:
    for place in gone.items:
        (gone.path / place).rename(app.workspace.root / place)
    shutil.rmtree(gone.path)


def _read_deletion(folder: Path) -> Deletion:
    date, clock, kind, name = folder.name.split("-", 3)
    name, order = (
        name.partition("~")[0],
        {kind: number for number, kind in enumerate(("plans", "exports", *ITEM_KINDS))},
    )
    inner = [path.relative_to(folder) for path in folder.glob("*/*") if path.parent.name in order]
    items = sorted(inner, key=lambda path: (order[path.parts[0]], path.name))
    known: ItemKind = next((k for k in ITEM_KINDS if k == kind), "exports")
    name = next((path.name for path in items if path.parts[0] == known), name)
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
    folder.mkdir(mode=0o700, exist_ok=True)  # somebody may have removed it by hand
    return folder


def attached_paths(app: AppState, item: Item) -> list[Path]:
    """What means nothing without an item: the exports of a result, the plan that a run was started with."""
    root = app.workspace.root
    made = [(root / volumes_table(item)).parent, *(root / "exports" / f"{item.name}-{form.name}" for form in FORMS)]
    exports = made if item.kind == "results" else []
    plans = [root / "plans" / f"{item.name}.yaml"] if item.kind == "runs" else []
    return [path for path in (*exports, *plans) if path.exists()]


def _items_with_files(app: AppState, dataset: Item) -> set[str]:
    """The items in whose folders the files of a dataset lie, as `KIND/NAME`."""
    opened = open_dataset(dataset)
    if opened is None:  # it may be mended, and need what it was made of
        source = read_about(dataset).get("source")
        return _items_at(app, [app.workspace.root / source]) if source else set()
    cases = opened.manifest.cases
    files = [dataset.path / file for case in cases for file in (*case.images, case.segmentation) if file]
    return _items_at(app, files)


def _origins(app: AppState, item: Item) -> set[str]:
    """What an item was made of, as `KIND/NAME`."""
    told = read_about(item)
    if item.kind == "datasets":
        source = told.get("source")
        return _items_with_files(app, item) | _items_at(app, [app.workspace.root / source] if source else [])
    named = (("datasets", "dataset"), ("runs", "run"), ("sources", "source"))
    found = {f"{kind}/{told[key]}" for kind, key in named if told.get(key)}
    found |= {f"results/{name}" for name in told.get("members", "").split(", ") if name}
    inputs = [entry[0] for record in prediction_records(item).values() for entry in record.get("input") or [] if entry]
    return found | _items_at(app, [Path(str(path)) for path in inputs])


def _items_at(app: AppState, paths: Iterable[Path]) -> set[str]:
    """The items in which some files lie, as `KIND/NAME`."""
    found = set()
    for path in paths:
        plain = Path(os.path.normpath(path))
        if plain.is_relative_to(app.workspace.root):
            found.add("/".join(plain.relative_to(app.workspace.root).parts[:2]))
    return found


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path, its dots followed, lies in a folder."""
    return Path(os.path.normpath(path)).is_relative_to(folder)
