"""`--fold all`: a run for each fold, one model of all, and a validation in which no network judges what it has seen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import osteon
from helpers import plan_data, tiny_plan, two_boxes, write_dataset
from osteon.core.errors import DatasetError, UsageError
from osteon.core.locks import lock_folder
from osteon.dataset.dataset import Dataset
from osteon.formats import read_segmentation
from osteon.networks.ensemble import Ensemble, count_members, first_member
from osteon.networks.registry import build_network
from osteon.plan.schema import write_plan
from osteon.predicting.model_folder import load_model
from osteon.runs import cross_validation
from osteon.runs.cross_validation import train_all_folds
from osteon.runs.final_validation import ValidationResult
from osteon.runs.finish import _choose_sequence
from osteon.runs.splits import make_run_folds, split_cases
from runs import CPU, cohort, command, learning_plan

ALL = replace(CPU, fold="all", folds=3, epochs=1)
SERIES = {"axis": 0, "names": ["femur", "tibia", "third"], "distance_mm": 5.0, "volume_mm3": 100.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def done(data: Dataset) -> Path:
    run = data.folder / "run"
    train_all_folds(data, learning_plan(), run, ALL)
    return run


def test_every_case_is_validated_by_a_network_that_has_not_seen_it(done: Path, data: Dataset) -> None:
    validation = json.loads((done / "model/validation.json").read_text())
    everyone = {case.id for case in data.manifest.cases}
    assert set(validation["cases"]) == everyone
    assert {path.name for path in (done / "predictions").iterdir()} == {f"{case}.nii.gz" for case in everyone}
    for fold in range(3):
        held = split_cases(data, replace(ALL, fold=fold))[1]
        own = json.loads((done / f"fold-{fold}/model/validation.json").read_text())
        assert set(own["cases"]) == set(held)
        for case in held:
            assert validation["cases"][case] == own["cases"][case]
            assert (done / f"predictions/{case}.nii.gz").samefile(done / f"fold-{fold}/predictions/{case}.nii.gz")
    assert validation["training"]["fold"] == "all"
    assert validation["training"]["iterations"] == 3 * 40
    assert validation["confidence"]["pairs"] == 12
    assert len(load_model(done).reference) == 6
    assert "6 whole scans that were not trained on" in (done / "model/card.md").read_text()


def test_the_model_is_the_mean_of_the_folds_logits(done: Path) -> None:
    model = load_model(done)
    assert isinstance(model.network, Ensemble)
    folds = [load_model(done / f"fold-{fold}").network for fold in range(3)]
    image = torch.randn((1, 1, 12, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.stack([fold(image)[0] for fold in folds]).mean(0)
        torch.testing.assert_close(model.network(image)[0], expected)
    assert count_members(model.network.state_dict()) == 3
    assert count_members(folds[0].state_dict()) == 0
    assert first_member(model.network) is model.network.members[0]
    assert first_member(folds[0]) is folds[0]


def test_it_predicts_and_begins_other_trainings(done: Path, data: Dataset, tmp_path: Path) -> None:
    report = osteon.predict(done, data.folder / data.manifest.cases[0].images[0], tmp_path / "out", device="cpu")
    assert len(report.done) == 1
    osteon.train(data.folder, tmp_path / "next", plan=learning_plan(), init=done, epochs=1, device="cpu", workers=1)
    assert (tmp_path / "next/transfer.json").is_file()


def test_done_folds_are_left_and_the_rest_goes_on(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    trained = []
    train = cross_validation.train

    def until_the_third(*arguments: object, **options: object) -> object:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(arguments[2])
        return train(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_validation, "train", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        train_all_folds(data, learning_plan(), run, ALL)
    monkeypatch.setattr(cross_validation, "train", train)
    before = [(folder / "model/weights.safetensors").stat().st_mtime_ns for folder in (run / "fold-0", run / "fold-1")]
    report = train_all_folds(data, learning_plan(), run, ALL)
    assert [(run / f"fold-{n}/model/weights.safetensors").stat().st_mtime_ns for n in (0, 1)] == before
    again = train_all_folds(data, learning_plan(), run, ALL)
    assert again.validation == report.validation
    with pytest.raises(UsageError, match="started with other choices: seed"):
        train_all_folds(data, learning_plan(), run, replace(ALL, seed=1))
    train_all_folds(data, learning_plan(), run, replace(ALL, seed=1), restart=True)


def test_too_few_cases_are_said_before_anything_is_trained(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="9 folds need 9 groups"):
        train_all_folds(data, learning_plan(), tmp_path / "run", replace(ALL, folds=9))
    assert not (tmp_path / "run").exists()


def rare(folder: Path, *shown: int) -> Dataset:
    """Six cases; the tibia is in those of these numbers alone."""
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    for number, (_, labels, _) in enumerate(cases.values()):
        labels[(labels == 5) & (number not in shown)] = 0
    return write_dataset(folder, cases)


def test_a_structure_of_one_case_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, run = rare(tmp_path / "data", 3), tmp_path / "run"
    plain = cross_validation.train
    monkeypatch.setattr(cross_validation, "train", lambda *_, **__: pytest.fail("a fold is trained"))
    message = r"no training case of a fold: tibia \(only in c3, which fold \d holds back\)"
    with pytest.raises(DatasetError, match=message) as refused:
        train_all_folds(dataset, tiny_plan(), run, ALL)
    assert "--fold none" in refused.value.hint
    # What the hint says can be done in the same folder: nothing was begun.
    monkeypatch.setattr(cross_validation, "train", plain)
    plan = tiny_plan({"structures": plan_data()["structures"][:1]})
    report = train_all_folds(dataset, plan, run, ALL)
    assert list(report.validation["structures"]) == ["femur"]


def test_copies_of_one_image_are_not_parted_also_where_no_hash_is_written(tmp_path: Path) -> None:
    every = [{int(case[1]) for case in fold} for fold in make_run_folds(rare(tmp_path / "any"), ALL)]
    first, second = (min(fold) for fold in every[:2])
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    cases[f"c{second}"] = cases[f"c{first}"]
    dataset, run = write_dataset(tmp_path / "data", cases), tmp_path / "run"
    assert all(case.content is None for case in dataset.manifest.cases)
    train_all_folds(dataset, tiny_plan(), run, ALL)
    folds = yaml.safe_load((run / "splits.yaml").read_text())
    assert sum({f"c{first}", f"c{second}"} <= set(fold) for fold in folds.values()) == 1


def test_a_structure_of_two_cases_lies_in_two_folds(tmp_path: Path) -> None:
    every = [{int(case[1]) for case in fold} for fold in make_run_folds(rare(tmp_path / "any"), ALL)]
    together = next(fold for fold in every if len(fold) == 2)
    dataset, run = rare(tmp_path / "data", *together), tmp_path / "run"
    train_all_folds(dataset, tiny_plan(), run, ALL)
    folds = yaml.safe_load((run / "splits.yaml").read_text())
    assert list(folds) == ["fold-0", "fold-1", "fold-2"]
    assert sorted(case for fold in folds.values() for case in fold) == [f"c{n}" for n in range(6)]
    assert sum(bool({f"c{n}" for n in together} & set(fold)) for fold in folds.values()) == 2
    for name, fold in folds.items():
        assert yaml.safe_load((run / name / "splits.yaml").read_text())["validation"] == fold


def test_a_run_of_folds_keeps_them_also_where_labels_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, run, train = rare(tmp_path / "data", *range(6)), tmp_path / "run", cross_validation.train

    def only_the_first(*arguments: object, **options: object) -> object:
        if (run / "fold-0/model").exists():
            raise KeyboardInterrupt
        return train(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_validation, "train", only_the_first)
    with pytest.raises(KeyboardInterrupt):
        train_all_folds(dataset, tiny_plan(), run, ALL)
    monkeypatch.setattr(cross_validation, "train", train)
    folds = yaml.safe_load((run / "splits.yaml").read_text())
    rare(tmp_path / "changed", *(int(case[1]) for case in folds["fold-1"]))
    for label in (tmp_path / "changed/labels").iterdir():
        shutil.move(dataset.folder / "labels" / label.name, tmp_path / label.name)
        shutil.copyfile(label, dataset.folder / "labels" / label.name)
    with pytest.raises(DatasetError, match="which fold 1 holds back"):  # other folds would train on what was validated
        train_all_folds(dataset, tiny_plan(), run, ALL)
    for label in (tmp_path / "changed/labels").iterdir():
        shutil.move(tmp_path / label.name, dataset.folder / "labels" / label.name)
    (run / "splits.yaml").unlink()  # as an osteon had begun it that did not write them
    report = train_all_folds(dataset, tiny_plan(), run, ALL)
    assert yaml.safe_load((run / "splits.yaml").read_text()) == folds
    assert len(report.validation["cases"]) == 6


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cohort(tmp_path / "data", cases=3).folder
    write_plan(folder / "plan.yaml", tiny_plan())
    how = ("--fold", "all", "--folds", 3, "--epochs", 1, "--device", "cpu", "--workers", 1)
    assert command("train", folder, tmp_path / "run", *how) == 0
    assert "(3 whole scans)" in capsys.readouterr().out
    assert read_segmentation(tmp_path / "run/predictions/c0.nii.gz").array.shape == (12, 10, 8)


@pytest.mark.parametrize(("as_found", "kept"), [(0.9, False), (0.7, True)])
def test_names_in_order_stay_only_where_they_do_not_harm(tmp_path: Path, as_found: float, kept: bool) -> None:
    data = tiny_plan().model_dump()
    structure = {"name": "third", "value": 7, "colour": "#0000ff"}
    plan = tiny_plan({"structures": [*data["structures"], structure], "series": SERIES})
    for part, content in (("predictions", "ordered"), ("unordered/predictions", "as found")):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "c0.nii.gz").write_text(content)
    ordered = ValidationResult({"c0": {"femur": 0.8, "tibia": 0.8, "third": 0.8}}, {})
    other = ValidationResult({"c0": {"femur": as_found, "tibia": as_found, "third": as_found}}, {})
    chosen, validated = _choose_sequence(plan, ordered, other, tmp_path)
    assert (chosen.sequence is not None) == kept
    assert validated is (ordered if kept else other)
    assert (tmp_path / "predictions/c0.nii.gz").read_text() == ("ordered" if kept else "as found")
    assert not (tmp_path / "unordered").exists()


def test_members_need_not_be_many() -> None:
    network = build_network(tiny_plan()).eval()
    image = torch.zeros(1, 1, 8, 8, 8)
    torch.testing.assert_close(Ensemble([network])(image)[0], network(image)[0])


def test_a_run_or_a_fold_that_another_training_works_in_is_refused(data: Dataset, tmp_path: Path) -> None:
    for held in (tmp_path / "run", tmp_path / "run/fold-0"):
        with lock_folder(held, "x", "y"), pytest.raises(UsageError, match="another training works in it") as refused:
            train_all_folds(data, learning_plan(), tmp_path / "run", ALL)
        assert str(held) in refused.value.message
