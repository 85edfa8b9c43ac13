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
from osteon.app.results import record_of
from osteon.app.state import Studio, open_dataset
from osteon.app.workspace import ABOUT, BIN, KINDS, LONGEST_NAME, SPENT, TITLE, Item, Kind, about
from osteon.core.errors import UsageError
from osteon.core.file_names import name_key
from osteon.core.files import write_error, write_json
from osteon.core.locks import NAME as LOCK
from osteon.core.locks import hold_folder
from osteon.exporting.registry import export_forms

WORDS: dict[Kind, str] = {
    "sources": "upload",
    "datasets": "dataset",
    "runs": "training",
    "results": "result",
    "exports": "export",
}
_GOING = ".going-"
"""Before the name of what is being removed for good: a removal that was killed is ended at the next start."""
_TIME, _NAME = "%Y%m%d-%H%M%S", re.compile(r"\d{8}-\d{6}-\w+-.")


@dataclass(frozen=True)
class Thrown:
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
    kind: Kind
    name: str
    title: str
    at: str
    items: tuple[str, ...]


def references(studio: Studio) -> dict[str, list[Item]]:
    """By `KIND/NAME`: the datasets, runs and results that were made of it."""
    found: dict[str, list[Item]] = {}
    for item in (*studio.datasets(), *studio.workspace.items("runs"), *studio.workspace.items("results")):
        for place in _origins(studio, item) - {item.place}:
            found.setdefault(place, []).append(item)
    return found


def needing(studio: Studio, source: Item) -> list[Item]:
    """The datasets whose files an upload holds."""
    return [item for item in studio.datasets() if source.kind == "sources" and source.place in _files_in(studio, item)]


def mentioning(studio: Studio, item: Item, needed: Sequence[Item]) -> list[Item]:
    """What was made of an item and stays when it goes with what needs it, without what it shows of it."""
    return [other for other in references(studio).get(item.place, []) if other not in needed]


def user_of(studio: Studio, items: Sequence[Item]) -> Job | None:
    """A job that runs, waits or was paused and reads or writes one of some items."""
    for job in studio.jobs.all():
        if studio.jobs.state(job).phase not in OVER and any(uses(studio, job, item.path) for item in items):
            return job
    return None


def uses(studio: Studio, job: Job, folder: Path) -> bool:
    """Whether a job's command names a folder of the workspace, or something in it."""
    root = studio.workspace.root
    return any(_within(root / given, folder) for given in (*job.arguments, job.product) if given)


def rename(studio: Studio, item: Item, wanted: str) -> str:
    """Call an item otherwise; the name that it had.

    Raises:
        UsageError: It is no name, or something else of its kind has or had it.
        FileError: It cannot be written.
    """
    before, title = item.title, " ".join(wanted.split())
    if not title or not title.isprintable() or len(title) > LONGEST_NAME:
        raise UsageError("this is no name", hint=f"give one of 1 to {LONGEST_NAME} letters")
    if name_key(title) in studio.workspace.taken(item.kind, but=item):
        raise UsageError(f"another {WORDS[item.kind]} is, or was, called {title}", hint="choose another name")
    told = {k: v for k, v in about(item).items() if k != TITLE} | ({} if title == item.name else {TITLE: title})
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


