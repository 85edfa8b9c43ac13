"""The command line: help, exit codes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

import osteon
from children import python
from helpers import plan_data, spacing_affine, tiny_plan, two_boxes
from osteon.cli import option_values
from osteon.cli.main import RESUME_HINTS, STARTS_ANEW, app
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.quantities import format_bytes, parse_seconds
from osteon.core.volume import Volume
from osteon.dataset import folds
from osteon.formats import read_segmentation, stl, write_volume
from osteon.plan.overlay import overlay
from osteon.plan.schema import Precision, read_plan, write_plan
from osteon.planning import dataset_plan
from osteon.planning.options import RECIPE_NAMES, PlanOptions
from osteon.planning.recipe_files import published_recipes
from osteon.planning.recipes import RECIPES
from osteon.predicting.speed import SPEEDS
from osteon.runs.fit import train
from osteon.voting import fit, rules
from runs import CPU, cohort, command

COMMANDS = [row.name for row in app.registered_commands]
Captured = pytest.CaptureFixture[str]
SHAPE = (12, 10, 8)


def decathlon(folder: Path, cases: int = 6, **changes: Any) -> Path:
    """A Medical Segmentation Decathlon folder of two boxes, as others would have written it."""
    for number in range(cases):
        image, labels, affine = two_boxes(seed=number)
        put(folder / f"imagesTr/c{number}.nii.gz", image, affine)
        put(folder / f"labelsTr/c{number}.nii.gz", labels, affine)
    entries = [{"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"} for n in range(cases)]
    data = {
        "name": "boxes",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "3": "femur", "5": "tibia"},
        "training": entries,
        "test": [],
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(data))
    return folder


def put(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write a plain file, without structures' names."""
    affine = two_boxes()[2] if affine is None else affine
    write_volume(path, Volume(array[None], Geometry(array.shape, affine)))
    return path


def import_error(source: Path, tmp_path: Path, capsys: Captured, *options: str) -> str:
    """Import a source of which one case is bad: the others are taken. What is said about it."""
    assert command("import", source, tmp_path / "dataset", *options) == 1
    output = capsys.readouterr()
    assert "5 cases (5 to train on)" in output.out
    assert "1 case left out" in output.err
    assert "Traceback" not in output.err
    return output.err


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(cohort(folder / "data"), tiny_plan(), folder / "run", CPU)
    return folder / "run"


# Help


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(arguments: list[str]) -> None:
    shown = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "Usage" in shown.output
    for row in app.registered_commands:
        doc = (row.callback.__doc__ or "").splitlines()[0] if row.callback else ""
        if not arguments:
            assert row.name is not None
            assert row.name in shown.output
        elif arguments == [row.name]:
            assert doc
            assert doc[:60] in shown.output


def test_every_option_says_what_it_does() -> None:
    group = typer.main.get_command(app)
    for name, row in group.commands.items():  # type: ignore[attr-defined]
        for parameter in row.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


ENDED = """
import os, signal, sys
from osteon.cli.main import app, main
def ended(*_, **__):
    os.kill(os.getpid(), signal.NAME)
    os.kill(os.getpid(), signal.NAME)
for command in app.registered_commands:
    if command.name == "COMMAND":
        command.callback = lambda: ended()
sys.argv = ["osteon", "COMMAND"]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nobody sends signals")
@pytest.mark.parametrize(
    ("command", "name", "ends_with", "message"),
    [
        ("import", "SIGTERM", 143, "ended by SIGTERM; the same command continues from here"),
        ("plan", "SIGHUP", 129, "ended by SIGHUP; the same command continues from here"),
        ("evaluate", "SIGTERM", 143, f"ended by SIGTERM; {STARTS_ANEW}"),
    ],
)
def test_whatever_ends_a_command_is_in_its_exit_code_with_the_way_to_resume(
    command: str, name: str, ends_with: int, message: str
) -> None:
    process = python(ENDED.replace("NAME", name).replace("COMMAND", command))
    _, err = process.communicate(timeout=60)
    assert process.returncode == ends_with, err
    assert message in err
    assert "Traceback" not in err


EARLY = """
import os, signal, sys
from osteon.cli import main as cli
def app():
    HOW
    import time
    time.sleep(30)
