"""Training: what is chosen, what it will cost, and how it goes."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from osteon.app.commands import begin_plan, begin_training, plan_asked
from osteon.app.curves import read_curves
from osteon.app.frame import action, card, empty, faint, frame, heading, refuse, show_error
from osteon.app.item_actions import keeper, keys
from osteon.app.job_cards import chip, job_list, watch
from osteon.app.jobs import Job, State
from osteon.app.page_cleanup import redrawn
from osteon.app.pages.run import RunPage
from osteon.app.plan_summary import show_plan
from osteon.app.state import Studio
from osteon.app.workspace import Item, about
from osteon.core.errors import OsteonError
from osteon.core.quantities import parse_seconds
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.planning.recipe_files import published_recipes

RECIPES = {
    "osteon": "osteon: found by measuring your data",
    "nnunet": "nnunet: nnU-Net's choices",
    "limb": "limb: slices of MR, ResNet34 from ImageNet",
    "humerus": "humerus: fractures in CT, from scratch",
    "humerus-pretrained": "humerus-pretrained: fractures in CT, from ImageNet",
    "spine": "spine: vertebrae",
    "hand": "hand: radiographs of hands, from ImageNet",
    "lung": "lung: tumours in slices of CT",
}
BUDGETS = {
    "1min": "1 minute, to try it",
    "10min": "10 minutes",
    "30min": "30 minutes",
    "2h": "2 hours",
    "8h": "a night (8 h)",
    "24h": "a day",
}
DIMENSIONS = {"": "as the data need it", "2": "2D, slice by slice", "3": "3D"}


def register(studio: Studio) -> None:
    """Put the pages onto the server."""

    @ui.page("/train")
    def train(dataset: str = "") -> None:
        with frame(studio, "Train", "/train"):
            items = studio.datasets()
            with ui.element("div").classes("osteon-cols"):
                if items:
                    _Form(studio, items, dataset).build()
                else:
                    with empty("There is nothing to learn from yet", "Import labelled scans first."):
                        action("Bring data", "/data", weight="main")
                with ui.column().classes("full-width no-wrap gap-3"):
                    heading("Trainings")
                    watch(
                        studio,
                        lambda: [j for j in studio.jobs.all() if j.command == "train"],
                        lambda rows: _list(studio, rows),
                    )

    @ui.page("/train/{run_id}")
    def run(run_id: str) -> None:
        item = studio.workspace.find("runs", run_id)
        with frame(studio, "Training" if item is None else item.title, "/train", back=("/train", "Train")):
            if item is None:
                show_error(OsteonError("this training is no longer here", hint="go back to Train"))
                return
            keeper(studio, item, "/train")
            RunPage(studio, item).build()


def _list(studio: Studio, rows: Sequence[tuple[Job, State]]) -> None:
    shown = set()
    for job, state in rows:
        item = studio.workspace.item("runs", job.about["run"])
        if item.name not in shown and item.path.is_dir():
            _row(studio, item, state)
        shown.add(item.name)
    for item in studio.models():
        if item.name not in shown:
            _row(studio, item, None)
    if not any(studio.workspace.item("runs", name).path.is_dir() for name in shown) and not studio.models():
        with empty("No training yet", "Choose a dataset and a time on the left, then start."):
            pass


def _row(studio: Studio, item: Item, state: State | None) -> None:
    with card(), ui.element("div").classes("osteon-row"):
        with ui.column().classes("osteon-grow gap-0"):
            ui.link(item.title, f"/train/{item.id}").classes("text-weight-medium")
            newest = read_curves(item.path).newest.get("mean")
            known = about(item)
            data = studio.workspace.title("datasets", known.get("dataset", "unknown data"))
            origin = "brought in" if "brought" in known else f"on {data}"
            faint(origin + (f", Dice {newest:.3f}" if newest is not None else ""))
        if state is not None:
            chip(state)
        action("Open", f"/train/{item.id}", name=f"Open {item.title}")
        keys(studio, item, "/train")


class _Form:
    """The choices, the forecast, and the start."""

    def __init__(self, studio: Studio, items: list[Item], wanted: str) -> None:
        self.studio, self.items = studio, {item.id: item for item in items}
        self.first = wanted if wanted in self.items else next(iter(self.items))

    def build(self) -> None:
        """Put them onto the page."""
        with card("A new training"):
            self.dataset = ui.select(
                {i: item.title for i, item in self.items.items()}, value=self.first, label="Dataset"
            )
            self.dataset.classes("full-width").on_value_change(lambda: self.forecast.refresh())
            known = {name: RECIPES.get(name, name) for name in ("osteon", "nnunet", *published_recipes())}
            self.recipe = ui.select(known, value="osteon", label="Recipe").classes("full-width")
            self.recipe.on_value_change(lambda: self.forecast.refresh())
            with ui.element("div").classes("osteon-row"):
                self.budget = ui.select(BUDGETS, value="30min", label="How long", with_input=False).classes(
                    "osteon-grow"
                )
                self.budget.on_value_change(lambda: self.forecast.refresh())
                self.own = ui.input("or a time of your own", placeholder="45min").classes("osteon-grow")
                self.own.on_value_change(lambda: self.forecast.refresh())
            with ui.expansion("More choices").classes("full-width"):
                self.dimensions = ui.select(DIMENSIONS, value="", label="Dimensions").classes("full-width")
                self.dimensions.on_value_change(lambda: self.forecast.refresh())
            self.name = ui.input("Name", placeholder="as the dataset").classes("full-width")
            self.forecast()
            with ui.element("div").classes("osteon-row"):
                action("Start training", self._start, icon="play_arrow", weight="main")
                action("Forecast first", self._plan, icon="query_stats")
            watch(self.studio, self._plans, lambda rows: job_list(self.studio, rows), more=self._planned)

    @property
    def item(self) -> Item:
        """The dataset chosen."""
        return self.items[str(self.dataset.value)]

    def _time(self) -> str:
        return str(self.own.value or "").replace(" ", "") or str(self.budget.value)

    def _more(self) -> list[str]:
        return ["--dimensions", str(self.dimensions.value)] if self.dimensions.value else []

    def _plans(self) -> list[Job]:
        jobs = [job for job in self.studio.jobs.about("dataset", self.item.name) if job.command == "plan"][:1]
        return [job for job in jobs if self.studio.jobs.state(job).phase not in ("done", "cancelled")]

    def _planned(self) -> float:
        """Refreshes the forecast once it is there."""
        path = self.item.path / PLAN
        now = path.stat().st_mtime if path.is_file() else 0.0
        if now != getattr(self, "planned_at", now):
            self.forecast.refresh()
        self.planned_at = now
        return now

    @redrawn
    def forecast(self) -> None:
        """What the plan says, where it was made with these choices."""
        plan = plan_asked(self.item, recipe=str(self.recipe.value), budget=self._time(), more=self._more())
        if plan is None:
            faint("A forecast measures on this machine what the training will need; it takes about half a minute.")
            return
        show_plan(plan, self._time())

    def _checked(self) -> bool:
        try:
            parse_seconds(self._time())
        except Exception as error:  # noqa: BLE001 (typer's own, whose text is for people)
            refuse(OsteonError(str(error)))
            return False
        return True

    def _plan(self) -> None:
        if self._checked():
            begin_plan(self.studio, self.item, recipe=str(self.recipe.value), budget=self._time(), more=self._more())

    def _start(self) -> None:
        if not self._checked():
            return
        wanted = str(self.name.value or "") or f"{self.item.title}-{self.recipe.value}"
        try:
            run, _ = begin_training(
                self.studio, self.item, wanted, recipe=str(self.recipe.value), budget=self._time(), more=self._more()
            )
        except OsteonError as error:
            refuse(error)
            return
        ui.navigate.to(f"/train/{run.id}")
