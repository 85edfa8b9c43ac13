"""A run belongs to its choices, and a plan to its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import tiny_plan
from osteon.core.errors import PlanError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Channel, write_manifest
from osteon.training.fit import train
from osteon.training.options import TrainOptions
from osteon.training.record import check_plan_fits, plan_hash
from osteon.training.splitting import split
from runs import cohort


def test_a_plan_of_other_data_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    dataset = cohort(tmp_path, 2)
    check_plan_fits(dataset, tiny_plan())
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
    training, validation = split(dataset, TrainOptions(folds=2, folds_by="site"))
    assert {dataset.case(i).site for i in training}.isdisjoint({dataset.case(i).site for i in validation})
    assert sorted(training + validation) == [case.id for case in sited]


def test_reasons_and_forecasts_are_no_other_plan() -> None:
    plan = tiny_plan()
    told = plan.model_copy(update={"forecast": plan.forecast.model_copy(update={"cache_bytes": 7})})
    assert plan_hash(told) == plan_hash(plan)
    assert plan_hash(tiny_plan({"training.learning_rate": 0.5})) != plan_hash(plan)