cli.app = app
sys.argv = ["osteon", "import"]
cli.main()
"""
KILL = "os.kill(os.getpid(), signal.SIGTERM)"
LOADED = f"""
import os, signal, sys
def kill(*_):
    {KILL}
exec("kill()", globals())  # as a dataclass is made
type("Made", (), {{"field": type("Field", (), {{"__set_name__": kill}})()}})
print("loaded", file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nobody sends signals")
@pytest.mark.parametrize("how", [KILL, "import loaded"], ids=["at once", "while a module is loaded"])
def test_a_command_that_is_ended_before_it_begins_says_so_too(tmp_path: Path, how: str) -> None:
    (tmp_path / "early.py").write_text(EARLY.replace("HOW", how))
    (tmp_path / "loaded.py").write_text(LOADED)
    ended = subprocess.run([sys.executable, "-m", "early"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 143, ended.stderr
    assert "ended by SIGTERM; the same command continues from here" in ended.stderr
    assert ("loaded\n" in ended.stderr) == (how != KILL)
    assert "Traceback" not in ended.stderr


def test_resume_hints_are_for_commands() -> None:
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert set(RESUME_HINTS) <= names


def test_the_version(capsys: Captured) -> None:
    assert command("--version") == 0
    assert capsys.readouterr().out == f"osteon {osteon.__version__}\n"


def test_choices_are_the_registries() -> None:
    assert [*RECIPES, *published_recipes()] == list(RECIPE_NAMES)
    assert get_args(option_values.Precision) == get_args(Precision)
    assert get_args(option_values.Speed) == tuple(speed.name for speed in SPEEDS)
    assert get_args(option_values.FoldsBy) == get_args(folds.GroupBy)
    assert get_args(option_values.MeshSpace) == get_args(stl.MeshSpace)
    assert get_args(option_values.VoteMethod) == get_args(rules.Method)
    assert get_args(option_values.FitPart) == get_args(fit.FittedParameter)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("20min", 1200), ("2m", 120), ("1.5h", 5400), ("7d", 604800), (" 3 sec ", 3)],
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 days", "-3s", "0", "nan", "inf"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_seconds(text)


def test_memory_as_people_read_it() -> None:
    assert [format_bytes(None), format_bytes(12_300_000), format_bytes(4_200_000_000)] == ["unknown", "12 MB", "4.2 GB"]


# Use and misuse


def test_from_the_users_files_to_scores(tmp_path: Path, capsys: Captured) -> None:
    source, dataset, run = decathlon(tmp_path / "source"), tmp_path / "dataset", tmp_path / "run"
    assert command("import", source, dataset, "--hold-out", "last:1", "--subject", r"c(\d)") == 0
    assert "6 cases (5 to train on, 1 held out), structures femur, tibia" in capsys.readouterr().out
    assert command("import", source, dataset, "--hold-out", "last:1", "--subject", r"c(\d)") == 0
    output = capsys.readouterr()
    assert "was imported already" in output.err
    assert "6 cases (5 to train on, 1 held out), structures femur, tibia" in output.out
    assert command("import", source, dataset) == 2
    assert "--overwrite" in capsys.readouterr().err
    write_plan(dataset / "plan.yaml", tiny_plan({"channels.0.name": "CT", "intensities.0.channel": "CT"}))
    assert command("train", dataset, run, "--device", "cpu", "--fold", "1", "--epochs", "1") == 0
    output = capsys.readouterr()
    assert "validation Dice  mean" in output.out
    assert f"2 iterations; the model: {run}/model" in output.out
    assert command("train", dataset, run, "--device", "cpu", "--fold", "1", "--epochs", "1", "--resume") == 0
    assert command("predict", run, dataset, tmp_path / "out", "--device", "cpu") == 0
    assert "1 scan segmented" in capsys.readouterr().out
    assert command("evaluate", tmp_path / "out", dataset) == 0
    output = capsys.readouterr()
    assert "femur" in output.out
    assert "HD95" in output.out
    assert (tmp_path / "out/metrics.csv").is_file()
    assert (
        command("evaluate", tmp_path / "out", dataset, "--by", "subject", "--tolerance", "1,3", "--workers", "1") == 0
    )
    assert re.search(r"^ *5 \(1 case\)", capsys.readouterr().out, re.MULTILINE)
    assert "nsd_1mm,nsd_3mm,subject" in (tmp_path / "out/metrics.csv").read_text()
    assert command("evaluate", tmp_path / "out", dataset, "--overlap-only") == 0
    assert "HD95" not in capsys.readouterr().out
    assert command("evaluate", tmp_path / "out", dataset, "--by", "scanner") == 2
    assert "cases have no such field" in capsys.readouterr().err
    for wrong in ("0", "2mm", ""):
        assert command("evaluate", tmp_path / "out", dataset, "--tolerance", wrong) == 2


def test_plan_keeps_the_plan_that_is_there(tmp_path: Path, capsys: Captured) -> None:
    dataset = cohort(tmp_path / "data").folder
    osteon.make_plan(dataset, measure_cost=False)
    before = (dataset / "plan.yaml").read_bytes()
    assert command("plan", dataset) == 0
    output = capsys.readouterr().out
    assert "is there already" in output
    assert "recipe osteon" in output
    for option in (("--recipe", "osteon"), ("--dimensions", "3"), ("--device", "auto"), ("--set", "patch.batch=1")):
        assert command("plan", dataset, *option) == 2
        output = capsys.readouterr().err
        assert f"plan.yaml is there already; {option[0]} would change it" in output
        assert "--force" in output
    assert (dataset / "plan.yaml").read_bytes() == before
    manifest = yaml.safe_load((dataset / "dataset.yaml").read_text())
    manifest["structures"][0]["name"] = "hip"
    (dataset / "dataset.yaml").write_text(yaml.safe_dump(manifest))
    assert command("plan", dataset) == 2
    assert "the plan was made for other data: structures" in capsys.readouterr().err


SMALL = ("--device", "cpu", "--epochs", "1", "--set", "training.epoch_iterations=1", "--set", "patch.size=[8, 8, 8]")
TINY = "network.features=[4, 6]", "network.strides=[[1,1,1],[2,2,2]]", "network.kernels=[[3,3,3],[3,3,3]]"


def test_a_run_has_a_plan_of_its_own(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def forecast(plan: Any, *_: Any, **__: Any) -> Any:
        measured.append(plan)
        return overlay(plan, {"training.precision": "bf16"})

    monkeypatch.setattr(dataset_plan, "measure_forecast", forecast)
    dataset, run = cohort(tmp_path / "data").folder, tmp_path / "run"
    write_plan(dataset / "plan.yaml", tiny_plan())
    before = (dataset / "plan.yaml").read_bytes()
    options = [*SMALL, "--loss", "ce", "--batch", "1", *(part for key in TINY for part in ("--set", key))]
    assert command("train", dataset, run, *options) == 0
    output = " ".join(capsys.readouterr().err.split())
    assert "left as it is and not used; a plan is made for this run" in output
    assert (dataset / "plan.yaml").read_bytes() == before
    plan = read_plan(run / "plan.yaml")
    assert (plan.training.loss, plan.patch.batch, plan.training.epoch_iterations) == ("ce", 1, 1)
    assert plan.training.precision == "bf16"
    assert command("train", dataset, run, *options) == 0  # goes on, and nothing is measured again
    output = capsys.readouterr().err
    assert "is trained already" in output
    assert "not used" not in output
    assert len(measured) == 1
    assert command("train", dataset, run, *options, "--set", "training.learning_rate=0.5") == 2
    assert "was started with other choices: training.learning_rate" in capsys.readouterr().err
    assert command("train", dataset, run, "--device", "cpu", "--epochs", "1") == 2
    assert "was started with other choices: plan" in capsys.readouterr().err
    assert command("train", dataset, run, *options, "--set", "training.learning_rate=0.5", "--restart") == 0
    assert read_plan(run / "plan.yaml").training.learning_rate == 0.5
    assert len(measured) == 2


def test_a_plan_that_is_given_takes_single_keys(tmp_path: Path) -> None:
    dataset, run = cohort(tmp_path / "data").folder, tmp_path / "run"
    write_plan(tmp_path / "own.yaml", tiny_plan())
    options = ["--plan", tmp_path / "own.yaml", "--device", "cpu", "--epochs", "1", "--set", "training.loss=ce"]
    assert command("train", dataset, run, *options) == 0
    assert read_plan(run / "plan.yaml").training.loss == "ce"
    assert not (dataset / "plan.yaml").exists()


def test_training_in_python_takes_plan_options(tmp_path: Path) -> None:
    dataset, run = cohort(tmp_path / "data").folder, tmp_path / "run"
    own = {"patch.size": [8, 8, 8], "training.epoch_iterations": 1, "training.precision": "fp32"}
    small = {"network.features": [4, 6], "network.strides": [[1] * 3, [2] * 3], "network.kernels": [[3] * 3] * 2}
    common: dict[str, Any] = {"epochs": 1, "device": "cpu", "workers": 1, "measure_cost": False}
    osteon.train(dataset, run, loss="dice", settings={**own, **small}, **common)
    assert read_plan(run / "plan.yaml").training.loss == "dice"
    again = osteon.train(dataset, run, plan_options=PlanOptions(loss="dice", settings={**own, **small}), **common)
    assert again.iterations == 1
    with pytest.raises(UsageError, match="a plan and choices contradict"):
        osteon.train(dataset, run, plan=tiny_plan(), loss="dice", **common)


def test_plan_without_a_forecast_tries_nothing(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(dataset_plan, "measure_forecast")
    dataset = cohort(tmp_path / "data").folder
    assert command("plan", dataset, "--no-cost", "--loss", "dice", "--zoom", "smallest:1") == 0
    output = capsys.readouterr().out
    assert "loss dice" in output
    assert "zoom      on " in output


def test_plan_names_the_cases_that_it_could_not_measure(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_plan, "measure_forecast", lambda plan, *_, **__: plan)
    dataset = cohort(tmp_path / "data")
    broken = dataset.manifest.trainable[0]
    dataset.resolve(broken.images[0]).write_bytes(b"no scan")
    assert command("plan", dataset.folder) == 1
    output = capsys.readouterr()
    assert "1 case not measured" in output.err
    assert f"  {broken.id}: " in output.err
    assert "written: " in output.out
    assert (dataset.folder / "plan.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{data}", "{run}", "--fold", "two"], "--fold two: neither a number nor all or none"),
        (["train", "{data}", "{run}", "--fold", "7"], "there is no fold 7 of 5"),
        (["train", "{data}", "{run}", "--budget", "1h", "--epochs", "3"], "contradict each other"),
        (["train", "{data}", "{run}", "--budget", "soon"], "'soon' is not a valid length of time"),
        (["train", "{data}", "{run}", "--budget", "1h", "--deterministic"], "cannot be deterministic"),
        (["train", "{data}", "{run}", "--resume"], "there is no run to continue"),
        (["train", "{data}", "{run}", "--resume", "--restart"], "--resume and --restart contradict"),
        (["train", "{data}", "{run}", "--seed", "-1"], "--seed -1"),
        (["train", "{data}", "{run}", "--recipe", "soup"], "there is no recipe soup"),
        (["train", "{data}", "{run}", "--loss", "dise"], "there is no loss dise"),
        (["train", "{data}", "{run}", "--set", "training.los=dice"], "training.los: the plan has no such key"),
        (["train", "{data}", "{run}", "--set", "dice"], "'dice' is not KEY=VALUE"),
        (["train", "{data}", "{run}", "--image-size", "64"], "--image-size 64: a 3D plan has no slices"),
        (["train", "{data}", "{run}", "--plan", "{data}/plan.yaml", "--loss", "ce"], "--plan and --loss contradict"),
        (["plan", "{data}", "--force", "--window", "3"], "'3' is not FIRST:LAST"),
        (["plan", "{data}", "--force", "--recipe", "missing.yaml"], "there is no recipe missing.yaml"),
        (["train", "{data}"], "Missing argument"),
        (["train", "{data}", "{run}", "--device", "abacus"], "abacus"),
        (["import", "{data}", "{run}", "--labels", "femur"], "'femur' is not NAME=VALUE"),
        (["import", "{data}", "{run}", "--labels", "femur=²"], "'femur=²' is not NAME=VALUE"),
        (["import", "{data}", "{run}", "--labels", "a=1,a=2"], "a is given twice"),
        (["import", "{source}", "{run}", "--labels", "a=1,b=1"], "a and b both have the value 1"),
        (["import", "{source}", "{run}", "--labels", "a=0"], "a=0: a structure's value is at least 1"),
        (["nonsense"], "No such command"),
    ],
)
def test_misuse_exits_with_2_and_says_why(tmp_path: Path, capsys: Captured, arguments: list[str], message: str) -> None:
    dataset = cohort(tmp_path / "data").folder
    write_plan(dataset / "plan.yaml", tiny_plan())
    source = decathlon(tmp_path / "source", 1)
    filled = [part.format(data=dataset, run=tmp_path / "run", source=source) for part in arguments]
    assert command(*filled) == 2
    output = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_paths_with_brackets_are_shown_as_they_are(tmp_path: Path, capsys: Captured) -> None:
    assert command("evaluate", tmp_path / "[/red] [bold]x", tmp_path) == 1
    assert "[/red] [bold]x" in capsys.readouterr().err


# Bad input: images and labels


def test_a_missing_file(tmp_path: Path, capsys: Captured) -> None:
    source = decathlon(tmp_path / "source")
    (source / "labelsTr/c2.nii.gz").unlink()
    error = import_error(source, tmp_path, capsys)
    assert f"c2: {source}/labelsTr/c2.nii.gz: the NIfTI file does not exist" in error
    assert "→ check the path, or restore the file" in error


def test_a_truncated_file(tmp_path: Path, capsys: Captured) -> None:
    source = decathlon(tmp_path / "source")
    path = source / "imagesTr/c2.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    error = import_error(source, tmp_path, capsys)
    assert f"c2: {path}: truncated or damaged" in error
    assert "→ copy the file again" in error


OBLIQUE = np.array([[0.8, -0.6, 0, -5], [0.6, 0.8, 0, 7], [0, 0, 1, 30], [0, 0, 0, 1.0]])
OTHER_GRIDS = {
    "shape 12×10×8 against 12×10×9": ((12, 10, 9), spacing_affine(1, 1, 1, origin=(-5, 7, 30))),
    "spacing 1×1×1 against 1×1×1.5 mm": (SHAPE, spacing_affine(1, 1, 1.5, origin=(-5, 7, 30))),
    "position of the first voxel 3.00 mm apart": (SHAPE, spacing_affine(1, 1, 1, origin=(-5, 7, 33))),
    "orientation RAS against ~RAS": (SHAPE, OBLIQUE),
}


@pytest.mark.parametrize("what", OTHER_GRIDS)
def test_a_label_on_another_grid_is_refused_and_repaired_on_request(
    what: str, tmp_path: Path, capsys: Captured
) -> None:
    shape, affine = OTHER_GRIDS[what]
    source = decathlon(tmp_path / "source")
    labels = np.pad(two_boxes(seed=2)[1], [(0, n - m) for n, m in zip(shape, SHAPE, strict=True)], mode="edge")
    labels[0, 0, -1] = 3  # a box of the image's own voxels would be laid onto it
    path = put(source / "labelsTr/c2.nii.gz", labels, affine)
    error = import_error(source, tmp_path, capsys)
    assert f"c2: case c2: {path} does not lie on the grid of {source}/imagesTr/c2.nii.gz: {what}\n" in error
    assert f"imagesTr/c2.nii.gz: {Geometry(SHAPE, two_boxes()[2]).describe()}\n" in error
    assert f"{path}: {Geometry(shape, affine).describe()}\n" in error
    assert "--repair-geometry resamples the label" in error
    assert command("import", source, tmp_path / "repaired", "--repair-geometry") == 0
    assert "6 cases" in capsys.readouterr().out
    entry = yaml.safe_load((tmp_path / "repaired/dataset.yaml").read_text())["cases"][2]
    assert entry["segmentation"] == "labels/c2.nii.gz"
    assert "segmentation resampled" in entry["provenance"][0]
    repaired = read_segmentation(tmp_path / "repaired/labels/c2.nii.gz")
    assert repaired.geometry.is_close(Geometry(SHAPE, two_boxes()[2]))


def test_label_values_that_have_no_name(tmp_path: Path, capsys: Captured) -> None:
    source = decathlon(tmp_path / "source")
    labels = two_boxes(seed=2)[1]
    labels[0, 0, :3] = 9
    path = put(source / "labelsTr/c2.nii.gz", labels)
    error = import_error(source, tmp_path, capsys)
    assert f"c2: {path}" in error
    assert "holds labels that no structure has: 9 in 3 voxels (structures: femur=3, tibia=5)" in error


def test_a_float_label_that_is_not_whole_numbers(tmp_path: Path, capsys: Captured) -> None:
    source = decathlon(tmp_path / "source")
    labels = two_boxes(seed=2)[1].astype(np.float32)
    put(source / "labelsTr/c1.nii.gz", labels)  # whole numbers in floats are taken
    labels[1, 2, 3] = 2.5
    path = put(source / "labelsTr/c2.nii.gz", labels)
    error = import_error(source, tmp_path, capsys)
    assert f"c2: {path}" in error
    assert "2.5" in error


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "1 voxels are NaN and 0 are"), (np.inf, "0 voxels are NaN and 1")]
)
def test_nan_and_inf_in_an_image(tmp_path: Path, capsys: Captured, value: float, words: str) -> None:
    source = decathlon(tmp_path / "source")
    image = two_boxes(seed=2)[0].astype(np.float32)
    image[4, 5, 6] = value
    path = put(source / "imagesTr/c2.nii.gz", image)
    error = import_error(source, tmp_path, capsys)
    assert f"{path}: {words}" in error
    assert "the first at (4, 5, 6)" in error


