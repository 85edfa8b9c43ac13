"""What the pages ask for, as the command line's commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.app.bringing_models import Brought
from osteon.app.jobs import Job
from osteon.app.studio import Studio
from osteon.app.workspace import ABOUT, Item, about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import read_json, write_json
from osteon.core.listing import counted
from osteon.dataset.folds import group_cases
from osteon.dataset.manifest import read_manifest
from osteon.planning.plan import FILE_NAME as PLAN
from osteon.planning.plan import Plan, read_plan
from osteon.predicting.scans import cases_to_predict

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


def known_commands() -> frozenset[str]:
    """Names of the commands that this osteon has."""
    from osteon.cli.main import app

    return frozenset(row.name for row in app.registered_commands if row.name)


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
    item = _made(studio, "datasets", wanted, {"source": _from(studio, source)})
    target = _place(studio, item)
    first = studio.jobs.submit(
        "import",
        [_from(studio, source), target, *choices.arguments()],
        f"Import into {item.title}",
        about={"dataset": item.name},
        product=f"{target}/dataset.yaml",
    )
    begin_audit(studio, item, after=[first.id])
    return item, first


def begin_model(studio: Studio, model: Brought, wanted: str) -> tuple[Item, Job | None]:
    """Take in a model that came from elsewhere. One of osteon's needs no job: it is to be copied into the folder."""
    item = _made(studio, "runs", wanted, {"brought": _from(studio, model.folder)})
    if model.kind == "osteon":
        return item, None
    target = f"{_place(studio, item)}/model"
    job = studio.jobs.submit(
        "import-model",
        [model.kind, _from(studio, model.folder), target],
        f"Take in the model {item.name}",
        about={"run": item.name},
        product=f"{target}/weights.safetensors",
    )
    return item, job


def begin_audit(studio: Studio, dataset: Item, *, after: Sequence[str] = ()) -> Job:
    """Look for what is wrong with a dataset."""
    target = _place(studio, dataset)
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
    target = _place(studio, dataset)
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
    run = _made(studio, "runs", wanted, {"dataset": dataset.name})
    arguments = [_place(studio, dataset), _place(studio, run), "--budget", budget]
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
        product=f"{_place(studio, run)}/model/weights.safetensors",
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


def begin_prediction(
    studio: Studio,
    model: Item,
    source: Path,
    wanted: str,
    *,
    of: Mapping[str, str],
    speed: str = "balanced",
    probabilities: bool = False,
) -> tuple[Item, Job]:
    """Segment scans, measure their volumes, and score them where references are there.

    Raises:
        FileError: The dataset is damaged. Nothing is begun then.
    """
    scored = _has_references(studio, of)
    result = _made(studio, "results", wanted, {"run": model.name, **of})
    target = _place(studio, result)
    kept = ["--probabilities"] if probabilities else []
    job = studio.jobs.submit(
        "predict",
        [_place(studio, model), _from(studio, source), target, "--speed", speed, *kept],
        f"Segment {result.name} with {model.title}",
        about={"run": model.name, "result": result.name, **of},
        product=f"{target}/predictions.json",
    )
    begin_measuring(studio, result, after=[job.id])
    if scored:
        begin_evaluation(studio, result, studio.workspace.item("datasets", of["dataset"]), after=[job.id])
    return result, job


def begin_measuring(studio: Studio, result: Item, *, after: Sequence[str] = ()) -> Job:
    """Measure the volumes and lengths of a result."""
    table = volumes_table(result)
    return studio.jobs.submit(
        "export",
        ["table", _place(studio, result), str(Path(table).parent), "--overwrite"],
        f"Measure the volumes of {result.title}",
        about={"result": result.name},
        product=table,
        after=after,
    )


def volumes_table(result: Item) -> str:
    """The file with a result's volumes, from the workspace on."""
    return f"exports/{result.name}-volumes/volumes.csv"


def measuring(studio: Studio, result: Item) -> Job | None:
    """The newest job that measures a result; None where none was begun, or its list was emptied."""
    own = studio.jobs.about("result", result.name)
    return next((job for job in own if job.product == volumes_table(result)), None)


def begin_evaluation(studio: Studio, result: Item, reference: Item, *, after: Sequence[str] = ()) -> Job:
    """Score a result against a dataset, or another result."""
    target = _place(studio, result)
    to = target if reference.kind == "datasets" else f"{target}/against/{reference.name}"
    return studio.jobs.submit(
        "evaluate",
        [target, _place(studio, reference), "--to", to],
        f"Compare {result.title} with {reference.title}",
        about={"result": result.name, "reference": reference.name},
        product=f"{to}/metrics.json",
        after=after,
    )


