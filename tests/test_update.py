"""`osteon train --update`: a model goes on with what was labelled since, and has to be as good as before."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import osteon
from helpers import two_boxes
from osteon.core.errors import UsageError
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import LabelWork, judge_label, save_label
from osteon.dataset.manifest import write_manifest
from osteon.planning.inherited_plan import plan_for_update
from osteon.predicting.training_cases import UNKNOWN, SeenScans
from osteon.runs.fit import train
from osteon.runs.update import model_in_use, update
from osteon.runs.update_cases import check_updatable, choose_cases, count_learnable, count_repeats
from osteon.runs.update_files import finished_folder
from osteon.runs.update_gate import judge
from osteon.runs.update_history import find_newest, read_chain, read_update
from osteon.training.module import TrainingModule
from runs import CPU, cohort, command, learning_plan

ONCE = replace(CPU, epochs=1)
SPECIMENS = 9
"""Of which the last five have no label at first."""


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of which four scans have a label, with a run that was trained on three of them."""
    folder = tmp_path_factory.mktemp("project")
    dataset = cohort(folder / "data", SPECIMENS)
    cases = [c.model_copy(update={"segmentation": None} if n > 3 else {}) for n, c in enumerate(dataset.manifest.cases)]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    train(Dataset.open(dataset.folder), learning_plan(), folder / "run", replace(ONCE, folds=4))
    return folder


@pytest.fixture
def project(began: Path, tmp_path: Path) -> Path:
    return shutil.copytree(began, tmp_path / "project")


def label(folder: Path, number: int, *, wrong: bool = False, approved: bool = True) -> str:
    """Draw the label of a scan; a wrong one has the two boxes exchanged. Returns the case's id."""
    dataset, case = Dataset.open(folder), f"c{number}"
    array = two_boxes(seed=number)[1].copy()
    if wrong:
        array = np.where(array == 3, 5, np.where(array == 5, 3, 0)).astype(array.dtype)
    drawn = Segmentation(array, dataset.geometry(dataset.case(case)), dataset.structures)
    save_label(dataset, case, drawn, LabelWork("Ada"), base=0)
    if approved:
        judge_label(dataset, case, "approved")
    return case


def run_update(project: Path, name: str, before: str, **options: Any) -> Any:
    folder, run = project / "data", project / name
    plan = plan_for_update(folder, run, str(project / before), restart=False)
    return update(Dataset.open(folder), plan, run, replace(ONCE, update=str(project / before), **options))


# Which cases


def chosen(folder: Path, trained: str = "c0 c1 c2", validated: str = "c3", labels: dict[str, str] | None = None) -> Any:
    seen = SeenScans(dict.fromkeys(trained.split(), ""), dict.fromkeys(validated.split(), ""))
    return choose_cases(Dataset.open(folder), seen, labels or {})


def test_new_cases_are_learnt_and_approved_ones_judge(project: Path) -> None:
    folder = project / "data"
    for number in (4, 5, 6):
        label(folder, number)
    label(folder, 7, approved=False)
    one = chosen(folder)
    assert one.validation[0] == "c3"
    assert len(one.validation) == 3  # a fifth of eight cases, and its own
    assert set(one.validation[1:]) < {"c4", "c5", "c6"}
    assert sorted(one.training + one.validation) == [f"c{n}" for n in range(8)]
    assert set(one.new) == {"c4", "c5", "c6", "c7"} - set(one.validation)
    assert one.corrected == []
    assert one.repeats == dict.fromkeys(one.new, 2)
    assert one.why == "1 case that the model before was validated on, 2 approved cases that it was not trained on"


def test_a_corrected_label_of_a_case_that_was_trained_on_is_learnt_again_once(project: Path) -> None:
    folder = project / "data"
    label(folder, 1)
    one = chosen(folder)
    assert (one.corrected, one.new, one.repeats, one.validation) == (["c1"], [], {"c1": 2}, ["c3"])
    with pytest.raises(UsageError, match="nothing was labelled or corrected since"):
        chosen(folder, labels={"c1": "annotations/c1/1.nii.gz"})


def test_where_approved_cases_are_too_few_others_judge_and_it_is_said(project: Path) -> None:
    folder = project / "data"
    for number in (4, 5):
        label(folder, number, approved=False)
    one = chosen(folder, "c0 c1 c2 c3", "")
    assert len(one.validation) == len(one.new) == 1
    assert one.why == "1 case that nobody has approved, since approved ones are too few"


