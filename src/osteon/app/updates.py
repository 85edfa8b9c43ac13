"""Models that learn on (`osteon train --update`): begun from a page, or by themselves after so many labels."""

from __future__ import annotations

import asyncio
from typing import Any

from osteon.app.curves import CHART_AXIS
from osteon.app.jobs import Job
from osteon.app.state import AppState, open_dataset
from osteon.app.workspace import ABOUT, Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import write_json
from osteon.predicting.records import find_model_folder, read_validation
from osteon.predicting.training_cases import read_seen_scans
from osteon.runs.update_cases import count_learnable
from osteon.runs.update_files import HISTORY, LABELS
from osteon.runs.update_history import ChainLink, find_newest

BUDGET = "10min"
WATCH_EVERY_S = 60.0
EVERY, TRIED, AUTO_BUDGET = "update-every", "update-tried", "update-budget"
"""In a run's `.about.json`: after how many new or corrected cases an update begins by itself, with which time; and the
model and number of cases with which one began last."""


def dataset_of(app: AppState, run: Item) -> Item | None:
    """The dataset that a run was trained on, where it is still there."""
    name = read_about(run).get("dataset", "")
    item = app.workspace.item("datasets", name)
    return item if name and open_dataset(item) is not None else None


def learnable(app: AppState, run: Item) -> int:
    """How many labelled cases of its dataset a run's model has not learnt from. Raises OsteonError."""
    item = dataset_of(app, run)
    dataset = None if item is None else open_dataset(item)
    if dataset is None:
        return 0
    folder = find_model_folder(run.path)
    validation = read_validation(folder)
    return count_learnable(dataset, read_seen_scans(folder, validation), validation.get(LABELS, {}))


def newest_of(app: AppState, run: Item) -> Item:
    """The last run in the chain of updates that were taken, from a run on."""
    newest = app.workspace.item("runs", find_newest(run.path).name)
    return newest if newest.path.is_dir() else run


def start_update(app: AppState, run: Item, budget: str) -> tuple[Item, Job]:
    """Train a run's model on with what was labelled since, into a run of its own.

    Raises:
        UsageError: The run's dataset is not there any more.
    """
    dataset = dataset_of(app, run)
    if dataset is None:
        raise UsageError(f"{run.title}: its dataset is not here any more", hint="bring it back from the bin")
    first = run.title.partition("-update")[0]
    made = app.workspace.create("runs", f"{first}-update", {"dataset": dataset.name, "update": run.name})
    job = app.jobs.submit(
        "train",
        [dataset.relative_path, made.relative_path, "--update", run.relative_path, "--budget", budget],
        f"Train {run.title} on with new labels",
        about={"dataset": dataset.name, "run": made.name, "budget": budget},
        product=f"{made.relative_path}/{HISTORY}",
    )
    return made, job


def set_automatic(run: Item, every: int, budget: str) -> None:
    """Let updates begin by themselves after so many new or corrected cases; 0: not any more."""
    about = {key: value for key, value in read_about(run).items() if key not in (EVERY, TRIED, AUTO_BUDGET)}
    chosen = {EVERY: str(every), AUTO_BUDGET: budget} if every else {}
    write_json(run.path / ABOUT, about | chosen)


def start_due_updates(app: AppState) -> list[Item]:
    """Begin the updates that are due, one for each chain; the new runs."""
    begun = []
    for run in app.models():
        about = read_about(run)
        if not about.get(EVERY, "").isdigit():
            continue
        try:
            newest = newest_of(app, run)
            count = learnable(app, newest)
            before, _, tried = about.get(TRIED, "").rpartition(":")
            enough = int(about[EVERY]) + (int(tried) if before == newest.name and tried.isdigit() else 0)
            if count < enough or any(_is_busy(app, job) for job in app.jobs.about("dataset", about["dataset"])):
                continue
            begun.append(start_update(app, newest, about.get(AUTO_BUDGET, BUDGET))[0])
            write_json(run.path / ABOUT, read_about(run) | {TRIED: f"{newest.name}:{count}"})
        except (OsteonError, KeyError):
            continue  # the run's page says what is wrong
    return begun


async def watch_labels(app: AppState) -> None:
    """Look from time to time whether updates are due, beside what the server does."""
    await asyncio.to_thread(start_due_updates, app)


def _is_busy(app: AppState, job: Job) -> bool:
    return job.command == "train" and app.jobs.state(job).phase in ("queued", "running", "paused")


def chain_rows(app: AppState, chain: list[ChainLink]) -> list[dict[str, Any]]:
    """A chain of updates as rows of a table, the newest first."""
    rows = []
    for link in chain:
        item, verdict = app.workspace.item("runs", link.run.resolve().name), link.update and link.update.verdict
        pair = verdict.dice if verdict else None
        rows.append(
            {
                "id": item.id,
                "name": item.title,
                "href": item.url,
                "labelled": link.labelled,
                "dice": "" if link.dice is None else round(link.dice, 3),
                "change": pair.describe() if pair else "",
                "taken": "yes" if link.taken else "no",
            }
        )
    return rows[::-1]


def chain_chart(chain: list[ChainLink]) -> dict[str, Any]:
    """Options of a chart: Dice over labelled cases, of the models taken and of those that were not."""
    known = [(link, [link.labelled, round(link.dice, 4)]) for link in chain if link.dice is not None]
    taken = [point for link, point in known if link.taken]
    refused = [point for link, point in known if not link.taken]
    series: list[dict[str, Any]] = [
        {"type": "line", "name": "models taken", "data": taken, "symbolSize": 9, "color": "#1a63d2"}
    ]
    if refused:
        marks = {"type": "scatter", "name": "not taken", "data": refused, "symbol": "diamond", "symbolSize": 13}
        series.append(marks | {"color": "#e0621f"})
    axis = CHART_AXIS | {"scale": True}
    return {
        "animation": False,
        "grid": {"left": 56, "right": 16, "top": 24, "bottom": 64},
        "tooltip": {"trigger": "item"},
        "legend": {"show": True, "bottom": 0, "textStyle": {"color": "#8a94a3"}},
        "xAxis": axis | {"name": "labelled cases", "nameLocation": "middle", "nameGap": 24, "minInterval": 1},
        "yAxis": axis | {"name": "Dice", "max": 1},
        "series": series,
    }
