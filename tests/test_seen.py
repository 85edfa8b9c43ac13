"""What a model has seen is said by its own run, whatever the dataset holds out by now; such scores are no test."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import osteon
from helpers import add_hashes
from osteon.core.case_records import RECORDS_FOLDER, CaseRecords
from osteon.core.errors import DatasetError, FileError, UsageError
from osteon.core.files import write_yaml
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.predicting.model_folder import load_model
from osteon.predicting.training_cases import (
    TRAINED,
    UNKNOWN,
    UNSEEN,
    VALIDATED,
    SeenScans,
    merge_seen_scans,
    read_seen_scans,
    read_training_roles,
    worst,
)
from osteon.runs.fit import train
from osteon.runs.options import TrainOptions
from runs import cohort, command, learning_plan

Captured = pytest.CaptureFixture[str]
OPTIONS = TrainOptions(device="cpu", workers=1, epochs=1, folds=3)


def hold_out(dataset: Dataset, *ids: str) -> Dataset:
    """Tick cases for the final test, and no others."""
    cases = [case.model_copy(update={"held_out": case.id in ids}) for case in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    return Dataset.open(dataset.folder)


class World:
    """A dataset of six cases, one held out; a run on it; and two cases by what the run did with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = hold_out(add_hashes(cohort(folder / "data")), "c5")
        self.run = folder / "run"
        train(self.dataset, learning_plan(), self.run, OPTIONS)
        seen = json.loads((self.run / "model/validation.json").read_text())["seen"]
        self.trained, self.validated = sorted(seen["training"]), sorted(seen["validation"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("seen"))


@pytest.fixture
def predicted(world: World, tmp_path: Path) -> Path:
    """Predictions of a case that was trained on and ticked as held out later, and of one that never was."""
    hold_out(world.dataset, "c5", world.trained[0])
    assert command("predict", world.run, world.dataset.folder, tmp_path / "out", "--device", "cpu") == 0
    return tmp_path / "out"


def metrics(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return data


def test_a_model_says_what_it_has_seen(world: World) -> None:
    contents = {case.id: case.content for case in world.dataset.manifest.cases}
    seen = load_model(world.run).seen
    assert {**seen.training, **seen.validation} == {i: contents[i] for i in contents if i != "c5"}
    assert not set(seen.training) & set(seen.validation)
    card = (world.run / "model/card.md").read_text()
    assert f"- Trained on: {', '.join(seen.training)}" in card
    assert f"- Validated on: {', '.join(seen.validation)}" in card


def test_content_comes_before_the_name() -> None:
    seen = SeenScans({"a": "1", "b": ""}, {"v": "3"})
    assert seen.role_of("renamed", "1") == TRAINED
    assert seen.role_of("a", "2") == UNSEEN  # another scan of that name
    assert seen.role_of("a") == TRAINED
    assert seen.role_of("b", "9") == TRAINED  # whose voxels nobody wrote down
    assert seen.role_of("v", "3") == VALIDATED
    assert seen.role_of("new", "4") == UNSEEN
    assert UNKNOWN.role_of("a", "1") is None


def test_of_many_one_that_was_trained_on_a_scan_decides() -> None:
    assert worst([UNSEEN, TRAINED, None]) == TRAINED
    assert worst([UNSEEN, None]) is None
    assert worst([UNSEEN, VALIDATED]) == VALIDATED
    assert worst([UNSEEN, UNSEEN]) == UNSEEN
    folds = merge_seen_scans([SeenScans({"a": ""}, {"b": ""}), SeenScans({"b": ""}, {"a": ""})])
    assert folds.role_of("a") == folds.role_of("b") == TRAINED
    assert folds.role_in_run("a") == VALIDATED  # by the fold that had not


def test_a_case_that_is_held_out_after_the_training_is_no_unseen_one(
    world: World, predicted: Path, capsys: Captured
) -> None:
    assert command("predict", world.run, world.dataset.folder, predicted, "--device", "cpu", "--overwrite") == 0
    printed = capsys.readouterr().err
    records = json.loads((predicted / "predictions.json").read_text())
    assert {case: record["seen"] for case, record in records.items()} == {world.trained[0]: TRAINED, "c5": UNSEEN}
    assert "the model was trained on 1 of these scans, so they do not show how it does on new ones: " in printed
    assert world.trained[0] in printed

    assert command("evaluate", predicted, world.dataset.folder) == 0
    output = capsys.readouterr()
    assert "the model was trained on 1 of 2 cases, which are in none of the other metrics" in output.err
    assert "trained on: no test" in output.out
    found = metrics(predicted)
    alone = osteon.evaluate(predicted / "c5.nii.gz", world.dataset.folder)
    assert found["overall"]["dice"]["mean"] == pytest.approx(alone.overall.dice.mean, rel=1e-5)
    assert found["structures"]["femur"]["dice"]["n"] == found["trained_on"]["structures"]["femur"]["dice"]["n"] == 1
    assert found["seen"] == {world.trained[0]: TRAINED, "c5": UNSEEN}
    with (predicted / "metrics.csv").open(newline="") as text:
        assert {row["case"]: row["seen"] for row in csv.DictReader(text)} == found["seen"]


def test_where_all_were_trained_on_there_is_no_mean(world: World, tmp_path: Path, capsys: Captured) -> None:
    scans = [world.dataset.folder / f"images/{case}.nii.gz" for case in world.trained[:2]]
    renamed = tmp_path / "scans/new-patient.nii.gz"
    renamed.parent.mkdir()
    shutil.copyfile(scans[0], renamed)
    assert command("predict", world.run, *scans, renamed, tmp_path / "out", "--device", "cpu") == 0
    assert set(read_training_roles(tmp_path / "out").values()) == {TRAINED}  # the copy under another name, too
    assert command("evaluate", tmp_path / "out", world.dataset.folder) == 0
    assert "trained on 2 of 2 cases" in capsys.readouterr().err
    assert metrics(tmp_path / "out")["structures"] == {}
    assert metrics(tmp_path / "out")["overall"].get("dice") is None


def test_another_scan_of_the_same_name_is_unseen(world: World, tmp_path: Path) -> None:
    other = tmp_path / f"{world.trained[0]}.nii.gz"
    shutil.copyfile(world.dataset.folder / "images/c5.nii.gz", other)
    assert command("predict", world.run, other, tmp_path / "out", "--device", "cpu") == 0
    assert read_training_roles(tmp_path / "out") == {world.trained[0]: UNSEEN}


def test_a_runs_own_validation_is_told_as_such(world: World, tmp_path: Path, capsys: Captured) -> None:
    assert command("evaluate", world.run / "predictions", world.dataset.folder, "--to", tmp_path) == 0
    assert f"{len(world.validated)} cases were validated on" in " ".join(capsys.readouterr().err.split())
    assert metrics(tmp_path)["seen"] == dict.fromkeys(world.validated, VALIDATED)
    assert metrics(tmp_path)["overall"]["dice"]["n"] == 2 * len(world.validated)


def test_what_a_newer_osteon_tells_besides_is_passed_over(world: World, tmp_path: Path) -> None:
    run = shutil.copytree(world.run, tmp_path / "run")
    path = run / "model/validation.json"
    validation = json.loads(path.read_text())
    validation["seen"]["elsewhere"] = {}
    path.write_text(json.dumps(validation))
    assert load_model(run).seen == load_model(world.run).seen


def test_a_run_of_an_earlier_osteon_is_told_by_its_splits(world: World, tmp_path: Path) -> None:
    run = shutil.copytree(world.run, tmp_path / "run")
    path = run / "model/validation.json"
    validation = json.loads(path.read_text())
    del validation["seen"]
    path.write_text(json.dumps(validation))
    seen = load_model(run).seen
    assert (sorted(seen.training), sorted(seen.validation)) == (world.trained, world.validated)
    assert not seen.by_content
    assert load_model(shutil.copytree(run / "model", tmp_path / "alone")).seen == UNKNOWN


def test_a_run_of_an_earlier_osteon_that_held_nothing_out_validated_on_nothing(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_yaml(tmp_path / "splits.yaml", {"training": ["a", "b"]})
    assert read_seen_scans(tmp_path / "model", {}) == SeenScans({"a": "", "b": ""}, {})


def as_earlier(predicted: Path) -> None:
    """Predictions as an earlier osteon left them: one record for all, which does not say what the model has seen."""
    shutil.rmtree(predicted / RECORDS_FOLDER)
    path = predicted / "predictions.json"
    records = json.loads(path.read_text())
    for record in records.values():
        del record["seen"]
    path.write_text(json.dumps(records))


def test_what_was_done_by_an_earlier_osteon_is_told_when_the_command_runs_again(
    world: World, predicted: Path, capsys: Captured
) -> None:
    as_earlier(predicted)
    assert command("predict", world.run, world.dataset.folder, predicted, "--device", "cpu") == 0
    assert "2 were done already" in capsys.readouterr().out
    assert read_training_roles(predicted) == {world.trained[0]: TRAINED, "c5": UNSEEN}


def test_what_was_done_stays_done_where_nothing_can_be_added_to_its_record(
    world: World, predicted: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier(predicted)

    def refused(*_: Any) -> None:
        raise FileError("it cannot be written")

    monkeypatch.setattr(CaseRecords, "write", refused)
    assert command("predict", world.run, world.dataset.folder, predicted, "--device", "cpu") == 0
    assert "2 were done already" in capsys.readouterr().out


def test_a_comparison_leaves_out_what_one_was_trained_on(
    world: World, predicted: Path, tmp_path: Path, capsys: Captured
) -> None:
    other = shutil.copytree(world.dataset.folder / "labels", tmp_path / "other")
    assert command("compare", predicted, other, "--reference", world.dataset.folder, "--to", tmp_path / "report") == 0
    assert f"left out: 1 cases that out was trained on: {world.trained[0]}" in capsys.readouterr().err
    with (tmp_path / "report/cases.csv").open(newline="") as text:
        assert {row["case"] for row in csv.DictReader(text)} == {"c5"}
    assert "out was trained on 1 of the cases" in (tmp_path / "report/report.html").read_text(encoding="utf-8")


def test_a_vote_of_one_that_was_trained_on_a_case_is_no_test_of_it(
    world: World, predicted: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "clean").mkdir()
    for case in (world.trained[0], "c5"):
        shutil.copyfile(predicted / f"{case}.nii.gz", tmp_path / f"clean/{case}.nii.gz")
    record = {case: {"seen": UNSEEN} for case in (world.trained[0], "c5")}
    (tmp_path / "clean/predictions.json").write_text(json.dumps(record))
    assert command("vote", predicted, tmp_path / "clean", tmp_path / "voted") == 0
    assert read_training_roles(tmp_path / "voted") == {world.trained[0]: TRAINED, "c5": UNSEEN}

    data, fitted = world.dataset.folder, tmp_path / "fit.yaml"
    members = (predicted, tmp_path / "clean")
    assert command("vote", *members, fitted, "--fit", data) == 0
    assert f"1 cases were left out, since a member was trained on them: {world.trained[0]}" in capsys.readouterr().err
    assert osteon.fit_vote(members, data, fitted, overwrite=True).cases == ("c5",)
    for folder in members:
        (folder / "c5.nii.gz").unlink()
    with pytest.raises(DatasetError, match="trained on each"):
        osteon.fit_vote(members, data, fitted, overwrite=True)


def test_a_model_of_all_folds_has_seen_all_and_its_own_predictions_are_validation(tmp_path: Path) -> None:
    dataset = hold_out(add_hashes(cohort(tmp_path / "data", 4)), "c3")
    run = tmp_path / "run"
    osteon.train(dataset.folder, run, plan=learning_plan(), epochs=1, fold="all", folds=3, device="cpu", workers=1)
    seen = load_model(run).seen
    assert {seen.role_of(case) for case in ("c0", "c1", "c2")} == {TRAINED}
    assert seen.role_of("c3") == UNSEEN
    assert read_training_roles(run / "predictions") == dict.fromkeys(("c0", "c1", "c2"), VALIDATED)


def test_what_the_model_to_begin_with_was_trained_on_was_seen(world: World, tmp_path: Path, capsys: Captured) -> None:
    hold_out(world.dataset, "c5")
    run = tmp_path / "run"
    options = ["--epochs", 1, "--folds", 3, "--fold", 1, "--device", "cpu", "--workers", 1]
    assert command("train", world.dataset.folder, run, "--init", world.run, *options) == 0
    output = " ".join(capsys.readouterr().err.split())
    seen = load_model(run).seen
    both = sorted(set(seen.validation) & set(world.trained))
    assert both
    assert (
        f"{len(both)} of the {len(seen.validation)} validation cases were trained on by the model that this" in output
    )
    assert {seen.role_of(case) for case in both} == {TRAINED}
    assert {case for case, role in read_training_roles(run / "predictions").items() if role == TRAINED} == set(both)


def test_doctor_judges_on_no_case_that_was_trained_on(tmp_path: Path) -> None:
    dataset = add_hashes(cohort(tmp_path / "data", 3))
    osteon.train(dataset.folder, tmp_path / "run", plan=learning_plan(), epochs=1, fold=None, device="cpu", workers=1)
    hold_out(dataset, "c0")
    with pytest.raises(UsageError, match="none that it was not trained on is held out"):
        osteon.doctor(tmp_path / "run", dataset.folder)
