"""Commands of the command line that pages start as jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osteon.app.jobs import Job
from osteon.app.model_import import UploadedModel
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import read_json, write_json
from osteon.core.text import pluralise
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import group_cases
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan
from osteon.runs.options import FOLDS

PLAN_CHOICES = ".plan-asked.json"
"""In a dataset: the options with which its plan was made."""


def source_of(app: AppState, dataset: Item) -> Path | None:
    """What a dataset was imported from, where the app imported it and it is still there."""
    source = read_about(dataset).get("source", "")
    path = app.workspace.root / source
    return path if source and path.exists() and app.workspace.may_read(path) else None


def source_name(source: str) -> str:
    """The name of a source by its path: that of the upload, where it lies in one."""
    parts = Path(source).parts
    return parts[1] if len(parts) > 1 and parts[0] == "sources" else Path(source).name


def start_import(app: AppState, source: Path, name: str, options: Sequence[str] = ()) -> tuple[Item, Job]:
    """Import a source into a new dataset, with options of `osteon import`, then audit it."""
    item = app.workspace.create("datasets", name, {"source": app.workspace.command_path(source)})
    target = item.relative_path
    first = app.jobs.submit(
        "import",
        [app.workspace.command_path(source), target, *options],
        f"Import into {item.title}",
        about={"dataset": item.name},
        product=f"{target}/dataset.yaml",
    )
    start_audit(app, item, after=[first.id])
    return item, first


def start_model_import(app: AppState, model: UploadedModel, name: str) -> tuple[Item, Job | None]:
    """Import a model that was trained elsewhere. One of osteon's needs no job: it is to be copied into the folder."""
    item = app.workspace.create("runs", name, {"brought": app.workspace.command_path(model.folder)})
    if model.kind == "osteon":
        return item, None
    target = f"{item.relative_path}/model"
    job = app.jobs.submit(
        "import-model",
        [model.kind, app.workspace.command_path(model.folder), target],
        f"Take in the model {item.name}",
        about={"run": item.name},
        product=f"{target}/weights.safetensors",
    )
    return item, job


def start_audit(app: AppState, dataset: Item, *, after: Sequence[str] = ()) -> Job:
    """Check a dataset for errors."""
    target = dataset.relative_path
    return app.jobs.submit(
        "audit",
        [target],
        f"Check {dataset.title}",
        about={"dataset": dataset.name},
        product=f"{target}/audit/audit.json",
        after=after,
    )


def start_plan(app: AppState, dataset: Item, *, recipe: str, budget: str, options: Sequence[str] = ()) -> Job:
    """Decide, measure and forecast; the dataset's plan.yaml is made anew."""
    target = dataset.relative_path
    chosen = {"recipe": recipe, "budget": budget, "more": " ".join(options)}
    write_json(dataset.path / PLAN_CHOICES, chosen)
    return app.jobs.submit(
        "plan",
        [target, "--recipe", recipe, "--budget", budget, "--force", *options],
        f"Plan a training on {dataset.title}",
        about={"dataset": dataset.name, **chosen},
        product=f"{target}/{PLAN}",
    )


def find_plan(dataset: Item, *, recipe: str, budget: str, options: Sequence[str] = ()) -> Plan | None:
    """The dataset's plan, where it was made with these options."""
    try:
        chosen = read_json(dataset.path / PLAN_CHOICES, "the plan's choices")
        if chosen == {"recipe": recipe, "budget": budget, "more": " ".join(options)}:
            return read_plan(dataset.path / PLAN)
    except OsteonError:
        pass
    return None


def start_training(
    app: AppState, dataset: Item, name: str, *, recipe: str, budget: str, options: Sequence[str] = ()
) -> tuple[Item, Job]:
    """Train for some time. A plan that was made with the same options is the run's.

    Raises:
        UsageError: The dataset has nothing to learn from.
    """
    folds = fold_options(dataset)
    run = app.workspace.create("runs", name, {"dataset": dataset.name})
    arguments = [dataset.relative_path, run.relative_path, "--budget", budget]
    if find_plan(dataset, recipe=recipe, budget=budget, options=options) is not None:
        copy = app.workspace.root / "plans" / f"{run.name}.yaml"
        copy.write_bytes((dataset.path / PLAN).read_bytes())  # the run goes on with it when another one is made
        arguments += ["--plan", f"plans/{copy.name}"]
    else:
        arguments += ["--recipe", recipe, *options]
    arguments += folds
    job = app.jobs.submit(
        "train",
        arguments,
        f"Train {run.name} on {dataset.title}",
        about={"dataset": dataset.name, "run": run.name, "recipe": recipe, "budget": budget},
        product=f"{run.relative_path}/model/weights.safetensors",
    )
    return run, job


def start_suggestions(app: AppState, dataset: Item, run: Item, count: int) -> Job:
    """Rank the unlabelled scans of a dataset by what a model would learn of them."""
    target = dataset.relative_path
    return app.jobs.submit(
        "suggest",
        [target, run.relative_path, "--count", str(count)],
        f"Suggest what to label in {dataset.title}",
        about={"dataset": dataset.name, "run": run.name},
        product=f"{target}/suggestions/suggestions.json",
    )


def fold_options(dataset: Item) -> list[str]:
    """Options for a dataset that is too small for the usual five folds: as many as it has, or nothing held out.

    Raises:
        UsageError: No case of it has a label and is not kept for the final test.
    """
    trainable = Dataset.open(dataset.path).manifest.trainable
    if not trainable:
        raise UsageError(
            f"{dataset.title}: no case has a label and is there to train on",
            hint="open the dataset, tick labelled cases, and press: Train on them; or import data with labels",
        )
    groups = len(group_cases(trainable))
    if groups >= FOLDS:
        return []
    return ["--folds", str(groups)] if groups > 1 else ["--fold", "none"]


def start_phantom(app: AppState, kind: str, cases: int) -> tuple[Item, Job]:
    """Make up data to try the app on."""
    item = app.workspace.new_item("sources", f"made-up-{kind}")
    job = app.jobs.submit(
        "phantom",
        [kind, item.relative_path, "--cases", str(cases)],
        f"Make up {pluralise(cases, 'case')}: {kind}",
        about={"source": item.name},
        product=f"{item.relative_path}/truth.json",
    )
    return item, job
