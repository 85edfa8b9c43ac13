"""What the pages ask for are commands that the command line has, with options that it knows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from helpers import two_boxes, write_dataset
from osteon.app import commands, result_commands
from osteon.app.commands import ImportChoices
from osteon.app.downloads import DOWNLOADS
from osteon.app.jobs import Job, Jobs, State
from osteon.app.pages.segment import SPEEDS
from osteon.app.pages.source import FLAGS
from osteon.app.pages.train import RECIPES
from osteon.app.runner import outcome
from osteon.app.state import Studio
from osteon.app.workspace import Workspace
from osteon.cli.main import app
from osteon.core.file_stamps import modification_stamp
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.exporting.registry import FORMS
from osteon.planning.recipe_files import published
from osteon.predicting.speed import SPEEDS as KNOWN_SPEEDS


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(Jobs, "advance", lambda _: None)
    made = Studio(Workspace.open(tmp_path / "w"))
    write_dataset(made.workspace.root / "datasets/knees", {f"c{n}": two_boxes(seed=n) for n in range(3)})
    return made


def everything(studio: Studio) -> list[Job]:
    """Every job that the pages know to begin."""
    space = studio.workspace
    dataset, run, result = space.item("datasets", "knees"), space.item("runs", "r"), space.item("results", "mine")
    choices = ImportChoices("masks", "mr", "last:1", ["a", "b"], {"femur": 1}, tuple(FLAGS))
    commands.begin_phantom(studio, "limb", 6)
    commands.begin_import(studio, space.root / "sources/legs", "legs", choices)
    commands.begin_plan(studio, dataset, recipe="limb", budget="10min", more=["--dimensions", "2"])
    commands.begin_training(studio, dataset, "r", recipe="limb", budget="10min", more=["--dimensions", "2"])
    result_commands.begin_prediction(studio, run, dataset.path, "mine", of={"dataset": "knees"}, probabilities=True)
    result_commands.begin_evaluation(studio, result, space.item("results", "other"))
    result_commands.begin_vote(studio, [result, result], "vote", "soft")
    result_commands.begin_comparison(studio, [result], dataset)
    for form in DOWNLOADS:
        result_commands.begin_export(studio, result, form, options=["--overwrite"])
    return studio.jobs.all()


def test_every_job_is_a_command_with_options_that_it_has(studio: Studio) -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    jobs = everything(studio)
    for job in jobs:
        known[job.command].make_context(job.command, list(job.arguments))  # raises where an option is none
    assert {job.command for job in jobs} == {
        *("phantom", "import", "audit", "plan", "train", "predict", "evaluate", "vote", "compare", "export")
    }


def test_what_has_no_label_is_not_scored(studio: Studio) -> None:
    space = studio.workspace
    dataset, run = space.item("datasets", "knees"), space.item("runs", "r")
    manifest = read_manifest(dataset.path)
    bare = [case.model_copy(update={"segmentation": None}) for case in manifest.cases]
    write_manifest(dataset.path, manifest.model_copy(update={"cases": bare}))
    result, _ = result_commands.begin_prediction(studio, run, dataset.path, "mine", of={"dataset": "knees"})
    result_commands.begin_vote(studio, [result, result], "vote", "soft")
    assert "evaluate" not in {job.command for job in studio.jobs.all()}


def test_an_export_waits_for_what_it_exports(studio: Studio) -> None:
    space = studio.workspace
    result, job = result_commands.begin_prediction(
        studio, space.item("runs", "r"), space.root / "sources/x", "mine", of={}
    )
    export = result_commands.begin_export(studio, result, "stl")[1]
    assert export.after == (job.id,)


def test_a_vote_of_which_one_case_fails_comes_to_something(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    space = studio.workspace
    members = [space.item("results", name) for name in ("one", "two", "three")]
    for item in members:
        shutil.copytree(space.root / "datasets/knees/labels", item.path)
    (members[1].path / "c1.nii.gz").write_bytes(b"damaged")
    _, job = result_commands.begin_vote(studio, members, "vote", "hard")
    monkeypatch.chdir(space.root)
    before = modification_stamp(space.root / job.product)
    code = CliRunner().invoke(app, [job.command, *job.arguments]).exit_code
    assert code == 1
    assert outcome(space.root, job, State("running"), code, before) == "partly"


def test_what_the_pages_offer_exists() -> None:
    assert set(DOWNLOADS) <= {form.name for form in FORMS}
    assert {"osteon", "nnunet", *published()} >= set(RECIPES)
    assert set(SPEEDS) == {speed.name for speed in KNOWN_SPEEDS}
