"""Training: from a dataset and a plan to a model folder; undisturbed, interrupted, killed and refused."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

import osteon
from children import Forks, wait
from helpers import FLAT, SIDES, box, plan_data, spacing_affine, tiny_plan, two_boxes, write_dataset
from osteon.core import progress
from osteon.core.errors import DatasetError, FileError, PlanError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.locks import lock_folder
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.formats import read_segmentation, read_volume
from osteon.plan.schema import Plan, parse_plan, read_plan, write_plan
from osteon.plan.sections import Schedule
from osteon.predicting import speed
from osteon.predicting.model import Model
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.tiles import predict_probabilities
from osteon.preparing.cache import CachedCase
from osteon.preparing.case import prepare_image
from osteon.runs import fit, loop
from osteon.runs.fit import TrainReport, train
from osteon.runs.options import TrainOptions
from osteon.runs.scoring import select_structures
from osteon.runs.splits import split_cases
from osteon.training import callback, progress_display, validation
from osteon.training.callback import (
    CHECKPOINT_EVERY_S,
    DivergedError,
    TrainingCallback,
    write_metrics,
)
from osteon.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from osteon.training.module import TrainingModule
from osteon.training.sampling import Batch
from osteon.training.schedule import MIN_RATE, rate_factor
from osteon.training.validation_schedule import VALIDATION_SHARE
from runs import CPU, cohort, learning_plan

TIMES = ("elapsed_s", "s_per_iteration")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model/weights.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cohort(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def finished(tiny: Dataset) -> Path:
    """A run of two epochs, undisturbed. Tests only read it."""
    run = tiny.folder / "run"
    train(tiny, tiny_plan(), run, CPU)
    return run


def at_iteration(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something in the middle of an iteration."""
    step = TrainingModule.training_step

    def acting(module: TrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        if batch.iteration == number:
            act()
        return step(module, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", acting)


def interrupt(dataset: Dataset, plan: Plan, run: Path, number: int, options: TrainOptions = CPU) -> None:
    """Train, with Ctrl-C in the middle of iteration `number`."""
    with pytest.MonkeyPatch.context() as patch:
        at_iteration(patch, number, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(dataset, plan, run, options)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds


def use_clock(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Let an iteration take one second."""
    step = TrainingModule.training_step

    def ticking(module: TrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        clock.tick()
        return step(module, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", ticking)
    monkeypatch.setattr(loop, "TrainingCallback", partial(TrainingCallback, clock=clock))


def script_scores(
    monkeypatch: pytest.MonkeyPatch, dice: Callable[[int], float], clock: Clock | None = None
) -> list[int]:
    """Replace validation: the n-th gives `dice(n)`, and takes a second of `clock`. Returns a list that counts them."""
    done: list[int] = []

    def scripted(*_: object) -> dict[str, float | None]:
        if clock is not None:
            clock.tick()
        done.append(len(done))
        return {"femur": dice(done[-1]), "tibia": None}

    monkeypatch.setattr(callback, "validate", scripted)
    return done


# A run


def test_a_run_leaves_what_the_design_says(finished: Path, tiny: Dataset) -> None:
    found = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    validated = {f"predictions/{case}.nii.gz" for case in split_cases(tiny, CPU)[1]}
    assert {name for name in found if not name.startswith("tensorboard/")} == {
        "run.yaml",
        "plan.yaml",
        "splits.yaml",
        "metrics.csv",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        "model/weights.safetensors",
        "model/plan.yaml",
        "model/validation.json",
        "model/card.md",
        "model/postprocessing.yaml",
        "model/reference.json",
        *(f"samples/{number}.jpg" for number in range(1, len(validated) + 1)),
        *validated,
    }
    assert read_plan(finished / "model/plan.yaml") == tiny_plan() == read_plan(finished / "plan.yaml")
    assert load_checkpoint(finished / "checkpoints" / LAST)[1].finished == "all epochs done"
    assert not (Path.cwd() / "lightning_logs").exists()


def test_metrics_have_a_row_for_each_epoch(finished: Path) -> None:
    rows = metrics(finished)
    assert [(row["epoch"], row["iteration"]) for row in rows] == [("1", "2"), ("2", "4")]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.0015, 0.003 * MIN_RATE])
    for row in rows:
        assert float(row["loss"]) > 0
        dice = [float(row["dice_femur"]), float(row["dice_tibia"])]
        assert float(row["dice"]) == pytest.approx(np.mean(dice), abs=1e-5)


def test_a_metric_that_came_late_leaves_earlier_rows_empty(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [{"epoch": 1}, {"epoch": 2, "dice": None}, {"epoch": 3, "dice": 0.5}])
    assert (tmp_path / "metrics.csv").read_text() == "epoch,dice\n1,\n2,\n3,0.5\n"


def test_validation_is_the_dice_of_the_predicted_whole_scans(finished: Path, tiny: Dataset) -> None:
    result = json.loads((finished / "model/validation.json").read_text())
    validated = split_cases(tiny, CPU)[1]
    assert list(result["cases"]) == validated
    for case in validated:
        reference = tiny.load_segmentation(tiny.case(case))
        predicted = read_segmentation(finished / f"predictions/{case}.nii.gz")
        assert predicted.geometry.is_close(reference.geometry)
        for name, value in (("femur", 3), ("tibia", 5)):
            p, r = predicted.array == value, reference.array == value
            assert result["cases"][case][name] == pytest.approx(2 * (p & r).sum() / (p.sum() + r.sum()), abs=1e-5)
    means = {name: np.mean([result["cases"][case][name] for case in validated]) for name in ("femur", "tibia")}
    assert result["structures"] == pytest.approx(means, abs=1e-5)
    assert result["dice"] == pytest.approx(np.mean(list(means.values())), abs=1e-5)
    assert result["training"]["cases"] == 4
    assert result["training"]["iterations"] == 4
    assert "Dice on 2 whole scans" in (finished / "model/card.md").read_text()


def test_splits_are_disjoint_and_keep_subjects_together(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data")
    cases = [c.model_copy(update={"subject": f"s{n // 2}"}) for n, c in enumerate(dataset.manifest.cases)]
    cases[5] = cases[5].model_copy(update={"held_out": True})
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    dataset = Dataset.open(dataset.folder)
    seen = []
    for fold in range(3):
        run = tmp_path / f"run{fold}"
        train(dataset, tiny_plan(), run, TrainOptions(device="cpu", epochs=1, fold=fold, folds=3))
        splits = yaml.safe_load((run / "splits.yaml").read_text())
        assert sorted(splits["training"] + splits["validation"]) == ["c0", "c1", "c2", "c3", "c4"]
        subjects = [{dataset.case(case).subject for case in splits[part]} for part in ("training", "validation")]
        assert not subjects[0] & subjects[1]
        seen += splits["validation"]
    assert sorted(seen) == ["c0", "c1", "c2", "c3", "c4"]


def test_sites_are_kept_together_on_request(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data")
    cases = [case.model_copy(update={"site": f"h{n % 3}"}) for n, case in enumerate(dataset.manifest.cases)]
    dataset = Dataset(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    for fold in range(3):
        parts = split_cases(dataset, TrainOptions(fold=fold, folds=3, folds_by="site"))
        sites = [{dataset.case(case).site for case in part} for part in parts]
        assert (len(sites[0]), len(sites[1]), sites[0] & sites[1]) == (2, 1, set())


@pytest.mark.parametrize("on_a_terminal", [True, False])
def test_progress_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a_terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=on_a_terminal, width=200, color_system=None)
    for module in (progress_display, progress):
        monkeypatch.setattr(module, "console", console)
    monkeypatch.setattr(progress_display, "REFRESH_S", 0)
    dataset = cohort(tmp_path / "data")
    named = list(make_structures(["femur [/x]", "tibia"], [3, 5]))  # rich takes the brackets for markup
    dataset = Dataset(dataset.folder, dataset.manifest.model_copy(update={"structures": named}))
    write_manifest(dataset.folder, dataset.manifest)
    plan = tiny_plan({"structures": [s.model_dump(exclude_none=True) for s in named]})
    train(dataset, plan, tmp_path / "run", CPU)
    shown = screen.getvalue()
    row = metrics(tmp_path / "run")[-1]
    assert f"mean {float(row['dice']):.3f} · femur [/x] {float(row['dice_femur [/x]']):.3f}" in shown
    assert ("iteration 3" in shown) == on_a_terminal
    assert "\x1b" not in shown or on_a_terminal


def test_a_tiny_network_learns_two_boxes(tmp_path: Path) -> None:
    report = train(cohort(tmp_path / "data"), learning_plan(), tmp_path / "run", CPU)
    assert report.validation["dice"] > 0.8


def test_the_seed_decides_the_weights(tiny: Dataset, finished: Path, tmp_path: Path) -> None:
    train(tiny, tiny_plan(), tmp_path / "again", CPU)
    assert same(weights(tmp_path / "again"), weights(finished))
    assert without_times(metrics(tmp_path / "again")) == without_times(metrics(finished))
    train(tiny, tiny_plan(), tmp_path / "other", TrainOptions(device="cpu", seed=1))
    assert not same(weights(tmp_path / "other"), weights(finished))


def test_deterministic_trains_on(tiny: Dataset, tmp_path: Path) -> None:
    try:
        train(tiny, tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("changes", [{}, {"training.ema": 0.5}])
def test_the_model_is_the_average_where_there_is_one(tiny: Dataset, tmp_path: Path, changes: dict[str, float]) -> None:
    train(tiny, tiny_plan(changes), tmp_path / "run", TrainOptions(device="cpu", epochs=1))
    tensors, _ = load_checkpoint(tmp_path / "run/checkpoints" / LAST)
    trained, average = (
        {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
        for part in ("network.", "average.")
    )
    assert same(weights(tmp_path / "run"), average if changes else trained)
    assert not (changes and same(average, trained))


# Time


def test_the_rate_and_the_training_end_with_the_budget(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan({"training.warm_up": 0.2})
    use_clock(monkeypatch, Clock(500))
    rates = []
    before = TrainingModule.on_before_optimizer_step

    def noting(module: TrainingModule, optimizer: torch.optim.Optimizer) -> None:
        before(module, optimizer)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(TrainingModule, "on_before_optimizer_step", noting)
    report = train(tiny, plan, tmp_path / "run", TrainOptions(device="cpu", budget_s=9))
    assert report.iterations == 9
    assert rates == pytest.approx([0.003 * rate_factor(plan.training, n / 9, 0) for n in range(1, 10)])
    assert rates[-1] == pytest.approx(0.003 * MIN_RATE)
    assert [row["iteration"] for row in metrics(tmp_path / "run")] == ["2", "4", "6", "8", "9"]
    assert report.validation["training"]["seconds"] == 9
    assert report.validation["training"]["ended"] == "budget spent"


def test_a_budget_counts_the_time_of_earlier_starts(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TrainOptions(device="cpu", budget_s=10)
    use_clock(monkeypatch, Clock(100))
    interrupt(tiny, tiny_plan(), tmp_path / "run", 6, options)
    monkeypatch.undo()
    use_clock(monkeypatch, Clock(7000))
    report = train(tiny, tiny_plan(), tmp_path / "run", options)
    assert (report.resumed, report.iterations) == (True, 10)
    assert float(metrics(tmp_path / "run")[-1]["elapsed_s"]) == 10


def test_validation_takes_a_small_part_of_a_budget(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    use_clock(monkeypatch, clock)
    done = script_scores(monkeypatch, lambda n: 0.01 * n, clock)
    train(tiny, tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", budget_s=100))
    assert 3 <= len(done) <= 100 * VALIDATION_SHARE + 2  # the first, and the one at the end
    assert metrics(tmp_path / "run")[-1]["dice"]


def test_a_validation_of_many_cases_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of four cases takes half a second of a budget of 20 s: one at a time is all that there is room for."""
    many = cohort(tmp_path / "data", 8)
    clock, looked = Clock(1000), []
    use_clock(monkeypatch, clock)
    probabilities = validation.predict_probabilities

    def slow(*arguments: Any) -> torch.Tensor:
        looked.append(float(arguments[1].sum()))
        clock.now += 0.5
        return probabilities(*arguments)

    monkeypatch.setattr(validation, "predict_probabilities", slow)
    spent = []
    for name in ("run", "again"):
        looked.clear()
        options = TrainOptions(device="cpu", workers=1, budget_s=20, folds=2, seed=3)
        train(many, tiny_plan(), tmp_path / name, options)
        spent.append(list(looked))
    assert 0.5 * len(spent[0]) <= VALIDATION_SHARE * 20 + 2 * 0.5  # the first, and the one at the end
    assert len(set(spent[0])) == 1  # the same case each time: the best of several is judged by the same
    assert spent[0] == spent[1]
    output = " ".join(capsys.readouterr().err.split())
    assert "validating on 1 of the 4 validation cases during the training" in output
    assert len(json.loads((tmp_path / "run/model/validation.json").read_text())["cases"]) == 4
    state = load_checkpoint(tmp_path / "run/checkpoints" / LAST)[1]
    assert state.validation_cases == 1


def test_a_sample_of_validation_cases_shows_every_structure_first() -> None:
    cases = [CachedCase(str(n), Path(), (True, True), (1,) if n == 17 else (0,)) for n in range(40)]
    ordered = validation.order_representatively(cases, 5)
    assert {number for case in ordered[:2] for number in case.present} == {0, 1}
    assert sorted(case.id for case in ordered) == sorted(case.id for case in cases)
    assert ordered == validation.order_representatively(cases, 5) != validation.order_representatively(cases, 6)


def test_checkpoints_come_when_their_time_has(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CHECKPOINT_EVERY_S <= 120
    use_clock(monkeypatch, Clock())
    saved = []
    save = TrainingCallback.save

    def noting(self: TrainingCallback, *arguments: Any) -> None:
        save(self, *arguments)
        saved.append(self.state.iteration)

    monkeypatch.setattr(TrainingCallback, "save", noting)
    train(tiny, tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", epochs=5), checkpoint_every_s=4)
    assert saved == [4, 8, 10]


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_patience_stops_and_keeps_the_best_weights(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    script_scores(monkeypatch, [0.1, 0.5, 0.4, 0.3, 0.9].__getitem__)
    plan = tiny_plan({"training.patience_epochs": 2, "training.epochs": 20, "training.schedule": schedule})
    report = train(tiny, plan, tmp_path / "run", CPU)
    assert report.iterations == 8
    assert report.validation["training"]["ended"] == "no better validation Dice for 2 epochs"
    best, state = load_checkpoint(tmp_path / "run/checkpoints" / BEST)
    assert state.iteration == 4
    assert same(weights(tmp_path / "run"), best)


def test_patience_without_a_validation_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fold none validates nothing"):
        train(tiny, tiny_plan({"training.patience_epochs": 2}), tmp_path / "run", TrainOptions(device="cpu", fold=None))


def test_patience_is_judged_only_where_there_was_a_validation(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = script_scores(monkeypatch, lambda n: 0.01 * n)
    plan = tiny_plan({"training.patience_epochs": 1, "training.epochs": 40, "training.epoch_iterations": 1})
    assert train(tiny, plan, tmp_path / "run", CPU).iterations == 40
    assert len(done) == 20


def test_the_last_weights_are_kept_where_they_are_as_good(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_scores(monkeypatch, lambda _: 0.5)
    train(tiny, tiny_plan(), tmp_path / "run", CPU)
    last, _ = load_checkpoint(tmp_path / "run/checkpoints" / LAST)
    assert all(torch.equal(tensor, last[f"network.{name}"]) for name, tensor in weights(tmp_path / "run").items())


def test_damaged_best_weights_give_way_to_the_last(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script_scores(monkeypatch, lambda n: 0.9 - 0.1 * n)

    def damage() -> None:
        path = tmp_path / "run/checkpoints" / BEST
        path.write_bytes(path.read_bytes()[:-9] + b"\x42" * 9)

    with monkeypatch.context() as patch:
        at_iteration(patch, 3, damage)
        train(tiny, tiny_plan(), tmp_path / "run", CPU)
    assert "the last weights are used" in " ".join(capsys.readouterr().err.split())
    last, _ = load_checkpoint(tmp_path / "run/checkpoints" / LAST)
    assert all(torch.equal(tensor, last[f"network.{name}"]) for name, tensor in weights(tmp_path / "run").items())


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    tiny: Dataset, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_iteration(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(tiny, tiny_plan(), run, CPU, checkpoint_every_s=0)
    last = run / "checkpoints" / LAST
    data = last.read_bytes()
    last.unlink()
    last.write_bytes(data[:-9] + b"\x42" * 9)
    report = train(tiny, tiny_plan(), run, CPU)
    assert report.resumed
    output = " ".join(capsys.readouterr().err.split())
    assert "the one before is used, of iteration 3" in output
    assert same(weights(run), weights(finished))
    assert sorted(path.name for path in last.parent.iterdir()) == [BEST, LAST]


# Interruptions

KILLED = """
import os, signal, sys
from pathlib import Path
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import read_plan
from osteon.runs import finish, fit
from osteon.training import module

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

where, dataset, plan, run = sys.argv[1], *map(Path, sys.argv[2:])
if where.startswith("iteration "):
    step = module.TrainingModule.training_step
    def acting(self, batch, batch_idx):
        if batch.iteration == int(where.split()[1]):
            die()
        return step(self, batch, batch_idx)
    module.TrainingModule.training_step = acting
elif where.startswith("checkpoint "):
    replace = Path.replace
    def acting(self, target):
        if target.name == "last.safetensors":
            acting.count += 1
            if acting.count == int(where.split()[1]):
                die()
        return replace(self, target)
    acting.count = 0
    Path.replace = acting
elif where == "finish":
    finish.model_card = die
fit.train(Dataset.open(dataset), read_plan(plan), run, fit.TrainOptions(device="cpu", workers=1), checkpoint_every_s=0)
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks("osteon.cli.main", "osteon.runs.fit")
    yield made
    made.close()


def kill(forks: Forks, where: str, dataset: Path, plan: Path, run: Path) -> None:
    """Train in a process of its own that is killed at `where`."""
    log = run.with_name("log")
    forks.begin(KILLED, where, dataset, plan, run, log=log)
    assert forks.end() == -signal.SIGKILL, log.read_text()


def test_killed_again_and_again_it_ends_the_same(tiny: Dataset, tmp_path: Path, forks: Forks) -> None:
    run, path = tmp_path / "run", tmp_path / "plan.yaml"
    plan = tiny_plan({"training.epoch_iterations": 4, "training.epochs": 3, "training.ema": 0.5})
    write_plan(path, plan)
    undisturbed = train(tiny, plan, tmp_path / "undisturbed", CPU)
    kill(forks, "iteration 6", tiny.folder, path, run)
    assert load_checkpoint(run / "checkpoints" / LAST)[1].iteration == 6
    kill(forks, "checkpoint 3", tiny.folder, path, run)
    assert load_checkpoint(run / "checkpoints" / LAST)[1].iteration == 8
    kill(forks, "finish", tiny.folder, path, run)
    assert load_checkpoint(run / "checkpoints" / LAST)[1].finished
    assert not (run / "model/weights.safetensors").exists()
    report = train(tiny, plan, run, CPU)
    assert same(weights(run), weights(tmp_path / "undisturbed"))
    assert without_times(metrics(run)) == without_times(metrics(tmp_path / "undisturbed"))
    for key in ("dice", "structures", "cases"):
        assert report.validation[key] == undisturbed.validation[key]


@pytest.mark.parametrize("iteration", [4, 5])
def test_ctrl_c_saves_between_two_iterations(
    tiny: Dataset, tmp_path: Path, iteration: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tiny_plan({"training.epochs": 4})
    interrupt(tiny, plan, tmp_path / "run", iteration)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "stopping after this iteration" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "run/checkpoints" / LAST)[1].iteration == iteration + 1
    assert not (tmp_path / "run/model").exists()
    report = train(tiny, plan, tmp_path / "run", CPU)
    assert (report.resumed, report.iterations) == (True, 8)
    train(tiny, plan, tmp_path / "undisturbed", CPU)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "undisturbed"))
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(tmp_path / "undisturbed"))


def test_ctrl_c_twice_stops_at_once(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_iteration(monkeypatch, 2, twice)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, tiny_plan(), tmp_path / "run", CPU, checkpoint_every_s=0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert load_checkpoint(tmp_path / "run/checkpoints" / LAST)[1].iteration == 2


def test_in_python_sigterm_saves_and_ends_with_143(tiny: Dataset, tmp_path: Path) -> None:
    """Lightning takes SIGTERM for the training's end, and the process would end with 0."""
    with pytest.MonkeyPatch.context() as patch:
        at_iteration(patch, 2, lambda: signal.raise_signal(signal.SIGTERM))
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            with pytest.raises(SystemExit) as ended:
                train(tiny, tiny_plan(), tmp_path / "run", CPU)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        finally:
            signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    assert load_checkpoint(tmp_path / "run/checkpoints" / LAST)[1].iteration == 3
    assert train(tiny, tiny_plan(), tmp_path / "run", CPU).resumed


def test_a_handler_that_is_not_pythons_own_is_left_alone(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = []
    signal.signal(signal.SIGINT, lambda *_: signals.append(1))
    at_iteration(monkeypatch, 1, lambda: signal.raise_signal(signal.SIGINT))
    assert train(tiny, tiny_plan(), tmp_path / "run", CPU).iterations == 4
    assert signals == [1]


@pytest.mark.parametrize(
    ("name", "ends_with", "message"),
    [("SIGINT", 130, "interrupted; "), ("SIGTERM", 143, "ended by SIGTERM; "), ("SIGHUP", 129, "ended by SIGHUP; ")],
)
@pytest.mark.skipif(sys.platform == "win32", reason="nobody sends signals")
def test_ended_on_the_command_line_it_saves_and_says_so_with_its_exit_code(
    tiny: Dataset, tmp_path: Path, forks: Forks, name: str, ends_with: int, message: str
) -> None:
    number = signal.Signals[name]
    run, path, log = tmp_path / "run", tmp_path / "plan.yaml", tmp_path / "log"
    write_plan(path, tiny_plan({"training.epochs": 1_000_000}))
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from osteon.cli.main import main; main()"
    )
    child = forks.begin(code, "train", tiny.folder, run, "--plan", path, "--device", "cpu", log=log)
    wait((run / "metrics.csv").is_file)
    os.kill(child, number)
    if number != signal.SIGINT:
        os.kill(child, number)  # as `timeout` does, to the process and to its group
    code_of_exit, err = forks.end(), log.read_text()
    assert code_of_exit == ends_with, err
    assert f"{message}the same command continues from here" in err
    assert "Traceback" not in err
    assert load_checkpoint(run / "checkpoints" / LAST)[1].iteration >= 2


def test_a_finished_run_does_nothing(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(tiny, tiny_plan(), tmp_path / "run", CPU)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    monkeypatch.setattr(fit, "prepare_cases", None)
    monkeypatch.setattr(fit, "finish", None)
    second = train(tiny, tiny_plan(), tmp_path / "run", CPU)
    assert second == TrainReport(tmp_path / "run", first.validation, {}, 4, resumed=False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    (tmp_path / "run/checkpoints" / LAST).unlink()  # large, and of no more use
    assert train(tiny, tiny_plan(), tmp_path / "run", CPU) == second


def test_other_choices_are_refused_and_named(tiny: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    interrupt(tiny, tiny_plan(), run, 1)
    with pytest.raises(UsageError, match=r"run: was started with other choices: epochs, seed\n") as refused:
        train(tiny, tiny_plan(), run, TrainOptions(device="cpu", epochs=7, seed=1))
    assert "--restart" in refused.value.hint
    with pytest.raises(UsageError, match="other choices: plan"):
        train(tiny, tiny_plan({"training.weight_decay": 0.5}), run, CPU)
    assert load_checkpoint(run / "checkpoints" / LAST)[1].iteration == 2
    train(tiny, tiny_plan(), run, TrainOptions(device="cpu", workers=2))  # does not change the result
    with pytest.raises(UsageError, match="other choices: fold"):
        train(tiny, tiny_plan(), run, TrainOptions(device="cpu", fold=1))


def test_other_cases_are_refused(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data")
    interrupt(dataset, tiny_plan(), tmp_path / "run", 1)
    held = [case.model_copy(update={"held_out": case.id == "c5"}) for case in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": held}))
    splits = (tmp_path / "run/splits.yaml").read_text()
    with pytest.raises(UsageError, match="started with other cases"):
        train(Dataset.open(dataset.folder), tiny_plan(), tmp_path / "run", CPU)
    assert (tmp_path / "run/splits.yaml").read_text() == splits
    write_manifest(dataset.folder, dataset.manifest)
    assert train(Dataset.open(dataset.folder), tiny_plan(), tmp_path / "run", CPU).resumed


def test_restart_begins_anew(tiny: Dataset, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    interrupt(tiny, tiny_plan({"training.weight_decay": 0.5}), run, 2, TrainOptions(device="cpu", seed=1))
    save_checkpoint(run / "checkpoints" / BEST, {}, load_checkpoint(run / "checkpoints" / LAST)[1])
    report = train(tiny, tiny_plan(), run, CPU, restart=True)
    assert not report.resumed
    assert same(weights(run), weights(finished))
    assert without_times(metrics(run)) == without_times(metrics(finished))
    assert not train(tiny, tiny_plan(), run, CPU, restart=True).resumed  # a finished one too


def test_a_damaged_checkpoint_is_named(tiny: Dataset, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    interrupt(tiny, tiny_plan(), run, 2)
    path = run / "checkpoints" / LAST
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileError, match=r"last\.safetensors: not a checkpoint") as damaged:
        train(tiny, tiny_plan(), run, CPU)
    assert "remove it" in damaged.value.hint
    path.unlink()  # as the hint says
    train(tiny, tiny_plan(), run, CPU)
    assert same(weights(run), weights(finished))


def test_a_case_that_memory_does_not_suffice_for_costs_its_validation_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, asked = cohort(tmp_path / "data"), []
    infer = Model.infer

    def short(model: Model, prepared: PreparedScan, **options: Any) -> Probabilities:
        asked.append(prepared)
        if len(asked) == 1:
            raise MemoryError
        return infer(model, prepared, **options)

    monkeypatch.setattr(Model, "infer", short)
    report = train(dataset, tiny_plan(), tmp_path / "run", CPU)
    (name,) = report.failed
    assert report.failed[name].message == f"{name}: not enough memory"
    assert len(report.validation["cases"]) == 1
    assert (tmp_path / "run/model/weights.safetensors").is_file()


def test_a_full_disk_is_said_and_the_run_goes_on_afterwards(
    tiny: Dataset, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    replace, left = Path.replace, [2]

    def full(self: Path, target: Path) -> Path:
        left[0] -= target.name == LAST
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FileError, match=r"last\.safetensors: the disk is full") as stopped:
        train(tiny, tiny_plan(), run, CPU, checkpoint_every_s=0)
    assert "same command again" in stopped.value.hint
    assert load_checkpoint(run / "checkpoints" / LAST)[1].iteration == 2
    assert not list(run.rglob(".part-*"))
    monkeypatch.undo()
    assert train(tiny, tiny_plan(), run, CPU).resumed
    assert same(weights(run), weights(finished))


# What cannot be trained


def test_a_loss_that_is_no_number_is_said(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"the loss is nan in epoch \d") as diverged:
        train(tiny, tiny_plan({"training.learning_rate": 1e30}), tmp_path / "run", TrainOptions(device="cpu", epochs=4))
    assert "learning_rate" in diverged.value.hint
    assert not (tmp_path / "run/model").exists()


def test_a_plan_for_other_data_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    hip = [{"name": "hip", "value": 1, "colour": "#00ff00"}]
    changes = {"structures": hip, "channels.0.modality": "mr", "overlapping": True}
    with pytest.raises(PlanError, match="structures, channels, overlapping are not those"):
        train(tiny, tiny_plan(changes), tmp_path / "run", CPU)


def test_too_little_memory_is_said(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> None:
        torch.zeros(1 << 60)

    at_iteration(monkeypatch, 0, greedy)
    with pytest.raises(UsageError, match="not enough memory") as refused:
        train(tiny, tiny_plan(), tmp_path / "run", CPU)
    for setting in ("patch.size (8×8×8)", "patch.batch (2)", "training.precision (to bf16)", "(network.features)"):
        assert setting in refused.value.hint


def test_after_too_little_memory_a_run_goes_on_with_what_costs_less(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, plan = tmp_path / "run", tiny_plan({"training.epochs": 3})
    less = {"training.epochs": 3, "patch.size": [6, 8, 8], "patch.batch": 1, "training.precision": "bf16"}

    def greedy() -> None:
        torch.zeros(1 << 60)

    with monkeypatch.context() as patch:
        at_iteration(patch, 3, greedy)
        with pytest.raises(UsageError, match="not enough memory"):
            train(tiny, plan, run, CPU, checkpoint_every_s=0)
    with pytest.raises(UsageError, match="started with other choices: plan"):
        train(tiny, tiny_plan(less | {"network.features": [4, 5]}), run, CPU)
    assert read_plan(run / "plan.yaml") == plan
    faster = replace(CPU, precision="bf16")
    report = train(tiny, tiny_plan(less), run, faster)
    output = capsys.readouterr().err
    assert (
        "continuing with --precision bf16 (was as planned), patch.size 6×8×8 (was 8×8×8), patch.batch 1 (was 2)"
        in output
    )
    assert "training.precision bf16 (was fp32)\n" in output
    assert "continuing from iteration 3" in output
    assert (report.resumed, report.iterations) == (True, 6)
    assert read_plan(run / "plan.yaml") == read_plan(run / "model/plan.yaml") == tiny_plan(less)
    recorded = yaml.safe_load((run / "run.yaml").read_text())
    precision = {"training.precision": ["fp32", "bf16"], "--precision": [None, "bf16"]}
    assert recorded["changes"] == [{"patch.size": [[8, 8, 8], [6, 8, 8]], "patch.batch": [2, 1]} | precision]
    assert not train(tiny, tiny_plan(less), run, faster).resumed  # it is finished, so nothing may change any more
    with pytest.raises(UsageError, match="started with other choices: precision, plan"):
        train(tiny, plan, run, CPU)


def test_arrays_that_memory_has_no_room_for_are_the_same(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_iteration(monkeypatch, 0, lambda: np.zeros(1 << 56, np.uint8))
    with pytest.raises(UsageError, match="not enough memory"):
        train(tiny, tiny_plan(), tmp_path / "run", CPU)


def test_overlapping_structures_change_the_loss_and_it_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {}
    for name, (image, labels, affine) in {f"c{n}": two_boxes(seed=n) for n in range(2)}.items():
        cases[name] = (image, np.stack([labels == 3, labels > 0]), affine)
    dataset = write_dataset(tmp_path / "data", cases, overlapping=True)
    plan, options = tiny_plan({"overlapping": True}), TrainOptions(device="cpu", workers=1, fold=None)
    interrupt(dataset, plan, tmp_path / "run", 1, options)
    assert "binary cross-entropy is taken" in capsys.readouterr().err
    train(dataset, plan, tmp_path / "run", options)
    assert "binary cross-entropy" not in capsys.readouterr().err


def test_a_structure_that_two_cases_have_is_always_among_those_to_train_on(tiny: Dataset, tmp_path: Path) -> None:
    held = split_cases(tiny, CPU)[1]
    assert len(held) == 2
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    for name, (_, labels, _) in cases.items():
        labels[(labels == 5) & (name not in held)] = 0
    dataset = write_dataset(tmp_path / "data", cases)
    train(dataset, tiny_plan(), tmp_path / "run", CPU)
    splits = yaml.safe_load((tmp_path / "run/splits.yaml").read_text())
    assert len(set(held) & set(splits["training"])) == 1
    # A run that was begun keeps its cases, however folds are made now.
    other = {"training": [f"c{n}" for n in range(5)], "validation": ["c5"]}
    interrupt(dataset, tiny_plan(), tmp_path / "older", 1, CPU)
    (tmp_path / "older/splits.yaml").write_text(yaml.safe_dump(other))
    report = train(dataset, tiny_plan(), tmp_path / "older", CPU)
    assert list(report.validation["cases"]) == ["c5"]
    assert yaml.safe_load((tmp_path / "older/splits.yaml").read_text()) == other


def test_a_structure_that_no_training_case_has_is_named(tiny: Dataset, tmp_path: Path) -> None:
    held = split_cases(tiny, CPU)[1]
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    for name, (_, labels, _) in cases.items():
        labels[(labels == 5) & (name != held[0])] = 0
    dataset = write_dataset(tmp_path / "data", cases)
    with pytest.raises(DatasetError, match=rf"occur in no training case: tibia \(only in {held[0]}\)") as refused:
        train(dataset, tiny_plan(), tmp_path / "run", CPU)
    assert "choose another --fold, or none" in refused.value.hint
    report = train(dataset, tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", fold=None))
    assert report.validation["cases"] == {}
    assert report.validation["dice"] is None
    assert "None: all cases were trained on" in (tmp_path / "run/model/card.md").read_text()


def test_one_case_is_trained_on_only_without_folds(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data", 1)
    with pytest.raises(DatasetError, match="1 labelled case") as refused:
        train(dataset, tiny_plan(), tmp_path / "run", CPU)
    assert "--fold none" in refused.value.hint
    report = train(dataset, tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", fold=None))
    assert report.validation["training"]["cases"] == 1
    assert yaml.safe_load((tmp_path / "run/splits.yaml").read_text()) == {"training": ["c0"], "validation": []}


def test_fewer_cases_than_folds(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data", 3)
    with pytest.raises(DatasetError, match="5 folds need 5 groups") as refused:
        train(dataset, tiny_plan(), tmp_path / "run", CPU)
    assert "--folds 3" in refused.value.hint
    report = train(dataset, tiny_plan(), tmp_path / "run", TrainOptions(device="cpu", folds=3))  # as the hint says
    assert len(report.validation["cases"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TrainOptions(budget_s=5, epochs=1), "contradict"),
        (TrainOptions(budget_s=0), "trains nothing"),
        (TrainOptions(epochs=0), "train nothing"),
        (TrainOptions(budget_s=5, deterministic=True), "cannot be deterministic"),
        (TrainOptions(fold=5), "no fold 5 of 5"),
        (TrainOptions(fold=-1), "no fold -1 of 5"),
        (TrainOptions(seed=-1), "--seed -1"),
    ],
)
def test_options_that_make_no_sense(tiny: Dataset, tmp_path: Path, options: TrainOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny, tiny_plan(), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        train(tiny, tiny_plan(), tmp_path / "run", TrainOptions(device="cuda"))


def test_a_case_that_cannot_be_prepared_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = cohort(tmp_path / "[/data]")  # what rich takes for markup
    broken = split_cases(dataset, CPU)[0][0]
    (dataset.folder / f"images/{broken}.nii.gz").write_bytes(b"nothing")
    report = train(dataset, tiny_plan(), tmp_path / "run", CPU)
    assert list(report.failed) == [broken]
    assert report.validation["training"]["cases"] == 3
    assert f"left out: {broken}: {dataset.folder}" in capsys.readouterr().err


# All kinds of data


def test_unannotated_structures_are_neither_trained_against_nor_scored(tmp_path: Path) -> None:
    cases = {f"c{n}": two_boxes(seed=n) for n in range(6)}
    annotated = {}
    for number, (name, (_, labels, _)) in enumerate(cases.items()):
        if number % 2:
            annotated[name] = ["femur"]
            labels[labels == 5] = 0
    dataset = write_dataset(tmp_path / "data", cases, annotated=annotated)
    report = train(dataset, learning_plan(), tmp_path / "run", CPU)
    for name, scores in report.validation["cases"].items():
        assert list(scores) == annotated.get(name, ["femur", "tibia"])
    predicted = osteon.load_model(tmp_path / "run").predict(dataset.folder / "images/c1.nii.gz")
    truth = two_boxes(seed=1)[1] == 5  # nobody annotated it there, and it is found all the same
    assert (predicted.array == 5)[truth].mean() > 0.7


def test_overlapping_structures_from_training_to_scores(tmp_path: Path) -> None:
    cases = {}
    for number in range(6):
        image, labels, affine = two_boxes(seed=number)
        cases[f"c{number}"] = image, np.stack([labels > 0, labels == 5]).astype(np.uint8), affine
    structures = make_structures(["leg", "tibia"])
    dataset = write_dataset(tmp_path / "data", cases, structures, overlapping=True)
    plan = learning_plan({"structures": [s.model_dump(exclude_none=True) for s in structures], "overlapping": True})
    report = train(dataset, plan, tmp_path / "run", CPU)
    assert min(report.validation["structures"].values()) > 0.8
    out = tmp_path / "out"
    assert osteon.predict(tmp_path / "run", dataset.folder, out).done == list(cases)
    found = read_segmentation(out / "c0.seg.nrrd")
    assert [s.name for s in found.structures] == ["leg", "tibia"]
    both = found.mask(found.structures[0]) & found.mask(found.structures[1])
    assert both.sum() > 0.7 * cases["c0"][1][1].sum()
    result = osteon.evaluate(out, dataset.folder)
    validated = {s.case: s.dice for s in result.scores if s.structure == "leg"}
    for case, scores in report.validation["cases"].items():
        assert validated[case] == pytest.approx(scores["leg"], abs=1e-5)


def test_a_2d_plan_from_training_to_prediction(tmp_path: Path) -> None:
    cases = {f"c{n}": two_boxes(seed=n, spacing_mm=(1, 1, 3)) for n in range(6)}
    dataset = write_dataset(tmp_path / "data", cases)
    base = plan_data({**FLAT, "patch.batch": 8, "patch.size": [12, 8, 1]})
    base["training"] |= {"epoch_iterations": 40, "learning_rate": 0.02}
    base["network"]["features"] = [8, 12]
    report = train(dataset, parse_plan(base, Path("plan.yaml")), tmp_path / "run", CPU)
    assert report.validation["dice"] > 0.7
    predicted = osteon.load_model(tmp_path / "run").predict(dataset.folder / "images/c0.nii.gz")
    assert predicted.geometry.is_close(read_volume(dataset.folder / "images/c0.nii.gz").geometry)


def facing_femora(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A left and a right femur whose heads face the middle: each is the other's mirror image."""
    shape = (16, 8, 8)
    inner = slice(1, 7)
    labels = box(shape, (1, (slice(1, 6), inner, inner)), (2, (slice(7, 9), inner, inner)))
    labels[10:15, inner, inner] = 4
    image = np.random.default_rng(seed).normal(0, 5, shape) + 150 * (labels > 0)
    image[4:6, inner, inner] += 150
    image[10:12, inner, inner] += 150
    return image.astype(np.float32), labels, spacing_affine(1, 1, 1)


def test_left_and_right_stay_apart_when_patches_are_mirrored(tmp_path: Path) -> None:
    sides = [Structure(**entry) for entry in SIDES]
    dataset = write_dataset(tmp_path / "data", {f"c{n}": facing_femora(n) for n in range(8)}, sides)
    plan = learning_plan(
        {
            "structures": SIDES,
            "patch.size": [16, 8, 8],
            "augmentation.mirror_axes": [0],
            "training.epoch_iterations": 80,
        }
    )
    report = train(dataset, plan, tmp_path / "run", TrainOptions(device="cpu", folds=4))
    assert report.validation["structures"]["femur_left"] > 0.7
    assert report.validation["structures"]["femur_right"] > 0.7
    model = osteon.load_model(tmp_path / "run")
    image, labels, affine = facing_femora(0)
    prepared = torch.from_numpy(prepare_image(Volume(image[None], Geometry(image.shape, affine)), plan))
    for mirror in (False, True):
        # The network is sure: where mirroring does not swap the names, both sides are as likely.
        probabilities = predict_probabilities(
            model.network, prepared, plan, speed=speed.BEST if mirror else speed.BALANCED
        ).numpy()
        assert probabilities[1][labels == 1].mean() > 0.75
        assert probabilities[3][labels == 4].mean() > 0.75


def test_a_plan_may_leave_structures_out(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data")
    tibia = plan_data()["structures"][1]
    report = train(dataset, tiny_plan({"structures": [{**tibia, "value": 1}]}), tmp_path / "run", CPU)
    assert list(report.validation["structures"]) == ["tibia"]
    case = next(iter(report.validation["cases"]))
    predicted = read_segmentation(tmp_path / f"run/predictions/{case}.nii.gz").array == 1
    truth = dataset.load_segmentation(dataset.case(case)).array == 5
    dice = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    assert report.validation["cases"][case]["tibia"] == pytest.approx(dice, abs=1e-5)


def test_a_reference_is_brought_to_the_plans_structures() -> None:
    first, second, third = make_structures(["a", "b", "c"], [2, 4, 7])
    grid = Geometry((1, 1, 4), np.eye(4))
    index = Segmentation(np.array([[[0, 2, 4, 7]]], np.uint8), grid, (first, second, third))
    wanted = [third.model_copy(update={"value": 1}), first]
    assert select_structures(index, wanted).tolist() == [[[0, 2, 0, 1]]]
    layers = Segmentation(np.eye(4, dtype=np.uint8)[:3, None, None], grid, (first, second, third))
    assert select_structures(layers, wanted)[:, 0, 0].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


def test_a_run_that_another_training_works_in_is_refused_and_left_alone(tiny: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    interrupt(tiny, tiny_plan(), run, 1)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path != run}
    with lock_folder(run, "x", "y"):
        for restart in (False, True):
            message = rf"run: another training works in it \(process {os.getpid()} on .*, since "
            with pytest.raises(UsageError, match=message) as refused:
                train(tiny, tiny_plan(), run, CPU, restart=restart)
            assert "its own folder" in refused.value.hint
        assert refused.value.exit_code == 2
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path != run} == before
    assert train(tiny, tiny_plan(), run, CPU).resumed


def test_a_training_that_was_killed_does_not_keep_its_run(tiny: Dataset, tmp_path: Path, forks: Forks) -> None:
    run, path = tmp_path / "run", tmp_path / "plan.yaml"
    write_plan(path, tiny_plan())
    kill(forks, "checkpoint 2", tiny.folder, path, run)
    assert (run / ".lock").is_file()
    train(tiny, tiny_plan(), run, CPU)
    assert not (run / ".lock").exists()


def test_a_finished_run_is_read_without_holding_it(tiny: Dataset, finished: Path) -> None:
    with lock_folder(finished, "x", "y"):
        assert train(tiny, tiny_plan(), finished, CPU).iterations == 4
