"""Commands of the command line on results, that pages start as jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from osteon.app.jobs import FINISHED, Job
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.core.errors import UsageError
from osteon.dataset.dataset import Dataset
from osteon.predicting.records import read_predictions
from osteon.predicting.scans import find_cases_to_predict

SCANS = "scans"
"""In the record of a result that was made of no dataset: the path of its scans, as the command has it."""


def start_prediction(
    app: AppState,
    model: Item,
    source: Path,
    name: str,
    *,
    origin: Mapping[str, str],
    speed: str = "balanced",
    probabilities: bool = False,
) -> tuple[Item, Job]:
    """Segment scans, measure their volumes, and score them where references are there.

    Raises:
        FileError: The dataset is damaged. Nothing is started then.
    """
    reference = _scorable(app.workspace.item("datasets", origin["dataset"]) if "dataset" in origin else None)
    scans = app.workspace.command_path(source)
    made_from = origin if "dataset" in origin else {**origin, SCANS: scans}
    result = app.workspace.create("results", name, {"run": model.name, **made_from})
    target = result.relative_path
    options = ["--probabilities"] if probabilities else []
    job = app.jobs.submit(
        "predict",
        [model.relative_path, scans, target, "--speed", speed, *options],
        f"Segment {result.name} with {model.title}",
        about={"run": model.name, "result": result.name, **origin},
        product=f"{target}/predictions.json",
    )
    _start_measures(app, result, reference, job)
    return result, job


def start_renaming(app: AppState, result: Item, case: str, first_level: str) -> Job:
    """Segment one case of a result again, the first body of its row (of vertebrae the uppermost) being named so.

    Raises:
        UsageError: The model or the scans are no longer there, or it is being done.
        FileError: The dataset is damaged, or the record of predictions is.
    """
    about = read_about(result)
    model = app.workspace.item("runs", about.get("run", ""))
    jobs = [job for job in app.jobs.about("result", result.name) if job.command == "predict"]
    scans = f"datasets/{about['dataset']}" if "dataset" in about else about.get(SCANS, "")
    scans = scans or next((job.arguments[1] for job in jobs), "")
    path = app.workspace.root / scans
    if not scans or not path.exists() or not app.workspace.may_read(path) or not (model.path / "model").is_dir():
        raise UsageError(
            f"{result.title}: its model or its scans are no longer here", hint="segment the scan again, on Segment"
        )
    if any(job.about.get("case") == case and app.jobs.state(job).phase not in FINISHED for job in jobs):
        raise UsageError(f"{case}: is being segmented again", hint="wait until it is done, or cancel it")
    reference = _scorable(app.workspace.item("datasets", about["dataset"]) if "dataset" in about else None)
    record = read_predictions(result.path).get(case, {})
    options = ["--probabilities"] if record.get("probabilities") else []
    target = result.relative_path
    job = app.jobs.submit(
        "predict",
        [
            *(model.relative_path, scans, target, "--only", f"{case},", "--levels", f"FIRST={first_level}"),
            *("--speed", str(record.get("speed") or "balanced"), *options),
        ],
        f"Segment {case} of {result.title} with {first_level} as the first name",
        about={**{key: about[key] for key in ("run", "dataset") if key in about}, "result": result.name, "case": case},
        product=f"{target}/predictions.json",
    )
    _start_measures(app, result, reference, job)
    return job


def _start_measures(app: AppState, result: Item, reference: Item | None, job: Job) -> None:
    """What follows a segmentation: volumes, and scores where there are references."""
    start_measurement(app, result, after=[job.id])
    if reference is not None:
        start_evaluation(app, result, reference, after=[job.id])


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
    """The newest job that measures a result; None where none was started, or it was removed from the list."""
    jobs = app.jobs.about("result", result.name)
    return next((job for job in jobs if job.product == volumes_table(result)), None)


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


def start_export(app: AppState, source: Item, form: str, *, options: Sequence[str] = ()) -> tuple[Item, Job]:
    """Write a result in another form, to be downloaded."""
    target = app.workspace.item("exports", f"{source.name}-{form}")
    makers = [job for job in app.jobs.about("result", source.name) if job.command in ("predict", "vote")]
    job = app.jobs.submit(
        "export",
        [form, source.relative_path, target.relative_path, *options],
        f"Export {source.title} as {form}",
        about={"result": source.name, "export": target.name, "form": form},
        product=f"{target.relative_path}/exports.json",
        after=[job.id for job in makers[:1] if app.jobs.state(job).phase in ("queued", "running")],
    )
    return target, job


def common_dataset(app: AppState, members: Sequence[Item]) -> Item | None:
    """The dataset that results are of; None where none of them names it, or it was deleted."""
    datasets = {item.name: item for item in app.datasets()}
    return next((datasets[name] for item in members if (name := read_about(item).get("dataset")) in datasets), None)


def start_vote(app: AppState, members: Sequence[Item], name: str, method: str) -> tuple[Item, Job]:
    """Vote over several results; the vote is scored where their dataset is there and has labels.

    Raises:
        FileError: The dataset is damaged. Nothing is started then.
    """
    dataset = common_dataset(app, members)
    origin = {} if dataset is None else {"dataset": dataset.name}
    reference = _scorable(dataset)
    result = app.workspace.create("results", name, {"members": ", ".join(item.name for item in members), **origin})
    target = result.relative_path
    options = ["--dataset", dataset.relative_path] if dataset is not None else []
    job = app.jobs.submit(
        "vote",
        [*(item.relative_path for item in members), target, "--method", method, *options],
        f"Vote over {len(members)} results",
        about={"result": result.name},
        product=f"{target}/votes.json",
    )
    _start_measures(app, result, reference, job)
    return result, job


def start_comparison(app: AppState, members: Sequence[Item], dataset: Item) -> tuple[Item, Job]:
    """Make the report that compares results: ranking, tests, charts, pictures."""
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
    if dataset is None or not any(
        case.segmentation for case in find_cases_to_predict(Dataset.open(dataset.path).manifest)
    ):
        return None
    return dataset
