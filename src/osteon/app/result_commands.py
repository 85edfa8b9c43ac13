"""What the pages ask for of results, as the command line's commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from osteon.app.jobs import Job
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.dataset.manifest import read_manifest
from osteon.predicting.scans import cases_to_predict


def start_prediction(
    app: AppState,
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
    reference = _scorable(app.workspace.item("datasets", of["dataset"]) if "dataset" in of else None)
    result = app.workspace.create("results", wanted, {"run": model.name, **of})
    target = result.relative_path
    kept = ["--probabilities"] if probabilities else []
    job = app.jobs.submit(
        "predict",
        [model.relative_path, app.workspace.command_path(source), target, "--speed", speed, *kept],
        f"Segment {result.name} with {model.title}",
        about={"run": model.name, "result": result.name, **of},
        product=f"{target}/predictions.json",
    )
    start_measurement(app, result, after=[job.id])
    if reference is not None:
        start_evaluation(app, result, reference, after=[job.id])
    return result, job


def start_measurement(app: AppState, result: Item, *, after: Sequence[str] = ()) -> Job:
    """Measure the volumes and lengths of a result."""
    table = volumes_table(result)
    return app.jobs.submit(
        "export",
        ["table", result.relative_path, str(Path(table).parent), "--overwrite"],
        f"Measure the volumes of {result.title}",
        about={"result": result.name},
        product=table,
        after=after,
    )


def volumes_table(result: Item) -> str:
    """The file with a result's volumes, from the workspace on."""
    return f"exports/{result.name}-volumes/volumes.csv"


def measurement_job(app: AppState, result: Item) -> Job | None:
    """The newest job that measures a result; None where none was begun, or its list was emptied."""
    own = app.jobs.about("result", result.name)
    return next((job for job in own if job.product == volumes_table(result)), None)


def start_evaluation(app: AppState, result: Item, reference: Item, *, after: Sequence[str] = ()) -> Job:
    """Score a result against a dataset, or another result."""
    target = result.relative_path
    to = target if reference.kind == "datasets" else f"{target}/against/{reference.name}"
    return app.jobs.submit(
        "evaluate",
        [target, reference.relative_path, "--to", to],
        f"Compare {result.title} with {reference.title}",
        about={"result": result.name, "reference": reference.name},
        product=f"{to}/metrics.json",
        after=after,
    )


def start_export(
    app: AppState, source: Item, form: str, *, options: Sequence[str] = (), files: Sequence[str] = ()
) -> tuple[Item, Job]:
    """Write a result (or some of its files) in another form, to be downloaded."""
    target = app.workspace.item("exports", f"{source.name}-{form}")
    place = source.relative_path
    makers = [job for job in app.jobs.about("result", source.name) if job.command in ("predict", "vote")]
    job = app.jobs.submit(
        "export",
        [form, *([f"{place}/{file}" for file in files] or [place]), target.relative_path, *options],
        f"Export {source.title} as {form}",
        about={"result": source.name, "export": target.name, "form": form},
        product=f"{target.relative_path}/exports.json",
        after=[job.id for job in makers[:1] if app.jobs.state(job).phase in ("queued", "running")],
    )
    return target, job


def common_dataset(app: AppState, members: Sequence[Item]) -> Item | None:
    """The dataset that results are of; None where none of them says, or it was deleted."""
    there = {item.name: item for item in app.datasets()}
    return next((there[name] for item in members if (name := read_about(item).get("dataset")) in there), None)


def start_vote(app: AppState, members: Sequence[Item], wanted: str, method: str) -> tuple[Item, Job]:
    """Make one answer of several results; it is scored where the dataset they are of is there, and has labels.

    Raises:
        FileError: The dataset is damaged. Nothing is begun then.
    """
    dataset = common_dataset(app, members)
    of = {} if dataset is None else {"dataset": dataset.name}
    reference = _scorable(dataset)
    result = app.workspace.create("results", wanted, {"members": ", ".join(item.name for item in members), **of})
    target = result.relative_path
    given = ["--dataset", dataset.relative_path] if dataset is not None else []
    job = app.jobs.submit(
        "vote",
        [*(item.relative_path for item in members), target, "--method", method, *given],
        f"Vote over {len(members)} results",
        about={"result": result.name},
        product=f"{target}/votes.json",
    )
    start_measurement(app, result, after=[job.id])
    if reference is not None:
        start_evaluation(app, result, reference, after=[job.id])
    return result, job


def start_comparison(app: AppState, members: Sequence[Item], dataset: Item) -> tuple[Item, Job]:
    """The report that sets results side by side: ranking, tests, charts, pictures."""
    report = app.workspace.create("exports", f"comparison-on-{dataset.title}", {"dataset": dataset.name})
    target = report.relative_path
    job = app.jobs.submit(
        "compare",
        [*(item.relative_path for item in members), "--reference", dataset.relative_path, "--to", target],
        f"Compare {len(members)} results on {dataset.title}",
        about={"report": report.name},
        product=f"{target}/report.html",
    )
    return report, job


def _scorable(dataset: Item | None) -> Item | None:
    """A dataset to score against; None where nothing that is segmented of it has a label."""
    if dataset is None or not any(case.segmentation for case in cases_to_predict(read_manifest(dataset.path))):
        return None
    return dataset
