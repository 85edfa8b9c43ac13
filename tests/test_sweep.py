"""Sweeps: the file, the trials' plans, the runs in processes of their own, early ends, and the table."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import osteon
from helpers import tiny_plan, two_boxes, write_dataset
from osteon.core.errors import DatasetError, FileError, PlanError, UsageError
from osteon.core.locks import lock_folder
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import read_plan
from osteon.runs.options import TrainOptions
from osteon.runs.splits import split_cases
from osteon.sweeping import run_trial
from osteon.sweeping.median_stopping import StoppingRule, StopReason, best_dice_until, check_stopping, read_curve
from osteon.sweeping.run import run_sweep
from osteon.sweeping.search import extreme_values, propose
from osteon.sweeping.spec import Search, read_sweep
from osteon.sweeping.trials import Trial, grid_values, plan_options_from, trial_name
from runs import CPU, cohort, command

SMALL: dict[str, Any] = {
    "patch.size": [8, 8, 8],
    "training.epoch_iterations": 1,
    "network.features": [4, 6],
    "network.strides": [[1, 1, 1], [2, 2, 2]],
    "network.kernels": [[3, 3, 3], [3, 3, 3]],
}
GRID = {"loss": ["dice", "ce"], "training.learning_rate": [1e-2, 1e-3]}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return cohort(tmp_path / "data")


def write(place: Path, **content: Any) -> Path:
    content = {"dataset": "data", "folder": "sweep", "epochs": 1, "device": "cpu", "base": SMALL, **content}
    path = place / "trials.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not ...}))
    return path


def play(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a script stand for the training: it has RUN, NAME and `say(done, dice)`, which writes metrics.csv."""
    head = """
    import json, os, sys, threading, time
    from pathlib import Path
    RUN = Path(sys.argv[1]); NAME = RUN.name
    def until_closed():
        while os.read(0, 1024):
            pass
        os._exit(130)
    threading.Thread(target=until_closed, daemon=True).start()
    rows = ["iteration,elapsed_s,dice"]
    def say(iteration, dice):
        rows.append(f"{iteration},{iteration},{dice}")
        (RUN / "metrics.csv").write_text("\\n".join(rows) + "\\n")
    def finish(dice):
        (RUN / "model").mkdir()
        training = {"iterations": 10, "seconds": 1.5}
        facts = {"dice": dice, "structures": {"femur": dice}, "training": training}
        (RUN / "model/validation.json").write_text(json.dumps(facts))
        (RUN / "model/weights.safetensors").write_text("")
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    monkeypatch.setattr(run_trial, "trial_command", lambda trial, _: [sys.executable, "-c", code, str(trial.run)])
    monkeypatch.setattr(run_trial, "POLL_S", 0.02)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep/sweep.csv").open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


# -- the file --------------------------------------------------------------------------------------------------------


def test_paths_are_meant_from_the_files_folder_on(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, grid=GRID, folder=..., epochs=..., budget="1.5h"))
    assert (sweep.dataset, sweep.folder) == (str(tmp_path / "data"), str(tmp_path / "trials"))
    assert sweep.budget == 5400
    assert sweep.base["patch.size"] == [8, 8, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"grid": ...}, "give grid or search"),
        ({"search": {"over": {"loss": ["dice"]}}}, "give grid or search"),
        ({"budget": "20min"}, "give budget"),
        ({"epochs": ...}, "give budget"),
        ({"epochs": ..., "budget": "soon"}, "budget: Input should be a valid number"),
        ({"grits": {}}, r"(?s)grits: a sweep has no such key.*grid"),
        ({"grid": {"loss": []}}, "grid.0.loss"),
        ({"grid": {"loss": ["dice", "dice"]}}, "loss: lists a value twice"),
        ({"seeds": [1, 1]}, "seeds: lists a value twice"),
        (
            {"grid": ..., "search": {"over": {"a.b": {"low": 2, "high": 1}}}},
            r"search\.over\.a\.b: a range goes from low to high",
        ),
        ({"grid": ..., "search": {"over": {"a.b": {"low": 0, "high": 1, "log": True}}}}, "above 0 with log"),
        ({"stop": {"aftr": 0.5}}, "stop.aftr"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_by_its_key(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        read_sweep(write(tmp_path, **{"grid": GRID, **content}))


def test_a_sweep_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(PlanError, match="a sweep is a mapping"):
        read_sweep(tmp_path / "list.yaml")
    with pytest.raises(FileError):
        read_sweep(tmp_path / "missing.yaml")


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, grid=[{"a.b": [1, 2], "loss": ["ce", "dice"]}, {"a.b": [2], "loss": ["ce"]}]))
    assert [tuple(values.values()) for values in grid_values(sweep)] == [
        (1, "ce"),
        (1, "dice"),
        (2, "ce"),
        (2, "dice"),
    ]
    assert sweep.keys == ["a.b", "loss"]


# -- trials ----------------------------------------------------------------------------------------------------------


def test_choices_and_keys_of_the_plan_are_told_apart() -> None:
    choices = plan_options_from(
        {"recipe": "limb", "loss": "ce", "window": [-1, 2], "training.ema": 0.5, "zoom": "femur"}
    )
    assert (choices.recipe, choices.loss, choices.zoom) == ("limb", "ce", ["femur"])
    assert choices.window == {"": (-1.0, 2.0)}
    assert choices.settings == {"training.ema": 0.5}
    with pytest.raises(PlanError, match=r"(?s)learning_rate: neither.*training\.learning_rate"):
        plan_options_from({"learning_rate": 1})


def test_names_say_the_values_and_never_meet() -> None:
    assert trial_name({"network": "unet", "training.learning_rate": 1e-4}, None) == "network=unet,learning_rate=0.0001"
    assert trial_name({"patch.size": [8, 8, 1]}, 3) == "size=8x8x1,seed=3"
    assert trial_name({}, None) == "base"
    one, other = (trial_name({"weights": f"{folder}/x y.pth"}, None) for folder in ("a:", "a;"))
    assert one != other
    assert "/" not in one
    assert " " not in one
    long = trial_name({"weights": "x" * 300}, None)
    assert len(long) < 120
    twins = trial_name({"training.p": 1, "augmentation.p": 2}, None), trial_name({"zoom.p": 1, "grid.p": 2}, None)
    assert twins[0] != twins[1]


# -- before anything starts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"grid": {"training.lerning_rate": [1e-3]}}, r"(?s)training\.lerning_rate.*near it: training\.learning_rate"),
        ({"grid": {"netwrk": ["unet"]}}, r"(?s)netwrk: neither.*network"),
        ({"grid": {"network": ["unet", "unett"]}}, "trial network=unett: there is no network unett"),
        ({"grid": {"loss": ["dice", "dise"]}}, "trial loss=dise: there is no loss dise"),
        ({"base": {"training.los": "ce"}}, "training.los"),
        ({"grid": ..., "search": {"over": {"loss": ["dice", "dise"]}}}, "trial loss=dise"),
        ({"grid": ..., "search": {"over": {"training.learning_rat": {"low": 1, "high": 2}}}}, "learning_rat"),
        ({"fold": 7}, "there is no fold 7"),
    ],
)
def test_a_typo_in_a_key_is_an_error_before_anything_starts(
    tmp_path: Path, dataset: Dataset, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_sweep(write(tmp_path, **{"grid": GRID, **content}))
    assert not (tmp_path / "sweep").exists()
    assert not (dataset.folder / "plan.yaml").exists()


def test_a_dry_run_makes_plans_and_runs_nothing(tmp_path: Path, dataset: Dataset) -> None:
    report = osteon.sweep(write(tmp_path, grid=GRID), dry=True)
    assert [trial.plan.training.loss for trial, _ in report.rows] == ["dice", "dice", "ce", "ce"]
    assert [trial.plan.training.learning_rate for trial, _ in report.rows] == [1e-2, 1e-3, 1e-2, 1e-3]
    assert {outcome.state for _, outcome in report.rows} == {"waiting"}
    assert not (tmp_path / "sweep").exists()
    assert not (dataset.folder / "cache").exists()


def test_a_structure_that_no_trial_would_see_is_said_before_the_first(tmp_path: Path, dataset: Dataset) -> None:
    held = split_cases(dataset, CPU)[1][0]
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    for name, (_, labels, _) in cases.items():
        labels[(labels == 5) & (name != held)] = 0
    write_dataset(tmp_path / "data", cases)
    with pytest.raises(DatasetError, match=rf"occur in no training case: tibia \(only in {held}\)"):
        run_sweep(write(tmp_path, grid=GRID))
    assert not (tmp_path / "sweep").exists()


@pytest.mark.usefixtures("dataset")
def test_another_folders_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other things than a sweep"):
        run_sweep(write(tmp_path, grid=GRID))


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dataset")
def test_every_trial_is_a_run_and_the_best_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(monkeypatch, 'finish(0.9 if "=ce" in NAME else 0.5 if "0.01" in NAME else 0.7)')
    assert command("sweep", write(tmp_path, grid=GRID)) == 0
    output = capsys.readouterr()
    assert "trials: 0 of 4" in output.err.splitlines()
    assert "loss=ce,learning_rate=0.01: done, Dice 0.900" in output.err
    rows = table(tmp_path)
    assert [row["dice"] for row in rows] == ["0.9", "0.9", "0.7", "0.5"]
    assert [row["loss"] for row in rows] == ["ce", "ce", "dice", "dice"]
    assert rows[3]["trial"] == "loss=dice,learning_rate=0.01"
    assert (rows[0]["state"], rows[0]["iterations"], rows[0]["dice_femur"]) == ("done", "10", "0.9")
    assert output.out.index("0.900") < output.out.index("0.700") < output.out.index("0.500")
    plan = read_plan(tmp_path / "sweep/loss=ce,learning_rate=0.01/plan.yaml")
    assert (plan.training.loss, plan.training.learning_rate) == ("ce", 1e-2)
    assert command("sweep", tmp_path / "trials.yaml", "--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("dataset")
def test_a_sweep_that_another_one_works_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "finish(0.5)")
    file = write(tmp_path, grid=GRID)
    with (
        lock_folder(tmp_path / "sweep", "x", "y"),
        pytest.raises(UsageError, match=r"sweep: another sweep works in it \(process"),
    ):
        run_sweep(file)
    assert len(run_sweep(file).rows) == 4


@pytest.mark.usefixtures("dataset")
def test_a_failing_trial_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
    if "=ce" in NAME and not Path(RUN.parent / "mended").exists():
        print("Traceback"); print("error: no memory"); print("  → take less")
        sys.exit(2) if "0.01" in NAME else os.kill(os.getpid(), 9)
    finish(0.5)
    """
    play(monkeypatch, script)
    file = write(tmp_path, grid=GRID)
    assert command("sweep", file) == 1
    output = capsys.readouterr().err
    assert "2 trials failed" in output
    assert "loss=ce,learning_rate=0.01: no memory → take less" in output
    assert "killed by signal 9" in output
    assert [row["state"] for row in table(tmp_path)] == ["done", "done", "failed", "failed"]
    (tmp_path / "sweep/mended").write_text("")
    assert command("sweep", file) == 0  # what is done is left, what failed is tried again
    assert [row["state"] for row in table(tmp_path)] == ["done"] * 4