def test_an_empty_label(tmp_path: Path, capsys: Captured) -> None:
    source = decathlon(tmp_path / "source")
    path = put(source / "labelsTr/c2.nii.gz", np.zeros(SHAPE, np.uint8))
    error = import_error(source, tmp_path, capsys)
    assert f"{path}: the label is empty" in error
    assert "--allow-empty" in error
    assert command("import", source, tmp_path / "all", "--allow-empty") == 0
    assert "6 cases" in capsys.readouterr().out


# Bad input: datasets, plans, models


def trainable(tmp_path: Path, cases: int) -> Path:
    """A dataset imported from a Decathlon folder, and its plan."""
    assert command("import", decathlon(tmp_path / "source", cases), tmp_path / "dataset") == 0
    write_plan(tmp_path / "dataset/plan.yaml", tiny_plan({"channels.0.name": "CT", "intensities.0.channel": "CT"}))
    return tmp_path / "dataset"


@pytest.mark.parametrize(("cases", "hint"), [(1, "--fold none"), (3, "--folds 3")])
def test_fewer_cases_than_folds(tmp_path: Path, capsys: Captured, cases: int, hint: str) -> None:
    dataset = trainable(tmp_path, cases)
    assert command("train", dataset, tmp_path / "run", "--device", "cpu") == 1
    output = capsys.readouterr().err
    assert "error: boxes: 5 folds need 5 groups of cases" in output
    assert hint in output
    assert "Traceback" not in output
    assert command("train", dataset, tmp_path / "run", "--device", "cpu", "--epochs", "1", *hint.split()) == 0


