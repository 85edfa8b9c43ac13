"""Training: the form with its forecast, and the list of trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from osteon.app.commands import find_plan, start_plan, start_training
from osteon.app.curves import read_curves
from osteon.app.elements import (
    action,
    caption,
    card,
    empty_state,
    heading,
    list_card,
    note,
    page_frame,
    refresh_on_change,
)
from osteon.app.item_actions import item_buttons, item_page
from osteon.app.job_cards import phase_chip, watch_jobs
from osteon.app.jobs import Job, JobState
from osteon.app.page_cleanup import refreshable
from osteon.app.pages.run import RunPage
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.core.quantities import format_bytes, parse_seconds
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan
from osteon.planning.options import RECIPE_NAMES

BUDGETS = {
    "1min": "1 minute, to try it",
    "10min": "10 minutes",
    "30min": "30 minutes",
    "2h": "2 hours",
    "8h": "a night (8 h)",
    "24h": "a day",
}
FEW_ITERATIONS = 300
DIMENSIONS = {"": "as the data need it", "2": "2D, slice by slice", "3": "3D"}


def register(app: AppState) -> None:
    """Put the pages onto the server."""

    @ui.page("/train")
    def train(dataset: str = "") -> None:
        with page_frame(app, "Train", "/train"):
            items = app.datasets()
            with ui.element("div").classes("osteon-cols"):
                if items:
                    _TrainForm(app, items, dataset)
                else:
                    with empty_state("There is nothing to learn from yet", "Import labelled scans first."):
                        action("Bring data", "/data", style="main")
                with ui.column().classes("full-width no-wrap gap-3"):
                    heading("Trainings")
                    watch_jobs(
                        app,
                        lambda: [j for j in app.jobs.all() if j.command == "train"],
                        lambda rows: _show_trainings(app, rows),
                    )

    @ui.page("/train/{run_id}")
    def run(run_id: str) -> None:
        item_page(app, "runs", run_id, "/train", lambda item: RunPage(app, item))


def _show_trainings(app: AppState, rows: Sequence[tuple[Job, JobState]]) -> None:
    shown = set()
    for job, state in rows:
        item = app.workspace.item("runs", job.about["run"])
        if item.name not in shown and item.path.is_dir():
            _training_card(app, item, state)
        shown.add(item.name)
    for item in app.models():
        if item.name not in shown:
            _training_card(app, item, None)
    if not any(app.workspace.item("runs", name).path.is_dir() for name in shown) and not app.models():
        empty_state("No training yet", "Choose a dataset and a time on the left, then start.")


def _training_card(app: AppState, item: Item, state: JobState | None) -> None:
    dice, origin = read_curves(item.path).latest_dice.get("mean"), read_about(item)
    data = app.workspace.title("datasets", origin.get("dataset", "unknown data"))
    text = "added" if "brought" in origin else f"on {data}"
    with list_card(item.title, text + (f", Dice {dice:.3f}" if dice is not None else ""), item.url):
        if state is not None:
            phase_chip(state)
        action("Open", item.url, name=f"Open {item.title}")
        item_buttons(app, item, "/train")


class _TrainForm:
    """The form that starts a training, with its forecast."""

    def __init__(self, app: AppState, items: list[Item], dataset_id: str) -> None:
        self.app, self.items = app, {item.id: item for item in items}
        with card("A new training"):
            names = {item.id: item.title for item in items}
            chosen = dataset_id if dataset_id in names else next(iter(names))
            self.dataset = ui.select(names, value=chosen, label="Dataset").classes("full-width")
            recipes = {name: f"{name}: {what}" for name, what in RECIPE_NAMES.items()}
            self.recipe = ui.select(recipes, value="osteon", label="Recipe").classes("full-width")
            with ui.element("div").classes("osteon-row"):
                self.budget = ui.select(BUDGETS, value="30min", label="How long", with_input=False).classes(
                    "osteon-grow"
                )
                self.other_budget = ui.input("or a time of your own", placeholder="45min").classes("osteon-grow")
            with ui.expansion("More choices").classes("full-width"):
                self.dimensions = ui.select(DIMENSIONS, value="", label="Dimensions").classes("full-width")
            self.name = ui.input("Name", placeholder="as the dataset").classes("full-width")
            for box in (self.dataset, self.recipe, self.budget, self.other_budget, self.dimensions):
                box.on_value_change(lambda: self.forecast.refresh())
            self.forecast()
            with ui.element("div").classes("osteon-row"):
                action("Start training", self._start, icon="play_arrow", style="main")
                action("Forecast first", self._plan, icon="query_stats")
            watch_jobs(self.app, self._plan_jobs)
            refresh_on_change(self._plan_time, self.forecast.refresh)

    @property
    def item(self) -> Item:
        """The dataset chosen."""
        return self.items[str(self.dataset.value)]

    def _budget(self) -> str:
        return str(self.other_budget.value or "").replace(" ", "") or str(self.budget.value)

    def _choices(self) -> dict[str, Any]:
        """As `start_training` and the like take them."""
        options = ["--dimensions", str(self.dimensions.value)] if self.dimensions.value else []
        return {"recipe": str(self.recipe.value), "budget": self._budget(), "options": options}

    def _plan_jobs(self) -> list[Job]:
        jobs = [job for job in self.app.jobs.about("dataset", self.item.name) if job.command == "plan"][:1]
        return [job for job in jobs if self.app.is_open(job)]

    def _plan_time(self) -> float:
        path = self.item.path / PLAN
        return path.stat().st_mtime if path.is_file() else 0.0

    @refreshable
    def forecast(self) -> None:
        """What the plan says, where it was made with these choices."""
        plan = find_plan(self.item, **self._choices())
        if plan is None:
            caption("A forecast measures on this machine what the training will need; it takes about half a minute.")
            return
        show_plan(plan, self._budget())

    def _plan(self) -> None:
        parse_seconds(self._budget())
        start_plan(self.app, self.item, **self._choices())

    def _start(self) -> None:
        parse_seconds(self._budget())
        name = str(self.name.value or "") or f"{self.item.title}-{self.recipe.value}"
        run, _ = start_training(self.app, self.item, name, **self._choices())
        ui.navigate.to(run.url)


def show_plan(plan: Plan, budget: str) -> None:
    """The plan's main decisions and its forecast for a training of that time."""
    cost = plan.forecast
    times = "×".join
    rows = [
        ("Network", plan.network.description),
        ("Grid", f"{plan.grid.dimensions}D, {times(f'{s:.3g}' for s in plan.grid.spacing_mm)} {plan.unit}"),
        ("Patch", f"{times(map(str, plan.patch.size))}, batch {plan.patch.batch}"),
        ("Memory", f"{format_bytes(cost.training_bytes)} to train, {format_bytes(cost.predicting_bytes)} to segment"),
        ("Disk", format_bytes(cost.cache_bytes)),
    ]
    if cost.seconds_per_iteration:
        count = parse_seconds(budget) / cost.seconds_per_iteration
        rows.append(("Time", f"{cost.seconds_per_iteration:.2g} s an iteration: about {count:,.0f} in {budget}"))
        if count < FEW_ITERATIONS:
            note("This is little time for these data: expect a rough model. Give it longer for real use.")
    for name, text in rows:
        with ui.element("div").classes("osteon-row"):
            caption(name).style("width: 84px")
            ui.label(text).classes("osteon-grow")
    with ui.expansion("Why").classes("full-width"):
        for line in (*plan.grid.why, *plan.patch.why, *plan.training.why, *plan.augmentation.why):
            ui.label(f"– {line}")