def test_what_cannot_be_judged_is_refused_with_a_way_out(project: Path) -> None:
    folder = project / "data"
    label(folder, 4)
    with pytest.raises(UsageError, match="nothing to judge the new model by") as refused:
        chosen(folder, "c0 c1 c2 c3", "")
    assert "approve one scan more" in refused.value.hint
    with pytest.raises(UsageError, match="does not say which scans"):
        choose_cases(Dataset.open(folder), UNKNOWN, {})


@pytest.mark.parametrize(("old", "learnt", "repeats"), [(0, 3, 1), (2, 5, 2), (9, 3, 3), (100, 3, 8), (10, 4, 3)])
def test_new_cases_are_about_half_of_what_is_seen(old: int, learnt: int, repeats: int) -> None:
    assert count_repeats(old, learnt) == repeats


# The gate


def test_a_model_is_judged_on_cases_that_both_have() -> None:
    before = {"a": {"x": 0.8, "y": 0.9}, "b": {"x": 0.6, "y": None}, "c": {"x": 1.0, "y": 0.0}, "d": {"x": 0.0}}
    after = {"a": {"x": 0.9, "y": 0.9}, "b": {"x": 0.7, "y": None}, "c": {"x": 0.8, "y": None}}
    found = judge(before, after, ["x", "y"])
    assert found.structures["x"].before == found.structures["x"].after == 0.8
    assert (found.structures["y"].before, found.structures["y"].after, found.structures["y"].cases) == (0.45, 0.95, 2)
    assert (found.dice.before, found.dice.after) == (0.625, 0.875)
    assert found.dice.low is not None
    assert found.dice.high is not None
    assert found.dice.low <= found.dice.gain <= found.dice.high
    assert found.taken
    assert found.cases["c"] == {"x": [1.0, 0.8], "y": [0.0, None]}


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        ((0.80, 0.85), (0.80, 0.79), ""),
        ((0.80, 0.7995), (0.80, 0.80), ""),
        ((0.80, 0.79), (0.80, 0.80), "worse than the model before on the same cases: mean Dice 0.800 → 0.795"),
        ((0.80, 0.99), (0.80, 0.70), "worse in single structures on the same cases: y 0.800 → 0.700 (-0.100, 2 cases)"),
    ],
)
def test_a_worse_model_is_not_taken(x: tuple[float, float], y: tuple[float, float], why: str) -> None:
    found = judge(*({case: {"x": x[n], "y": y[n]} for case in "ab"} for n in (0, 1)), ["x", "y"])
    assert found.taken == (not why)
    assert found.why.startswith(why or "at least as good")


def test_without_a_common_case_nothing_is_taken() -> None:
    assert not judge({"a": {"x": None}}, {"a": {"x": None}, "b": {"x": 1.0}}, ["x"]).taken


# The whole way