def delete(studio: Studio, item: Item) -> Thrown:
    """Put an item into the bin: an upload with the datasets that need it, a result with what was exported of it.

    Raises:
        UsageError: A job uses it, or a command in a terminal does. Nothing is moved then.
        FileError: It cannot be moved.
    """
    items = [*needing(studio, item), item]
    with studio.jobs.locked():  # no job begins meanwhile
        job = user_of(studio, items)
        if job is not None:
            raise UsageError(
                f"{item.title}: the job “{job.title}” uses it", hint="let it end, or cancel it on the page Jobs"
            )
        for each in items:
            if (each.path / LOCK).exists():
                with hold_folder(each.path, "a command", "let it end first"):
                    pass
        folder = _new_folder(studio, item)
        try:
            for path in [path for each in items for path in (*belonging(studio, each), each.path)]:
                target = folder / path.relative_to(studio.workspace.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        except OSError as error:
            _put_back(studio, _read(folder))
            raise write_error(item.path, error) from error
    return _read(folder)


def thrown(studio: Studio) -> list[Thrown]:
    """All deletions that can be undone, the newest first."""
    folders = sorted(folder for folder in _bin(studio).iterdir() if _NAME.match(folder.name) and folder.is_dir())
    return [found for folder in reversed(folders) if (found := _read(folder)).items]


def restore(studio: Studio, gone: Thrown) -> None:
    """Put everything of a deletion back to where it lay.

    Raises:
        UsageError: Something else is there by now. Nothing is moved then.
        FileError: It cannot be moved.
    """
    root = studio.workspace.root
    with studio.jobs.locked():
        if not gone.path.is_dir():
            raise UsageError(f"{gone.title}: is no longer in the bin", hint="reload the page")
        for place in gone.items:
            if (root / place).exists() or (root / place).is_symlink():
                raise UsageError(f"{gone.title}: something else is called {place} by now", hint="delete that one first")
        try:
            _put_back(studio, gone)
        except OSError as error:
            raise write_error(gone.path, error) from error


def lacking(studio: Studio, restored: Thrown) -> list[Thrown]:
    """Other deletions with an upload that holds the files of a dataset that was restored."""
    names = [Path(place).name for place in restored.items if place.startswith("datasets/")]
    needed = {place for name in names for place in _files_in(studio, studio.workspace.item("datasets", name))}
    return [gone for gone in thrown(studio) if needed.intersection(gone.items)]


def remove(studio: Studio, gone: Sequence[Thrown]) -> None:
    """Remove deletions for good; their names are given to nothing new.

    Raises:
        FileError: It cannot be noted which they are. Nothing is removed then.
    """
    with studio.jobs.locked():
        names = [*studio.workspace.spent(), *(place for each in gone for place in each.items)]
        write_json(_bin(studio) / SPENT, list(dict.fromkeys(names)))
        for each in gone:
            with suppress(FileNotFoundError):  # removed on another page
                each.path.rename(each.path.with_name(f"{_GOING}{each.path.name}"))
    sweep(studio)


def sweep(studio: Studio) -> None:
    """End removals that were begun."""
    for folder in _bin(studio).glob(f"{_GOING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def check_present(studio: Studio, job: Job) -> None:
    """Raise UsageError where a job that is to be given again would use what lies in the bin."""
    for gone in thrown(studio):
        for place in gone.items:
            if uses(studio, job, studio.workspace.root / place):
                raise UsageError(f"{gone.title} was deleted, and the job uses it", hint="restore it on the page Space")


def _put_back(studio: Studio, gone: Thrown) -> None:
    for place in gone.items:
        (gone.path / place).rename(studio.workspace.root / place)
    shutil.rmtree(gone.path)


def _read(folder: Path) -> Thrown:
    date, clock, kind, name = folder.name.split("-", 3)
    name, order = name.partition("~")[0], {kind: number for number, kind in enumerate(("plans", "exports", *KINDS))}
    inner = [path.relative_to(folder) for path in folder.glob("*/*") if path.parent.name in order]
    items = sorted(inner, key=lambda path: (order[path.parts[0]], path.name))
    known: Kind = next((k for k in KINDS if k == kind), "exports")
    name = next((path.name for path in items if path.parts[0] == known), name)
    title = Item(known, name, folder / known / name, "").title
    at = f"{date[:4]}-{date[4:6]}-{date[6:]} {clock[:2]}:{clock[2:4]}"
    return Thrown(folder, known, name, title, at, tuple(path.as_posix() for path in items))


def _new_folder(studio: Studio, item: Item) -> Path:
    """`~2` at the end where one of the name was deleted in this second.

    The deleted item's name is read from what lies in the folder: it is the only one of its kind there, and a name that
    was not given by the app may have a `~`, too.
    """
    first = f"{time.strftime(_TIME)}-{item.kind}-{item.name}"
    number = 1
    while True:
        folder = _bin(studio) / (first if number == 1 else f"{first}~{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        return folder


def _bin(studio: Studio) -> Path:
    folder = studio.workspace.root / BIN
    folder.mkdir(mode=0o700, exist_ok=True)  # somebody may have removed it by hand
    return folder


def belonging(studio: Studio, item: Item) -> list[Path]:
    """What means nothing without an item: the exports of a result, the plan that a run was started with."""
    root = studio.workspace.root
    made = [(root / volumes_table(item)).parent, *(root / "exports" / f"{item.name}-{form}" for form in export_forms())]
    exports = made if item.kind == "results" else []
    plans = [root / "plans" / f"{item.name}.yaml"] if item.kind == "runs" else []
    return [path for path in (*exports, *plans) if path.exists()]


def _files_in(studio: Studio, dataset: Item) -> set[str]:
    """The items in whose folders the files of a dataset lie, as `KIND/NAME`."""
    opened = open_dataset(dataset)
    if opened is None:  # it may be mended, and need what it was made of
        source = about(dataset).get("source")
        return _places(studio, [studio.workspace.root / source]) if source else set()
    cases = opened.manifest.cases
    files = [dataset.path / file for case in cases for file in (*case.images, case.segmentation) if file]
    return _places(studio, files)


def _origins(studio: Studio, item: Item) -> set[str]:
    """What an item was made of, as `KIND/NAME`."""
    told = about(item)
    if item.kind == "datasets":
        source = told.get("source")
        return _files_in(studio, item) | _places(studio, [studio.workspace.root / source] if source else [])
    named = (("datasets", "dataset"), ("runs", "run"), ("sources", "source"))
    found = {f"{kind}/{told[key]}" for kind, key in named if told.get(key)}
    found |= {f"results/{name}" for name in told.get("members", "").split(", ") if name}
    inputs = [entry[0] for record in record_of(item).values() for entry in record.get("input") or [] if entry]
    return found | _places(studio, [Path(str(path)) for path in inputs])


def _places(studio: Studio, paths: Iterable[Path]) -> set[str]:
    """The items in which some files lie, as `KIND/NAME`."""
    found = set()
    for path in paths:
        plain = Path(os.path.normpath(path))
        if plain.is_relative_to(studio.workspace.root):
            found.add("/".join(plain.relative_to(studio.workspace.root).parts[:2]))
    return found


def _within(path: Path, folder: Path) -> bool:
    """Whether a path, its dots followed, lies in a folder."""
    return Path(os.path.normpath(path)).is_relative_to(folder)
