"""What the pages ask for of results, as the command line's commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from osteon.app.jobs import Job
from osteon.app.state import Studio
from osteon.app.workspace import Item, about
from osteon.dataset.manifest import read_manifest
from osteon.predicting.scans import find_cases_to_predict


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
    reference = _reference(studio.workspace.item("datasets", of["dataset"]) if "dataset" in of else None)
    result = studio.workspace.make("results", wanted, {"run": model.name, **of})
    target = result.place
    kept = ["--probabilities"] if probabilities else []
    job = studio.jobs.submit(
        "predict",
        [model.place, studio.workspace.given(source), target, "--speed", speed, *kept],
        f"Segment {result.name} with {model.title}",
        about={"run": model.name, "result": result.name, **of},
        product=f"{target}/predictions.json",
    )
    begin_measuring(studio, result, after=[job.id])
    if reference is not None:
        begin_evaluation(studio, result, reference, after=[job.id])
    return result, job


def begin_measuring(studio: Studio, result: Item, *, after: Sequence[str] = ()) -> Job:
    """Measure the volumes and lengths of a result."""
    table = volumes_table(result)
    return studio.jobs.submit(
        "export",
        ["table", result.place, str(Path(table).parent), "--overwrite"],
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
    target = result.place
    to = target if reference.kind == "datasets" else f"{target}/against/{reference.name}"
    return studio.jobs.submit(
        "evaluate",
        [target, reference.place, "--to", to],
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
    place = source.place
    makers = [job for job in studio.jobs.about("result", source.name) if job.command in ("predict", "vote")]
    job = studio.jobs.submit(
        "export",
        [form, *([f"{place}/{file}" for file in files] or [place]), target.place, *options],
        f"Export {source.title} as {form}",
        about={"result": source.name, "export": target.name, "form": form},
        product=f"{target.place}/exports.json",
        after=[job.id for job in makers[:1] if studio.jobs.state(job).phase in ("queued", "running")],
    )
    return target, job


def dataset_in_common(studio: Studio, members: Sequence[Item]) -> Item | None:
    """The dataset that results are of; None where none of them says, or it was deleted."""
    there = {item.name: item for item in studio.datasets()}
    return next((there[name] for item in members if (name := about(item).get("dataset")) in there), None)


def begin_vote(studio: Studio, members: Sequence[Item], wanted: str, method: str) -> tuple[Item, Job]:
    """Make one answer of several results; it is scored where the dataset they are of is there, and has labels.

    Raises:
        FileError: The dataset is damaged. Nothing is begun then.
    """
    dataset = dataset_in_common(studio, members)
    of = {} if dataset is None else {"dataset": dataset.name}
    reference = _reference(dataset)
    result = studio.workspace.make("results", wanted, {"members": ", ".join(item.name for item in members), **of})
    target = result.place
    given = ["--dataset", dataset.place] if dataset is not None else []
    job = studio.jobs.submit(
        "vote",
        [*(item.place for item in members), target, "--method", method, *given],
        f"Vote over {len(members)} results",
        about={"result": result.name},
        product=f"{target}/votes.json",
    )
    begin_measuring(studio, result, after=[job.id])
    if reference is not None:
        begin_evaluation(studio, result, reference, after=[job.id])
    return result, job


def begin_comparison(studio: Studio, members: Sequence[Item], dataset: Item) -> tuple[Item, Job]:
    """The report that sets results side by side: ranking, tests, charts, pictures."""
    report = studio.workspace.make("exports", f"comparison-on-{dataset.title}", {"dataset": dataset.name})
    target = report.place
    job = studio.jobs.submit(
        "compare",
        [*(item.place for item in members), "--reference", dataset.place, "--to", target],
        f"Compare {len(members)} results on {dataset.title}",
        about={"report": report.name},
        product=f"{target}/report.html",
    )
    return report, job


def _reference(dataset: Item | None) -> Item | None:
    """A dataset to score against; None where nothing that is segmented of it has a label."""
    if dataset is None or not any(case.segmentation for case in find_cases_to_predict(read_manifest(dataset.path))):
        return None
    return dataset
