"""What the pages ask for, as the command line's commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from osteon.app.jobs import Job
from osteon.app.model_import import Brought
from osteon.app.state import Studio
from osteon.app.workspace import Item, about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import read_json, write_json
from osteon.core.text import pluralise
from osteon.dataset.folds import group_cases
from osteon.dataset.manifest import read_manifest
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, read_plan

FOLDS = 5
"""Into which `osteon train` divides the cases: one of them validates."""
PLANNED = ".plan-asked.json"
"""In a dataset: with which choices its plan was made."""


@dataclass(frozen=True)
class ImportChoices:
    """What is chosen before an import; None and empty: as it is understood."""

    form: str | None = None
    modality: str | None = None
    hold_out: str | None = None
    only: Sequence[str] | None = None
    labels: Mapping[str, int] | None = None
    flags: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """As the command takes them."""
        found: list[str] = []
        for option, value in (("--form", self.form), ("--modality", self.modality), ("--hold-out", self.hold_out)):
            if value:
                found += [option, value]
        if self.only is not None:
            found += ["--only", ",".join(self.only) + ","]
        if self.labels:
            found += ["--labels", ",".join(f"{name}={value}" for name, value in self.labels.items())]
        return found + list(self.flags)


def source_of(studio: Studio, dataset: Item) -> Path | None:
    """What a dataset was imported from, where the app imported it and it is still there."""
    known = about(dataset).get("source", "")
    path = studio.workspace.root / known
    return path if known and path.exists() and studio.workspace.may_read(path) else None


def called(source: str) -> str:
    """The name of a source by its path: of what was uploaded, the upload's."""
    parts = Path(source).parts
    return parts[1] if len(parts) > 1 and parts[0] == "sources" else Path(source).name


def begin_import(studio: Studio, source: Path, wanted: str, choices: ImportChoices) -> tuple[Item, Job]:
    """Import a source into a new dataset, then audit it."""
    item = studio.workspace.make("datasets", wanted, {"source": studio.workspace.given(source)})
    target = item.place
    first = studio.jobs.submit(
        "import",
        [studio.workspace.given(source), target, *choices.arguments()],
        f"Import into {item.title}",
        about={"dataset": item.name},
        product=f"{target}/dataset.yaml",
    )
    begin_audit(studio, item, after=[first.id])
    return item, first


def begin_model(studio: Studio, model: Brought, wanted: str) -> tuple[Item, Job | None]:
    """Take in a model that came from elsewhere. One of osteon's needs no job: it is to be copied into the folder."""
    item = studio.workspace.make("runs", wanted, {"brought": studio.workspace.given(model.folder)})
    if model.kind == "osteon":
        return item, None
    target = f"{item.place}/model"
    job = studio.jobs.submit(
        "import-model",
        [model.kind, studio.workspace.given(model.folder), target],
        f"Take in the model {item.name}",
        about={"run": item.name},
        product=f"{target}/weights.safetensors",
    )
    return item, job


def begin_audit(studio: Studio, dataset: Item, *, after: Sequence[str] = ()) -> Job:
    """Look for what is wrong with a dataset."""
    target = dataset.place
    return studio.jobs.submit(
        "audit",
        [target],
        f"Check {dataset.title}",
        about={"dataset": dataset.name},
        product=f"{target}/audit/audit.json",
        after=after,
    )


def begin_plan(studio: Studio, dataset: Item, *, recipe: str, budget: str, more: Sequence[str] = ()) -> Job:
    """Decide, measure and forecast; the dataset's plan.yaml is made anew."""
    target = dataset.place
    asked = {"recipe": recipe, "budget": budget, "more": " ".join(more)}
    write_json(dataset.path / PLANNED, asked)
    return studio.jobs.submit(
        "plan",
        [target, "--recipe", recipe, "--budget", budget, "--force", *more],
        f"Plan a training on {dataset.title}",
        about={"dataset": dataset.name, **asked},
        product=f"{target}/{PLAN}",
    )


def plan_asked(dataset: Item, *, recipe: str, budget: str, more: Sequence[str] = ()) -> Plan | None:
    """The dataset's plan, where it was made with these choices."""
    try:
        asked = read_json(dataset.path / PLANNED, "the plan's choices")
        if asked == {"recipe": recipe, "budget": budget, "more": " ".join(more)}:
            return read_plan(dataset.path / PLAN)
    except OsteonError:
        pass
    return None


def begin_training(
    studio: Studio, dataset: Item, wanted: str, *, recipe: str, budget: str, more: Sequence[str] = ()
) -> tuple[Item, Job]:
    """Train for some time. A forecast that was made with the same choices is the run's plan.

    Raises:
        UsageError: The dataset has nothing to learn from.
    """
    parted = folds_for(dataset)
    run = studio.workspace.make("runs", wanted, {"dataset": dataset.name})
    arguments = [dataset.place, run.place, "--budget", budget]
    if plan_asked(dataset, recipe=recipe, budget=budget, more=more) is not None:
        kept = studio.workspace.root / "plans" / f"{run.name}.yaml"
        kept.write_bytes((dataset.path / PLAN).read_bytes())  # the run goes on with it when another one is made
        arguments += ["--plan", f"plans/{kept.name}"]
    else:
        arguments += ["--recipe", recipe, *more]
    arguments += parted
    job = studio.jobs.submit(
        "train",
        arguments,
        f"Train {run.name} on {dataset.title}",
        about={"dataset": dataset.name, "run": run.name, "recipe": recipe, "budget": budget},
        product=f"{run.place}/model/weights.safetensors",
    )
    return run, job


def folds_for(dataset: Item) -> list[str]:
    """Options for a dataset that is too small for the usual five folds: as many as it has, or nothing held out.

    Raises:
        UsageError: No case of it has a label and is not kept for the final test.
    """
    trainable = read_manifest(dataset.path).trainable
    if not trainable:
        raise UsageError(
            f"{dataset.title}: no case has a label and is there to train on",
            hint="open the dataset, tick labelled cases, and press: Train on them; or import data with labels",
        )
    groups = len(group_cases(trainable))
    if groups >= FOLDS:
        return []
    return ["--folds", str(groups)] if groups > 1 else ["--fold", "none"]


def begin_phantom(studio: Studio, kind: str, cases: int) -> tuple[Item, Job]:
    """Make up data to try the app on."""
    item = studio.workspace.new("sources", f"made-up-{kind}")
    job = studio.jobs.submit(
        "phantom",
        [kind, item.place, "--cases", str(cases)],
        f"Make up {pluralise(cases, 'case')}: {kind}",
        about={"source": item.name},
        product=f"{item.place}/truth.json",
    )
    return item, job