@pytest.mark.usefixtures("dataset")
def test_a_trial_that_falls_behind_is_ended_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
    dice = {"1": 0.8, "2": 0.7, "3": 0.6, "4": 0.1, "5": 0.69}[NAME[-1]]
    for iteration in (2, 5, 10):
        say(iteration, dice)
        if dice == 0.1: time.sleep(0.4)
    finish(dice)
    """
    play(monkeypatch, script)
    grid = {"training.epochs": [1, 2, 3, 4, 5]}
    file = write(tmp_path, grid=grid, epochs=10, stop={"after": 0.4, "trials": 3})
    report = run_sweep(file)
    assert {trial.name: outcome.state for trial, outcome in report.rows} == {
        "epochs=1": "done",
        "epochs=2": "done",
        "epochs=3": "done",
        "epochs=4": "stopped",
        "epochs=5": "done",
    }
    stopped = {trial.name: outcome for trial, outcome in report.rows}["epochs=4"]
    assert (stopped.dice, stopped.progress) == (0.1, 0.5)
    assert stopped.why == "0.100 at 50%, where the median was 0.700"
    assert not report.failed
    again = run_sweep(file)
    assert [outcome.state for _, outcome in again.rows].count("stopped") == 1


@pytest.mark.usefixtures("dataset")
def test_with_other_choices_a_sweep_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "finish(0.5)")
    run_sweep(write(tmp_path, grid={"loss": ["ce"]}))
    with pytest.raises(UsageError, match="started with other choices: epochs"):
        run_sweep(write(tmp_path, grid={"loss": ["ce"]}, epochs=2))
    with pytest.raises(UsageError, match="loss=ce: was started with another plan"):
        run_sweep(write(tmp_path, grid={"loss": ["ce"]}, base={**SMALL, "patch.batch": 1}))
    assert len(run_sweep(write(tmp_path, grid={"loss": ["ce", "dice"]})).rows) == 2  # more of the same is welcome
    record = tmp_path / "sweep/sweep.yaml"
    record.write_text(record.read_text().replace("folds_by: subject\n", ""))  # of a version without that choice
    assert "folds_by" not in record.read_text()
    assert len(run_sweep(write(tmp_path, grid={"loss": ["ce", "dice"]})).rows) == 2


@pytest.mark.usefixtures("dataset")
def test_seeds_are_runs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(monkeypatch, 'finish(0.25 if NAME.endswith("0") else 0.75)')
    assert command("sweep", write(tmp_path, grid={"loss": ["ce"]}, seeds=[0, 1])) == 0
    assert [row["trial"] for row in table(tmp_path)] == ["loss=ce,seed=1", "loss=ce,seed=0"]
    assert "ce 0.500 0.354 2" in " ".join(capsys.readouterr().out.split())


def test_real_trainings_share_a_cache_and_go_on_after_a_kill(tmp_path: Path, dataset: Dataset) -> None:
    file = write(tmp_path, grid={"loss": ["dice"]}, epochs=100_000, base={**SMALL, "training.epoch_iterations": 10})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    sweep = subprocess.Popen([sys.executable, "-m", "osteon.cli", "sweep", str(file)], env=environment)
    metrics = tmp_path / "sweep/loss=dice/metrics.csv"
    until = time.monotonic() + 60
    while not metrics.is_file() and time.monotonic() < until and sweep.poll() is None:
        time.sleep(0.05)
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    last = tmp_path / "sweep/loss=dice/checkpoints/last.safetensors"
    while not last.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    assert last.is_file()  # the orphan saved, and ended by itself
    assert len(list((dataset.folder / "cache").iterdir())) == 1


# -- ending early ----------------------------------------------------------------------------------------------------

RULE = StoppingRule(after=0.25, trials=2, tolerance=0.05)
EARLIER = [[(0.2, 0.3), (0.5, 0.6), (1.0, 0.9)], [(0.3, 0.5), (0.6, 0.4), (1.0, 0.7)]]


@pytest.mark.parametrize(
    ("curve", "stopped"),
    [
        ([], None),
        ([(0.2, 0.0)], None),  # too early
        ([(0.5, 0.49)], StopReason(progress=0.5, dice=0.49, median=0.55)),  # 0.6 and 0.5 were the best by then
        ([(0.5, 0.51)], None),  # within the tolerance of the median
        ([(0.3, 0.55), (0.5, 0.1)], None),  # its best counts
        ([(1.0, 0.0)], None),  # done
    ],
)
def test_the_median_rule(curve: list[tuple[float, float]], stopped: StopReason | None) -> None:
    assert check_stopping(curve, EARLIER, RULE) == stopped


def test_too_few_trials_are_no_measure() -> None:
    assert check_stopping([(0.5, 0.0)], EARLIER[:1], RULE) is None
    ended_before = [[(0.3, 0.9)], *EARLIER[:1]]
    assert check_stopping([(0.5, 0.0)], ended_before, RULE) is None


def test_what_was_reached_by_a_progress() -> None:
    assert best_dice_until(EARLIER[1], 0.6) == 0.5
    assert best_dice_until(EARLIER[1], 0.2) is None
    assert best_dice_until([(0.3, 0.5)], 0.4) is None


def test_a_curve_is_read_by_iterations_or_by_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_curve(path, tiny_plan(), TrainOptions(epochs=5)) == []
    path.write_text("iteration,elapsed_s,dice\n2,3.0,0.25\n4,6.0,\n10,15.0,0.5\n")
    assert read_curve(path, tiny_plan(), TrainOptions(epochs=5)) == [(0.2, 0.25), (1.0, 0.5)]  # 2 iterations an epoch
    assert read_curve(path, tiny_plan(), TrainOptions(budget_s=30)) == [(0.1, 0.25), (0.5, 0.5)]


# -- searching -------------------------------------------------------------------------------------------------------

OVER: dict[str, Any] = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "patch.batch": {"low": 1, "high": 4},
    "loss": ["dice", ["odd"]],
}


def test_a_search_proposes_by_what_was_tried() -> None:
    search = Search.model_validate({"over": OVER, "seed": 3})
    first = propose(search, [])
    assert propose(search, []) == first
    assert 1e-4 <= first["training.learning_rate"] <= 1e-1
    assert isinstance(first["patch.batch"], int)
    assert first["loss"] in OVER["loss"]
    second = propose(search, [(first, 0.5)])
    assert second != first
    assert propose(search, [(first, None)]) == propose(search, [(first, None)])


def test_a_search_finds_what_is_better() -> None:
    over = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    search = Search.model_validate({"over": over})
    history: list[Any] = []
    for _ in range(25):
        values = propose(search, history)
        history.append((values, -abs(values["training.learning_rate"] - 1e-3)))
    late = [values["training.learning_rate"] for values, _ in history[15:]]
    assert sorted(late)[len(late) // 2] == pytest.approx(1e-3, rel=1.0)


def test_each_value_is_tried_before_a_search_begins() -> None:
    found = extreme_values(Search.model_validate({"over": OVER}))
    assert {values["patch.batch"] for values in found} == {1, 4}
    assert [values["loss"] for values in found].count(["odd"]) == 1
    assert len(found) == 4


@pytest.mark.usefixtures("dataset")
def test_a_search_goes_on_with_the_values_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "finish(len(NAME) / 100)")
    over = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    run_sweep(write(tmp_path, grid=..., search={"over": over, "trials": 2}))
    before = yaml.safe_load((tmp_path / "sweep/sweep.yaml").read_text())["tried"]
    report = run_sweep(write(tmp_path, grid=..., search={"over": over, "trials": 3}))
    tried = yaml.safe_load((tmp_path / "sweep/sweep.yaml").read_text())["tried"]
    assert tried[:2] == before
    assert len({str(values) for values in tried}) == 3
    assert len(report.rows) == 3
    with pytest.raises(UsageError, match="other choices: over"):
        run_sweep(write(tmp_path, grid=..., search={"over": {"loss": ["ce"]}, "trials": 3}))


@pytest.mark.usefixtures("dataset")
def test_without_optuna_a_search_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"(?s)Optuna, which is not installed.*osteon\[search\]"):
        run_sweep(write(tmp_path, grid=..., search={"over": {"loss": ["ce"]}}))


@pytest.mark.parametrize(
    "message", [{}, {"dice": 0.5, "progress": 0.2}, {"dice": "low", "progress": 0.2, "median": 0.6}]
)
def test_an_odd_word_of_why_a_trial_was_stopped_is_named(tmp_path: Path, message: dict[str, object]) -> None:
    (tmp_path / run_trial.STOPPED).write_text(yaml.safe_dump(message))
    trial = Trial("a", {}, 0, tiny_plan(), tmp_path, TrainOptions())
    with pytest.raises(FileError, match=r"stopped\.yaml: why the trial was stopped is not what osteon writes there"):
        run_trial.read_outcome(trial)
