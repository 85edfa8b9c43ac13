"""The end of a run: what it costs is told before, and bounded; the network looks once at each scan."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import spacing_affine, tiny_plan, write_dataset
from osteon.core.errors import OsteonError
from osteon.core.labels import make_structures
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.speed import SPEEDS
from osteon.runs import final_validation, finish
from osteon.runs.finish import describe_final_steps, extras_budget_s
from osteon.runs.scoring import measure_speeds

NAMES, VALUES = ["l1", "l2", "l3"], [1, 2, 3]
STRUCTURES = [{"name": n, "value": v, "colour": "#ff0000"} for n, v in zip(NAMES, VALUES, strict=True)]
SERIES = {"axis": 2, "names": NAMES, "distance_mm": 8.0, "volume_mm3": 64.0}


def dataset(folder: Path, count: int = 4) -> Any:
    cases = {}
    for number in range(count):
        image = np.random.default_rng(number).normal(100, 50, (8, 8, 24)).astype(np.float32)
        labels = np.zeros((8, 8, 24), np.uint8)
        for place, value in enumerate(VALUES):
            labels[2:6, 2:6, 8 * place + 2 : 8 * place + 6] = value
        cases[f"c{number}"] = (image, labels, spacing_affine(1, 1, 1))
    return write_dataset(folder, cases, make_structures(NAMES, VALUES))


def model(changes: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    plan = tiny_plan({"structures": STRUCTURES, **changes})
    return Model(build_network(plan).eval(), plan, {}, "")


def test_names_in_order_and_as_found_come_of_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, ordered = dataset(tmp_path / "data"), model({"series": SERIES})
    inferred = []
    infer = Model.infer
    monkeypatch.setattr(Model, "infer", lambda *a, **k: (inferred.append(1), infer(*a, **k))[1])
    failed: dict[str, OsteonError] = {}
    ids = [case.id for case in data.manifest.cases]
    validated, plain = final_validation.predict_validation(data, ordered, ids, tmp_path / "run", failed)
    assert len(inferred) == len(ids)
    assert not failed
    assert plain is not None
    alone, nothing = final_validation.predict_validation(data, model({}), ids, tmp_path / "plain", failed)
    assert nothing is None
    assert plain == alone
    monkeypatch.undo()
    for case_id in ids:
        one = ordered.segment(data.load_image(data.case(case_id)))
        assert validated.raw[case_id] == one.raw
    for folder, other in (("run/unordered", "plain"),):
        for path in sorted((tmp_path / folder / "predictions").glob("*.nii.gz")):
            assert path.read_bytes() == (tmp_path / other / "predictions" / path.name).read_bytes()


def test_measuring_speeds_has_a_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, plain = dataset(tmp_path / "data"), model({})
    ids = [case.id for case in data.manifest.cases]
    assert measure_speeds(data, plain, ids, until=time.monotonic() - 1) == {}
    found = measure_speeds(data, plain, ids)
    assert {name: figures["cases"] for name, figures in found.items()} == {speed.name: 4 for speed in SPEEDS}
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("osteon.runs.scoring.time.monotonic", lambda: next(clock))
    found = measure_speeds(data, plain, ids, until=25)  # a scan takes 10 s: the first from 0, the next would end at 30
    assert {figures["cases"] for figures in found.values()} == {1}


def test_what_follows_a_training_is_told_before() -> None:
    plan = tiny_plan({"forecast": {"predicting_seconds": 2.0}})
    text = "afterwards: validating on 6 whole scans, about 0:12, then measuring speeds and choosing post-processing"
    assert describe_final_steps(plan, 6, 600.0) == f"{text}, 2:00 at most"
    assert describe_final_steps(plan, 6, None) == text
    assert describe_final_steps(tiny_plan(), 1, 1.0).startswith("afterwards: validating on 1 whole scan, then")
    assert extras_budget_s(0.0) == finish.MIN_EXTRAS_S
