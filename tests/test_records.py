"""Records that are valid JSON or YAML, and not what osteon writes: an error that names file and place, no traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from osteon.core.errors import FileError
from osteon.core.files import write_json
from osteon.core.records import read_record
from osteon.plan.schema import write_plan
from osteon.runs.fit import train
from osteon.runs.options import TrainOptions
from runs import cohort, command, learning_plan


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a run on it, and predictions by it."""
    folder = tmp_path_factory.mktemp("records")
    dataset = cohort(folder / "data", 3)
    write_plan(folder / "data/plan.yaml", learning_plan())
    train(dataset, learning_plan(), folder / "run", TrainOptions(device="cpu", workers=1, epochs=1, folds=3))
    assert command("predict", folder / "run", folder / "data/images", folder / "out", "--device", "cpu") == 0
    return folder


def test_the_place_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": {"c": 1}})
    assert read_record(tmp_path / "a.json", "the letters", dict[str, dict[str, int]], "write them again")
    with pytest.raises(FileError, match=r"a\.json: the letters is not what osteon writes there \(b\.c: ") as caught:
        read_record(tmp_path / "a.json", "the letters", dict[str, dict[str, str]], "write them again")
    assert caught.value.hint == "write them again"


ODD = [[], "words", 7, {"cases": []}, {"confidence": {"raw": "x"}}, {"structures": {"femur": "good"}}, {"seen": ["c1"]}]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_validation_is_named(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: object
) -> None:
    run = shutil.copytree(world / "run", tmp_path / "run")
    write_json(run / "model/validation.json", odd)
    assert command("predict", run, world / "data/images", tmp_path / "out", "--device", "cpu") == 1
    assert command("train", world / "data", run, "--epochs", 1, "--folds", 3, "--device", "cpu") in (1, 2)
    output = capsys.readouterr().err
    assert "validation.json: the model's validation is not what osteon writes there" in output
    assert "copy the model folder again, whole" in output


@pytest.mark.parametrize("odd", [[], 7, {"c0": 3}, {"c0": {"confidence": [1]}}, {"c0": {"review": "no"}}])
@pytest.mark.parametrize("what", ["predict", "evaluate", "compare", "vote", "export"])
def test_an_odd_record_of_predictions_is_named(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: object, what: str
) -> None:
    out, other = (shutil.copytree(world / "out", tmp_path / name) for name in ("out", "other"))
    (out / "predictions.json").write_text(json.dumps(odd))
    arguments = {
        "predict": [world / "run", world / "data/images", out, "--device", "cpu"],
        "evaluate": [out, world / "data"],
        "compare": [out, other, "--reference", world / "data", "--to", tmp_path / "report"],
        "vote": [out, other, tmp_path / "voted"],
        "export": ["stl", out, tmp_path / "meshes"],
    }[what]
    assert command(what, *arguments) == 1
    output = capsys.readouterr().err
    assert "predictions.json: the record is not what osteon writes there" in output
    assert "move it away; its cases are worked on again" in output


@pytest.mark.parametrize(
    ("file", "odd"),
    [
        ("splits.yaml", "- c0\n"),
        ("splits.yaml", "training: 5\n"),
        ("run.yaml", "- 7\n"),
        ("model/reference.json", '{"cases": 3}'),
        ("model/postprocessing.yaml", "[1]\n"),
        ("model/engines.json", "[]"),
    ],
)
def test_other_files_of_a_run_likewise(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, odd: str
) -> None:
    run = shutil.copytree(world / "run", tmp_path / "run")
    (run / file).write_text(odd)
    if file in ("splits.yaml", "run.yaml"):
        arguments: list[object] = ["train", world / "data", run, "--epochs", 1, "--folds", 3, "--device", "cpu"]
        plan = tmp_path / "plan.yaml"
        shutil.copyfile(run / "plan.yaml", plan)
        arguments += ["--plan", plan]
    else:
        arguments = ["predict", run, world / "data/images", tmp_path / "out", "--device", "cpu"]
    assert command(*arguments) in (1, 2)
    assert Path(file).name in capsys.readouterr().err


def test_splits_that_another_command_reads_are_restored_by_a_training(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(world / "run", tmp_path / "run")
    validation = json.loads((run / "model/validation.json").read_text())
    del validation["seen"]  # as an earlier osteon wrote it: the run's splits tell
    write_json(run / "model/validation.json", validation)
    (run / "splits.yaml").write_text("training: 5\n")
    assert command("predict", run, world / "data/images", tmp_path / "out", "--device", "cpu") == 1
    assert "`osteon train … --restart` deletes this run" in " ".join(capsys.readouterr().err.split())
