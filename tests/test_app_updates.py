"""Models that learn on, in the app: the card, the chart, and updates that begin by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nicegui import ui
from nicegui.testing.user import User

from app_pages import click, visit
from helpers import tiny_plan, two_boxes, write_dataset
from osteon.app.jobs import Jobs
from osteon.app.state import AppState
from osteon.app.updates import learnable, newest_of, set_automatic, start_due_updates
from osteon.app.workspace import ABOUT, Workspace
from osteon.core.files import write_json
from osteon.plan.schema import write_plan
from osteon.runs.update_gate import judge
from osteon.runs.update_history import Parent, UpdateRecord

CASES = [f"c{n}" for n in range(6)]


def run_in(root: Path, name: str, trained: list[str], dice: float, before: str = "", gain: float = 0.1) -> None:
    """A run as far as pages look at one; with `before` an update of another, taken where it gains."""
    run, taken = root / "runs" / name, gain >= 0
    folder = run / ("model" if taken else "not-taken")
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").touch()
    for place in (run, folder):
        write_plan(place / "plan.yaml", tiny_plan())
    seen = {"training": dict.fromkeys(trained, ""), "validation": {"c0": ""}, "before": {}}
    structures = {"femur": dice, "tibia": dice}
    write_json(folder / "validation.json", {"dice": dice, "structures": structures, "seen": seen})
    write_json(run / ABOUT, {"dataset": "knees"} | ({"update": before} if before else {}))
    if before:
        both = [{case: {"femur": value} for case in "abc"} for value in (dice - gain, dice)]
        record = UpdateRecord(
            parent=Parent(folder=f"../{before}", sha256=""), training=4, validation=3, verdict=judge(*both, ["femur"])
        )
        write_json(run / "update.json", record.model_dump())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = Workspace.open(tmp_path / "w").root
    write_dataset(made / "datasets/knees", {case: two_boxes(seed=n) for n, case in enumerate(CASES)})
    run_in(made, "first", ["c1", "c2"], 0.7)
    run_in(made, "second", ["c1", "c2", "c3"], 0.8, "first")
    run_in(made, "third", ["c1", "c2", "c3", "c4"], 0.6, "second", -0.2)
    return made


def find(user: User, kind: Any, text: str) -> Any:
    return next(each for each in user.find(kind).elements if each.props.get("label", "").startswith(text))


def test_a_runs_page_shows_its_updates_and_starts_the_next(root: Path) -> None:
    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.item
        await user.open(item("runs", "first").url)
        await user.should_see("A later update of this model is in use:")
        await user.should_not_see("Update the model")
        await user.open(item("runs", "third").url)
        await user.should_see("This model is not taken: worse than the model before on the same cases: mean Dice 0.800")
        [chart] = [c for c in user.find(ui.echart).elements if len(c.options["series"]) == 2]
        assert [series["data"] for series in chart.options["series"]] == [[[3, 0.7], [4, 0.8]], [[5, 0.6]]]
        [table] = user.find(ui.table).elements
        assert [(row["name"], row["taken"]) for row in table.rows] == [
            ("third", "no"),
            ("second", "yes"),
            ("first", "yes"),
        ]
        await user.open(item("runs", "second").url)
        await user.should_see("2 cases labelled or corrected since it was trained")
        find(user, ui.input, "How long").value = "20 min"
        find(user, ui.number, "By itself").value = 2
        await click(user, "Save for later updates")
        await user.should_see("An update begins after every 2 cases")
        await click(user, "Update the model")

    app = visit(root, steps)
    [job] = app.jobs.all()
    assert job.arguments == (*("datasets/knees", "runs/second-update", "--update", "runs/second", "--budget", "20min"),)


def test_updates_begin_by_themselves_once_there_are_enough_cases(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    app = AppState(Workspace.open(root))
    first = app.workspace.item("runs", "first")
    assert newest_of(app, first).name == "second"
    assert [learnable(app, newest_of(app, first)), learnable(app, first)] == [2, 3]
    assert start_due_updates(app) == []
    set_automatic(first, 3, "5min")
    assert start_due_updates(app) == []
    set_automatic(first, 2, "5min")
    [begun] = start_due_updates(app)
    [job] = app.jobs.all()
    assert job.arguments[2:] == ("--update", "runs/second", "--budget", "5min")
    assert job.about["run"] == begun.name
    assert start_due_updates(app) == [], "one waits already"
    app.jobs.cancel(job)
    assert start_due_updates(app) == [], "nothing came since the last one"
    set_automatic(first, 0, "")
    set_automatic(first, 1, "5min")
    assert len(start_due_updates(app)) == 1, "chosen again"
