"""What the pages ask for are commands that the command line has, with options that it knows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from helpers import two_boxes, write_dataset
from osteon.app import commands, result_commands, updates
from osteon.app.downloads import DOWNLOADS
from osteon.app.jobs import Job, Jobs, JobState
from osteon.app.pages.segment import SPEEDS
from osteon.app.runner import outcome
from osteon.app.state import AppState
from osteon.app.wording import IMPORT_FLAGS
from osteon.app.workspace import ABOUT, Workspace
from osteon.cli.main import app as command_line
from osteon.core.file_stamps import modification_stamp
from osteon.core.files import write_json
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.exporting.registry import FORMS
from osteon.planning.options import RECIPE_NAMES
from osteon.planning.recipe_files import published_recipes
from osteon.predicting.speed import SPEEDS as KNOWN_SPEEDS


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppState:
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    made = AppState(Workspace.open(tmp_path / "w"))
    write_dataset(made.workspace.root / "datasets/knees", {f"c{n}": two_boxes(seed=n) for n in range(3)})
    return made


def everything(app: AppState) -> list[Job]:
    """Every job that the pages know to begin."""
    space = app.workspace
    dataset, run, result = space.item("datasets", "knees"), space.item("runs", "r"), space.item("results", "mine")
    commands.start_phantom(app, "limb", 6)
    commands.start_import(app, space.root / "sources/legs", "legs", ["--form", "masks", *IMPORT_FLAGS])
    commands.start_plan(app, dataset, recipe="limb", budget="10min", options=["--dimensions", "2"])
    commands.start_training(app, dataset, "r", recipe="limb", budget="10min", options=["--dimensions", "2"])
    write_json(space.item("runs", "first").path / ABOUT, {"dataset": "knees"})
    updates.start_update(app, space.item("runs", "first"), "10min")
    result_commands.start_prediction(app, run, dataset.path, "mine", origin={"dataset": "knees"}, probabilities=True)
    result_commands.start_evaluation(app, result, space.item("results", "other"))
    result_commands.start_vote(app, [result, result], "vote", "soft")
    result_commands.start_comparison(app, [result], dataset)
    for form in DOWNLOADS:
        result_commands.start_export(app, result, form, options=["--overwrite"])
    return app.jobs.all()


def test_every_job_is_a_command_with_options_that_it_has(app: AppState) -> None:
    known = get_command(command_line).commands  # type: ignore[attr-defined]
    jobs = everything(app)
    for job in jobs:
        known[job.command].make_context(job.command, list(job.arguments))  # raises where an option is none
    assert {job.command for job in jobs} == {
        *("phantom", "import", "audit", "plan", "train", "predict", "evaluate", "vote", "compare", "export")
    }


def test_what_has_no_label_is_not_scored(app: AppState) -> None:
    space = app.workspace
    dataset, run = space.item("datasets", "knees"), space.item("runs", "r")
    manifest = read_manifest(dataset.path)
    bare = [case.model_copy(update={"segmentation": None}) for case in manifest.cases]
    write_manifest(dataset.path, manifest.model_copy(update={"cases": bare}))
    result, _ = result_commands.start_prediction(app, run, dataset.path, "mine", origin={"dataset": "knees"})
    result_commands.start_vote(app, [result, result], "vote", "soft")
    assert "evaluate" not in {job.command for job in app.jobs.all()}


def test_an_export_waits_for_what_it_exports(app: AppState) -> None:
    space = app.workspace
    result, job = result_commands.start_prediction(
        app, space.item("runs", "r"), space.root / "sources/x", "mine", origin={}
    )
    export = result_commands.start_export(app, result, "stl")[1]
    assert export.after == (job.id,)


def test_a_vote_of_which_one_case_fails_comes_to_something(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    space = app.workspace
    members = [space.item("results", name) for name in ("one", "two", "three")]
    for item in members:
        shutil.copytree(space.root / "datasets/knees/labels", item.path)
    (members[1].path / "c1.nii.gz").write_bytes(b"damaged")
    _, job = result_commands.start_vote(app, members, "vote", "hard")
    monkeypatch.chdir(space.root)
    before = modification_stamp(space.root / job.product)
    code = CliRunner().invoke(command_line, [job.command, *job.arguments]).exit_code
    assert code == 1
    assert outcome(space.root, job, JobState("running"), code, before) == "partly"


def test_what_the_pages_offer_exists() -> None:
    assert set(DOWNLOADS) <= {form.name for form in FORMS}
    assert {"osteon", "nnunet", *published_recipes()} >= set(RECIPE_NAMES)
    assert set(SPEEDS) == {speed.name for speed in KNOWN_SPEEDS}
