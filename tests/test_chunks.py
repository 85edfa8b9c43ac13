"""Chunks of a prediction on a cluster, with workers that are made up: who is sent what, and whose fault a loss is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny_plan
from osteon.core.errors import CaseError, ModelError, UsageError
from osteon.core.parallel import Outcome, use_backend
from osteon.networks.registry import build_network
from osteon.predicting import chunks
from osteon.predicting.chunks import Chunk, limit_memory, predict_chunks
from osteon.predicting.model import Model
from osteon.predicting.predictor import predict
from osteon.predicting.scans import Scan
from runs import cohort


class Workers:
    """Two workers, of which whoever gets the scan `bad` is lost."""

    workers = 2

    def __init__(self) -> None:
        self.sent: list[Chunk] = []

    def run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        name: Callable[[Any], str],
        setup: Callable[[], None] | None,
    ) -> Iterator[Outcome[Any, Any]]:
        assert setup is not None
        setup()
        for chunk in items:
            self.sent.append(chunk)
            lost = any(scan.id == "bad" for scan in chunk.scans)
            yield (
                Outcome(chunk, None, CaseError(f"{name(chunk)}: lost"))
                if lost
                else Outcome(chunk, function(chunk), None)
            )


@pytest.fixture
def model() -> Model:
    plan = tiny_plan()
    return Model(build_network(plan), plan, {}, "a hash")


def scans(count: int, bad: int) -> list[Scan]:
    return [Scan("bad" if n == bad else f"s{n}", ((Path(f"{n}.nii.gz"),),)) for n in range(count)]


def test_each_worker_gets_some_chunks_and_one_scan_alone_is_to_blame(model: Model) -> None:
    workers = Workers()
    with use_backend(workers):
        outcomes = list(
            predict_chunks(lambda _, chunk: str(chunk), lambda: model, model, scans(20, 7), {"s1": {"input": []}})
        )
    assert [len(chunk.scans) for chunk in workers.sent] == [3] * 6 + [2] + [1] * 3
    assert [str(out.item) for out in outcomes if out.error is not None] == ["bad"]
    done = [name for out in outcomes if out.result for name in out.result.split(", ")]
    assert sorted(done) == sorted(f"s{n}" for n in range(20) if n != 7)
    assert [chunk.before for chunk in workers.sent[:2]] == [{"s1": {"input": []}}, {}]


def test_a_scan_takes_its_own_case_along_and_no_other(model: Model, tmp_path: Path) -> None:
    dataset, workers = cohort(tmp_path, 3), Workers()
    found = [Scan(case.id, ((dataset.resolve(case.images[0]),),), dataset, case) for case in dataset.manifest.cases]
    with use_backend(workers):
        list(predict_chunks(lambda *_: None, lambda: model, model, found, {}))
    held = [scan.dataset.manifest.cases for chunk in workers.sent for scan in chunk.scans if scan.dataset]
    assert [[case.id for case in cases] for cases in held] == [["c0"], ["c1"], ["c2"]]


def test_another_model_than_here_is_refused_and_the_same_is_loaded_once(model: Model) -> None:
    loads: list[int] = []

    def load() -> Model:
        loads.append(1)
        return model

    with use_backend(Workers()):
        for _ in range(2):
            list(predict_chunks(lambda *_: None, load, model, scans(2, -1), {}))
        assert len(loads) == 1
        other = Model(model.network, model.plan, {}, "another hash")
        with pytest.raises(ModelError, match="another than here"):
            list(predict_chunks(lambda *_: None, load, other, scans(2, -1), {}))


def test_workers_need_to_know_where_the_model_lies(model: Model, tmp_path: Path) -> None:
    with use_backend(Workers()), pytest.raises(UsageError, match="load the model themselves"):
        predict(model, scans(1, -1), tmp_path / "out")


def test_a_workers_memory_is_the_limit_unless_the_user_gives_one(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit_memory(model, None) is None
    monkeypatch.setattr(chunks, "worker_memory", lambda: 5)
    assert (limit_memory(model, None), limit_memory(model, 7)) == (5, 7)