def test_a_structure_that_occurs_in_no_training_case(tmp_path: Path, capsys: Captured) -> None:
    source = decathlon(tmp_path / "source", labels={"0": "background", "3": "femur", "5": "tibia", "6": "patella"})
    assert command("import", source, tmp_path / "dataset") == 0
    assert "structure patella occurs in no case" in capsys.readouterr().err
    assert command("plan", tmp_path / "dataset") == 1
    assert "structures that are in no case for training: patella" in capsys.readouterr().err
    patella = {"name": "patella", "value": 6, "colour": "#0000ff"}
    changes = {"structures": [*plan_data()["structures"], patella], "channels.0.name": "CT"}
    write_plan(tmp_path / "dataset/plan.yaml", tiny_plan({**changes, "intensities.0.channel": "CT"}))
    assert command("train", tmp_path / "dataset", tmp_path / "run", "--device", "cpu") == 1
    output = capsys.readouterr().err
    assert "structures that occur in no training case: patella" in output
    assert "take them out of `structures` in plan.yaml" in output


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"patch.size": [7, 8, 8]}, "patch.size"),
        ({"training.learning_rate": "fast"}, "training.learning_rate"),
        ({"network.layers": 9}, "network.layers"),
        ({"grid.spacing_mm": [1.0, 0.0, 1.0]}, "grid.spacing_mm.1"),
        ({"training.optimiser": "magic"}, "training.optimiser"),
    ],
)
def test_a_plan_edited_into_nonsense_names_the_key(
    tmp_path: Path, capsys: Captured, changes: dict[str, Any], key: str
) -> None:
    dataset = cohort(tmp_path / "data").folder
    (dataset / "plan.yaml").write_text(yaml.safe_dump(plan_data(changes)))
    assert command("train", dataset, tmp_path / "run") == 2
    output = capsys.readouterr().err
    assert f"{dataset}/plan.yaml: " in output
    assert key in output
    assert "→ correct the keys named here" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "plan.yaml", "validation.json"])
