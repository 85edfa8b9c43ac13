"""What refers to what in the workspace: which items were made of an item, which jobs use it, what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from osteon.app.jobs import FINISHED, Job
from osteon.app.result_commands import volumes_table
from osteon.app.results import prediction_records
from osteon.app.state import AppState, open_dataset
from osteon.app.workspace import Item, read_about
from osteon.exporting.registry import export_forms


def find_references(app: AppState) -> dict[str, list[Item]]:
    """`KIND/NAME` of an item → the datasets, runs and results that were made of it."""
    references: dict[str, list[Item]] = {}
    for item in (*app.datasets(), *app.workspace.items("runs"), *app.workspace.items("results")):
        for path in _origins(app, item) - {item.relative_path}:
            references.setdefault(path, []).append(item)
    return references


def dependent_datasets(app: AppState, source: Item) -> list[Item]:
    """The datasets whose files an upload holds."""
    return [
        item
        for item in app.datasets()
        if source.kind == "sources" and source.relative_path in items_with_files(app, item)
    ]


def remaining_references(app: AppState, item: Item, needed: Sequence[Item]) -> list[Item]:
    """Items that were made of an item and stay when it is deleted together with `needed`."""
    return [other for other in find_references(app).get(item.relative_path, []) if other not in needed]


def find_job_using(app: AppState, items: Sequence[Item]) -> Job | None:
    """A job that runs, waits or is paused and reads or writes one of some items."""
    jobs = (job for job in app.jobs.all() if app.jobs.state(job).phase not in FINISHED)
    return next((job for job in jobs if any(job_uses(app, job, item.path) for item in items)), None)


def job_uses(app: AppState, job: Job, folder: Path) -> bool:
    """Whether a job's command names a folder of the workspace, or something in it."""
    root = app.workspace.root
    return any(_is_within(root / given, folder) for given in (*job.arguments, job.product) if given)


def attached_paths(app: AppState, item: Item) -> list[Path]:
    """What is deleted with an item: the exports of a result, the plan that a run was started with."""
    root = app.workspace.root
    exports = [
        (root / volumes_table(item)).parent,
        *(root / "exports" / f"{item.name}-{form}" for form in (*export_forms(), "to-archive")),
    ]
    plans = [root / "plans" / f"{item.name}.yaml"]
    attached = {"results": exports, "runs": plans}.get(item.kind, [])
    return [path for path in attached if path.exists()]


def _origins(app: AppState, item: Item) -> set[str]:
    """What an item was made of, as `KIND/NAME`."""
    origin = read_about(item)
    if item.kind == "datasets":
        source = origin.get("source")
        return items_with_files(app, item) | _items_at(app, [app.workspace.root / source] if source else [])
    keys = (("datasets", "dataset"), ("runs", "run"), ("sources", "source"))
    origins = {f"{kind}/{origin[key]}" for kind, key in keys if origin.get(key)}
    origins |= {f"results/{name}" for name in origin.get("members", "").split(", ") if name}
    inputs = [entry[0] for record in prediction_records(item).values() for entry in record.get("input") or [] if entry]
    return origins | _items_at(app, [Path(str(path)) for path in inputs])


def items_with_files(app: AppState, dataset: Item) -> set[str]:
    """The items in whose folders the files of a dataset lie, as `KIND/NAME`."""
    opened = open_dataset(dataset)
    if opened is None:  # it may be repaired, and then need what it was made of
        source = read_about(dataset).get("source")
        return _items_at(app, [app.workspace.root / source]) if source else set()
    cases = opened.manifest.cases
    files = [dataset.path / file for case in cases for file in (*case.images, case.segmentation) if file]
    return _items_at(app, files)


def _items_at(app: AppState, paths: Iterable[Path]) -> set[str]:
    """The items in which some files lie, as `KIND/NAME`."""
    items = set()
    for path in paths:
        normal = Path(os.path.normpath(path))
        if normal.is_relative_to(app.workspace.root):
            items.add("/".join(normal.relative_to(app.workspace.root).parts[:2]))
    return items


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path, with its dots resolved, lies in a folder."""
    return Path(os.path.normpath(path)).is_relative_to(folder)
