"""A prediction on a cluster: the scans go out in chunks, and each worker predicts its chunk as one machine would."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from osteon.core.cluster import worker_memory
from osteon.core.errors import ModelError
from osteon.core.parallel import Outcome, for_each, worker_count
from osteon.predicting.model import Model
from osteon.predicting.scans import Scan

CHUNK = 8
"""Scans that go out together: reading the next and writing the one before take no time of their own then."""
PER_WORKER = 4
"""Chunks that each worker gets at least, so that all end at about the same time."""


@dataclass(frozen=True)
class Chunk:
    """Scans that go to one worker.

    Attributes:
        scans: Each with its own case of its dataset alone.
        before: What was recorded of them when the prediction began.
        wait: Until other processes that are at them have ended.
    """

    scans: tuple[Scan, ...]
    before: dict[str, Any]
    wait: bool = False

    def __str__(self) -> str:
        return ", ".join(scan.id for scan in self.scans)


def predict_chunks(
    predict: Callable[[Model, Chunk], Any],
    load: Callable[[], Model],
    model: Model,
    scans: Sequence[Scan],
    before: dict[str, Any],
    *,
    wait: bool = False,
) -> Iterator[Outcome[Chunk, Any]]:
    """Predict scans on the cluster that is in use; outcomes of chunks as they come, one with an error is of one scan.

    Args:
        predict: Predicts a chunk, in a worker.
        load: Loads the model, in a worker, once.
        model: As it is here: it is the same there.
        scans: All.
        before: What is recorded of scans, by id.
        wait: As for `Chunk`.
    """
    size = min(CHUNK, max(1, math.ceil(len(scans) / (PER_WORKER * worker_count(len(scans), 0)))))
    run = partial(_run_here, predict)
    while scans:
        chunks = [
            Chunk(part, {scan.id: before[scan.id] for scan in part if scan.id in before}, wait)
            for part in (tuple(map(_alone, scans[n : n + size])) for n in range(0, len(scans), size))
        ]
        again: list[Scan] = []
        for outcome in for_each(run, chunks, None, name=str, setup=partial(_load_here, load, model.sha256)):
            if outcome.error is not None and len(outcome.item.scans) > 1:
                again += outcome.item.scans  # one of them is to blame
            else:
                yield outcome
        scans, size = again, 1


_model_here: list[tuple[Callable[[], Model], Model]] = []
"""The model that this worker predicts with, and how it was loaded."""


def _load_here(load: Callable[[], Model], sha256: str) -> None:
    if _model_here and _model_here[0][0] == load and _model_here[0][1].sha256 == sha256:
        return  # two commands take turns
    _model_here.clear()  # before there are two
    model = load()
    if model.sha256 != sha256:
        raise ModelError(
            "the model that a worker finds is another than here", hint="put the model on a disk that all machines share"
        )
    _model_here.append((load, model))


def _run_here(predict: Callable[[Model, Chunk], Any], chunk: Chunk) -> Any:
    return predict(_model_here[0][1], chunk)


def limit_memory(model: Model, limit: int | None) -> int | None:
    """The limit of a prediction in this process: the user's, or what a worker of a cluster may take, or none."""
    on_gpu = next(model.network.parameters()).device.type != "cpu"  # there small scans go in batches
    return limit if limit is not None or on_gpu else worker_memory()


def _alone(scan: Scan) -> Scan:
    """A scan with its own case of its dataset alone: what travels does not grow with the dataset."""
    if scan.dataset is None or scan.case is None:
        return scan
    return replace(scan, dataset=scan.dataset.restrict_to(scan.case))