def test_a_model_folder_that_lacks_a_file(run: Path, tmp_path: Path, capsys: Captured, name: str) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    image = put(tmp_path / "scan.nii.gz", two_boxes()[0])
    assert command("predict", tmp_path / "model", image, tmp_path / "out", "--device", "cpu") == 1
    output = capsys.readouterr().err
    assert f"error: {tmp_path}/model: not a whole model folder: {name} missing" in output
    assert "→ give the folder `model` of a finished run; copy it whole" in output


@pytest.mark.parametrize("step", ["import", "prepare", "train"])
def test_a_disk_that_fills_up(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    source, dataset = decathlon(tmp_path / "source"), tmp_path / "dataset"
    arguments: list[Any] = ["import", source, dataset]
    if step != "import":
        shutil.rmtree(source)
        arguments = ["train", trainable(tmp_path, 6), tmp_path / "run", "--device", "cpu"]
    fsync = os.fsync

    def full(number: int) -> None:
        prepared = len(list(tmp_path.rglob("cache/*/c*.json")))
        if step == "import" or (tmp_path / "run/checkpoints").exists() or (step == "prepare" and prepared == 2):
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    assert command(*arguments) == 1
    output = capsys.readouterr().err
    assert "the disk is full" in output
    assert "free some space and run the same command again" in output
    assert "Traceback" not in output
    assert "left out" not in output  # no case is to blame
    assert not list(tmp_path.rglob(".part-*"))
    monkeypatch.undo()
    assert command(*arguments) == 0


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--window", "400", "--window: '400' is not FIRST:LAST"),
        ("--window", "400:-1000", "not a range from low to high"),
        ("--window", "ct=low:high", "is not FIRST:LAST"),
        ("--drop-slices", "0-30", "--drop-slices: '0-30' is not FIRST:LAST"),
    ],
)
def test_ranges_that_are_none(tmp_path: Path, capsys: Captured, option: str, text: str, message: str) -> None:
    assert command("plan", tmp_path, option, text) == 2
    assert message in capsys.readouterr().err