def begin_export(
    studio: Studio, source: Item, form: str, *, options: Sequence[str] = (), files: Sequence[str] = ()
) -> tuple[Item, Job]:
    """Write a result (or some of its files) in another form, to be downloaded."""
    target = studio.workspace.item("exports", f"{source.name}-{form}")
    place = _place(studio, source)
    makers = [job for job in studio.jobs.about("result", source.name) if job.command in ("predict", "vote")]
    job = studio.jobs.submit(
        "export",
        [form, *([f"{place}/{file}" for file in files] or [place]), _place(studio, target), *options],
        f"Export {source.title} as {form}",
        about={"result": source.name, "export": target.name, "form": form},
        product=f"{_place(studio, target)}/exports.json",
        after=[job.id for job in makers[:1] if studio.jobs.state(job).phase in ("queued", "running")],
    )
    return target, job


def dataset_in_common(studio: Studio, members: Sequence[Item]) -> str:
    """The name of the dataset that results are of; empty where none of them says, or it was deleted."""
    there = {item.name for item in studio.datasets()}
    return next((name for item in members if (name := about(item).get("dataset", "")) in there), "")


def begin_vote(studio: Studio, members: Sequence[Item], wanted: str, method: str) -> tuple[Item, Job]:
    """Make one answer of several results; it is scored where the dataset they are of is there, and has labels.

    Raises:
        FileError: The dataset is damaged. Nothing is begun then.
    """
    dataset = dataset_in_common(studio, members)
    of = {"dataset": dataset} if dataset else {}
    scored = _has_references(studio, of)
    result = _made(studio, "results", wanted, {"members": ", ".join(item.name for item in members), **of})
    target = _place(studio, result)
    given = ["--dataset", f"datasets/{dataset}"] if dataset else []
    job = studio.jobs.submit(
        "vote",
        [*(_place(studio, item) for item in members), target, "--method", method, *given],
        f"Vote over {len(members)} results",
        about={"result": result.name},
        product=f"{target}/votes.json",
    )
    begin_measuring(studio, result, after=[job.id])
    if scored:
        begin_evaluation(studio, result, studio.workspace.item("datasets", dataset), after=[job.id])
    return result, job


def _has_references(studio: Studio, of: Mapping[str, str]) -> bool:
    """Whether something of what is segmented has a label, to be scored against."""
    if "dataset" not in of:
        return False
    manifest = read_manifest(studio.workspace.item("datasets", of["dataset"]).path)
    return any(case.segmentation for case in cases_to_predict(manifest))


def begin_comparison(studio: Studio, members: Sequence[Item], dataset: Item) -> tuple[Item, Job]:
    """The report that sets results side by side: ranking, tests, charts, pictures."""
    report = _made(studio, "exports", f"comparison-on-{dataset.title}", {"dataset": dataset.name})
    target = _place(studio, report)
    job = studio.jobs.submit(
        "compare",
        [*(_place(studio, item) for item in members), "--reference", _place(studio, dataset), "--to", target],
        f"Compare {len(members)} results on {dataset.title}",
        about={"report": report.name},
        product=f"{target}/report.html",
    )
    return report, job


def begin_phantom(studio: Studio, kind: str, cases: int) -> tuple[Item, Job]:
    """Make up data to try the app on."""
    item = studio.workspace.new("sources", f"made-up-{kind}")
    job = studio.jobs.submit(
        "phantom",
        [kind, _place(studio, item), "--cases", str(cases)],
        f"Make up {counted(cases, 'case')}: {kind}",
        about={"source": item.name},
        product=f"{_place(studio, item)}/truth.json",
    )
    return item, job


def _made(studio: Studio, kind: Any, wanted: str, of: Mapping[str, str]) -> Item:
    """A new folder, so that no other job takes its name, with a note of what it is made from."""
    item = studio.workspace.new(kind, wanted)
    item.path.mkdir(parents=True)
    write_json(item.path / ABOUT, dict(of))
    return studio.workspace.item(kind, item.name)


def _place(studio: Studio, item: Item) -> str:
    """As the command is given it: from the workspace, where jobs run."""
    return item.path.relative_to(studio.workspace.root).as_posix()


def _from(studio: Studio, path: Path) -> str:
    root = studio.workspace.root
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