def test_a_model_goes_on_and_one_that_learnt_from_wrong_labels_is_not_taken(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "data"
    for number in (4, 5):
        label(folder, number)
    good = run_update(project, "good", "run")
    record = read_update(project / "good")
    assert record is not None
    assert record.verdict is not None
    assert record.verdict.taken, record.verdict.why
    assert record.parent.folder == "../run"
    assert good.validation["labels"] == {case: f"annotations/{case}/1.nii.gz" for case in record.new}
    seen = good.validation["seen"]
    assert set(seen["before"]) == {"c0", "c1", "c2", "c3"} - set(seen["validation"])
    assert model_in_use(project / "good") == project / "good/model"
    dataset, first = Dataset.open(folder), (project / "good/model/weights.safetensors").read_bytes()

    for number in (6, 7, 8):
        label(folder, number, wrong=True, approved=False)
    for case in set(seen["training"]) - set(record.new):
        judge_label(dataset, case, "rejected", note="to be drawn again")
    again = ("train", folder, project / "bad", "--update", project / "good", "--epochs", "1", "--device", "cpu")
    capsys.readouterr()
    assert command(*again) == 1
    out = capsys.readouterr()
    assert "before → after  femur  " in out.out
    words = " ".join(out.err.split())
    assert "bad: the new model is not taken: worse than the model before on the same cases" in words
    assert "good stays in use" in words
    bad = read_update(project / "bad")
    assert bad is not None
    assert bad.verdict is not None
    assert bad.verdict.dice.gain < -0.1
    assert not (project / "bad/model").exists()
    assert finished_folder(project / "bad") == project / "bad/not-taken"
    assert model_in_use(project / "bad") == project / "good/model"
    assert (project / "good/model/weights.safetensors").read_bytes() == first
    assert command(*again) == 1
    words = " ".join(capsys.readouterr().err.split())
    assert "is trained already" in words
    assert "is not taken" in words

    chain = read_chain(project / "bad")
    assert [(link.run.name, link.taken) for link in chain] == [("run", True), ("good", True), ("bad", False)]
    assert [link.labelled for link in chain][:2] == [4, 6]
    with (project / "bad/updates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["run"] for row in rows] == ["run", "good", "bad"]
    assert [row["taken"] for row in rows] == ["yes", "yes", "no"]
    assert float(rows[2]["gain"]) == bad.verdict.dice.gain
    assert float(rows[1]["dice"]) == json.loads((project / "good/model/validation.json").read_text())["dice"]
    assert find_newest(project / "run") == (project / "good").resolve()


def test_killed_it_goes_on_with_the_cases_that_it_began_with(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "data"
    for number in (4, 5):
        label(folder, number)
    run_update(project, "undisturbed", "run")
    step = TrainingModule.training_step

    def dying(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if batch.iteration == 20:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", dying)
        patch.setattr("osteon.runs.update.train", lambda *a, **k: train(*a, **k, checkpoint_every_s=0))
        with pytest.raises(KeyboardInterrupt):
            run_update(project, "killed", "run")
    assert not (project / "killed/model").exists()
    label(folder, 6)
    assert count_learnable(Dataset.open(folder), SeenScans(training={"c0": "", "c1": "", "c2": "", "c3": ""}), {}) == 3
    report = run_update(project, "killed", "run")
    assert report.resumed
    one, other = (load_file(project / name / "model/weights.safetensors") for name in ("undisturbed", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (project / "killed/splits.yaml").read_text() == (project / "undisturbed/splits.yaml").read_text()
    with pytest.raises(UsageError, match="is a run, and no update"):
        run_update(project, "run", "run", seed=1)


def die_after(writes: int, *, before: bool) -> None:
    """Have this process killed at the so-many-th file that it puts in its place: before that is there, or after."""
    replace_file, left = os.replace, [writes]

    def dying(*names: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] or not before:
            replace_file(*names, **options)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying


@pytest.mark.skipif(sys.platform != "linux", reason="torch does not go on in a fork everywhere")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_however_often_it_is_killed_the_model_is_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two files nothing on the disk changes: killed at any file, it has been killed at any moment."""
    for number in (4, 5):
        label(project / "data", number)
    run_update(project, "undisturbed", "run")
    monkeypatch.setattr("osteon.runs.update.train", lambda *a, **k: train(*a, **k, checkpoint_every_s=0))
    kills = 0
    while True:
        child = os.fork()
        if not child:
            rng = np.random.default_rng(kills)
            die_after(int(rng.integers(1, 25)) + kills, before=bool(rng.integers(2)))
            try:
                run_update(project, "killed", "run")
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills > 2
    one, other = (load_file(project / name / "model/weights.safetensors") for name in ("undisturbed", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (project / "killed/splits.yaml").read_text() == (project / "undisturbed/splits.yaml").read_text()
    assert read_update(project / "killed") == read_update(project / "undisturbed")
    assert len(read_chain(project / "killed")) == 2


def test_structures_may_come_and_not_go(project: Path) -> None:
    folder = project / "data"
    dataset = Dataset.open(folder)
    patella = Structure(name="patella", value=9, colour="#0000ff")
    more = dataset.manifest.model_copy(update={"structures": [*dataset.manifest.structures, patella]})
    write_manifest(folder, more)
    plan = plan_for_update(folder, project / "new", str(project / "run"), restart=False)
    assert [(s.name, s.value) for s in plan.structures] == [("femur", 3), ("tibia", 5), ("patella", 6)]
    less = dataset.manifest.model_copy(update={"structures": dataset.manifest.structures[:1]})
    with pytest.raises(UsageError, match="structures: it has no tibia any more") as refused:
        check_updatable(Dataset(folder, less), learning_plan())
    assert "--init" in refused.value.hint


@pytest.mark.parametrize(
    "options", [("--fold", "1"), ("--init", "run"), ("--plan", "plan.yaml"), ("--network", "unet"), ("--patience", "3")]
)
def test_options_that_an_update_decides_itself_are_refused(
    began: Path, options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", began / "data", began / "never", "--update", began / "run", *options) == 2
    assert f"--update and {options[0]} contradict each other" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="an update keeps its model's plan"):
        osteon.train(began / "data", began / "never", update=str(began / "run"), network="unet")
    assert not (began / "never").exists()
