"""A run belongs to its choices, and a plan to its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import tiny_plan
from osteon.core.errors import PlanError, UsageError
from osteon.core.files import read_yaml, write_yaml
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Channel, write_manifest
from osteon.plan.schema import Plan, read_plan
from osteon.runs import record
from osteon.runs.fit import train
from osteon.runs.options import TrainOptions
from osteon.runs.record import check_plan_fits, plan_hash, record_options
from osteon.runs.splits import split_cases
from osteon.training.checkpoint import LAST, TrainingState, load_checkpoint, save_checkpoint
from runs import CPU, cohort


def test_a_plan_of_other_data_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    dataset = cohort(tmp_path, 2)
    check_plan_fits(dataset, tiny_plan())
    for key, message in (("network.name", "there is no network unett"), ("training.loss", "there is no loss unett")):
        with pytest.raises(PlanError, match=rf"{key}: {message}"):
            check_plan_fits(dataset, tiny_plan({key: "unett"}))
    changed = [s.model_copy(update={"name": f"other {s.name}"}) for s in dataset.manifest.structures]
    for update, key in (
        ({"structures": changed}, "structures"),
        ({"channels": [Channel(name="CT", modality="xray")]}, "channels"),
        ({"overlapping": True}, "overlapping"),
    ):
        other = Dataset(dataset.folder, dataset.manifest.model_copy(update=update))
        with pytest.raises(PlanError, match=key) as refusal:
            train(other, tiny_plan(), tmp_path / "run")
        assert "osteon plan DATASET --force" in refusal.value.hint
    assert not (tmp_path / "run").exists()


def test_sites_stay_together_where_asked(tmp_path: Path) -> None:
    dataset = cohort(tmp_path, 6)
    sited = [c.model_copy(update={"site": "ab"[n % 2]}) for n, c in enumerate(dataset.manifest.cases)]
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"cases": sited}))
    dataset = Dataset.open(tmp_path)
    training, validation = split_cases(dataset, TrainOptions(folds=2, folds_by="site"))
    assert {dataset.case(i).site for i in training}.isdisjoint({dataset.case(i).site for i in validation})
    assert sorted(training + validation) == [case.id for case in sited]


def test_reasons_and_forecasts_are_no_other_plan() -> None:
    plan = tiny_plan()
    other = plan.model_copy(update={"forecast": plan.forecast.model_copy(update={"cache_bytes": 7})})
    assert plan_hash(other) == plan_hash(plan)
    assert plan_hash(tiny_plan({"training.learning_rate": 0.5})) != plan_hash(plan)


def begun(run: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan | None = None) -> None:
    """A run as a version began it whose plan did not yet have a key, and so hashed to something else."""
    plan = plan or tiny_plan()
    hashed = plan_hash(plan)
    with monkeypatch.context() as patch:
        patch.setattr(record, "plan_hash", lambda one: f"earlier {plan_hash(one)}")
        record_options(run, plan, CPU, started=False)
    recorded = read_yaml(run / "run.yaml", "")
    assert recorded["plan"] == f"earlier {hashed}"
    write_yaml(run / "run.yaml", {key: value for key, value in recorded.items() if key not in ("plan_file", "osteon")})
    read = read_yaml(run / "plan.yaml", "")
    assert read.pop("sampling")
    write_yaml(run / "plan.yaml", read)


def test_a_run_of_an_earlier_version_goes_on_with_what_it_did_not_have_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path, monkeypatch)
    record_options(tmp_path, tiny_plan(), CPU, started=True)
    before = read_yaml(tmp_path / "run.yaml", "")
    for key in ("folds_by", "precision", "deterministic", "seed"):
        write_yaml(tmp_path / "run.yaml", {k: v for k, v in before.items() if k != key})
        record_options(tmp_path, tiny_plan(), CPU, started=True)
    write_yaml(tmp_path / "run.yaml", {k: v for k, v in before.items() if k != "folds_by"})
    with pytest.raises(UsageError, match="other choices: folds_by"):
        record_options(tmp_path, tiny_plan(), replace(CPU, folds_by="site"), started=True)
    with pytest.raises(UsageError, match="other choices: plan"):
        record_options(tmp_path, tiny_plan({"training.learning_rate": 0.5}), CPU, started=True)


def test_a_run_of_an_earlier_version_may_go_on_with_less_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path, monkeypatch)
    less = tiny_plan({"patch.batch": 1})
    record_options(tmp_path, less, CPU, started=True)
    assert read_yaml(tmp_path / "run.yaml", "")["changes"] == [{"patch.batch": [2, 1]}]
    assert read_plan(tmp_path / "plan.yaml") == less
    record_options(tmp_path, less, CPU, started=True)


def test_a_finished_run_of_an_earlier_version_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path, monkeypatch)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").touch()
    record_options(tmp_path, tiny_plan(), CPU, started=True)
    with pytest.raises(UsageError, match="other choices: plan"):
        record_options(tmp_path, tiny_plan({"patch.batch": 1}), CPU, started=True)


def test_a_runs_own_plan_that_was_edited_is_no_way_round(tmp_path: Path) -> None:
    record_options(tmp_path, tiny_plan(), CPU, started=False)
    record_options(tmp_path, tiny_plan(), CPU, started=True)
    path = tmp_path / "plan.yaml"
    path.write_text(path.read_text().replace("weight_decay: 0.01", "weight_decay: 0.5"))
    assert read_plan(path).training.weight_decay == 0.5
    record_options(tmp_path, tiny_plan(), CPU, started=True)  # the plan that it was begun with
    with pytest.raises(UsageError, match="other choices: plan"):
        record_options(tmp_path, read_plan(path), CPU, started=True)


def test_what_a_newer_version_has_written_is_refused_as_such(tmp_path: Path) -> None:
    record_options(tmp_path, tiny_plan(), CPU, started=False)
    before = read_yaml(tmp_path / "run.yaml", "")
    write_yaml(tmp_path / "run.yaml", before | {"osteon": "9.0.0", "teacher": "a model"})
    with pytest.raises(UsageError, match=r"another version, osteon 9\.0\.0, .* does not know: teacher\n") as refused:
        record_options(tmp_path, tiny_plan(), CPU, started=True)
    assert "continue with that version" in refused.value.hint
    plan = read_yaml(tmp_path / "plan.yaml", "")
    write_yaml(tmp_path / "plan.yaml", plan | {"teaching": {"by": "a model"}})
    with pytest.raises(PlanError, match="teaching") as unknown:
        read_plan(tmp_path / "plan.yaml")
    assert "a newer version of osteon" in unknown.value.hint


def test_checkpoints_of_other_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LAST
    state = TrainingState(iteration=7)
    monkeypatch.delattr(state, "epoch_open")  # as it was before there was such a field
    save_checkpoint(path, {}, state)
    assert load_checkpoint(path)[1] == TrainingState(iteration=7)
    state.teacher = "a model"  # type: ignore[attr-defined]
    save_checkpoint(path, {}, state)
    with pytest.raises(UsageError, match="written by a newer version of osteon: it says teacher"):
        load_checkpoint(path)
