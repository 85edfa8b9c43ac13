"""The stages that each scan of a prediction goes through: read, segmented, written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.case_records import CaseRecords
from osteon.core.errors import FileError
from osteon.core.files import is_file, remove_file
from osteon.core.geometry import Geometry
from osteon.core.version import __version__
from osteon.formats.io import write_segmentation
from osteon.formats.probabilities import SUFFIX, make_header, write_probabilities
from osteon.predicting.memory import MemoryPlan, MemoryPool, plan_memory
from osteon.predicting.model import Model, Prediction
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.restore import OutputSink
from osteon.predicting.scans import Scan
from osteon.predicting.speed import BALANCED, SpeedPreset
from osteon.predicting.training_cases import KEY


@dataclass(frozen=True)
class PredictOptions:
    """How scans are predicted.

    Attributes:
        speed: How densely patches lie, and whether mirror images are averaged.
        overwrite: Predict again what is done.
        memory: Bytes that may be used; None: most of what is free.
        probabilities: Write them too, to `<case>.probabilities.npz`.
        first_level: The name of each scan's first body of the plan's sequence (of vertebrae the uppermost).
    """

    speed: SpeedPreset = BALANCED
    overwrite: bool = False
    memory: int | None = None
    probabilities: bool = False
    first_level: str | None = None


DEFAULTS = PredictOptions()


ReadScan = tuple[PreparedScan, MemoryPlan, dict[str, Any]]
"""A prepared scan, its memory, and its record so far."""
Result = tuple[Prediction, dict[str, Any]]
"""A prediction and its record."""


@dataclass
class PredictStages:
    """The stages of a prediction. A scan is claimed before it is read, until it is released; so is memory.

    Attributes:
        model: Loaded.
        out: The folder of results.
        options: Speed, memory, what is done again.
        records: Of `out`.
        before: What was recorded when the prediction began, by case.
        targets: The result's file of each case.
        claims: Of the cases in work.
        pool: Memory of the cases in work.
        waited_s: How long the scan that is being read has waited for memory.
    """

    model: Model
    out: Path
    options: PredictOptions
    records: CaseRecords
    before: Mapping[str, Any]
    targets: Mapping[str, Path]
    claims: dict[str, ExitStack] = field(default_factory=dict)
    pool: MemoryPool = field(default_factory=lambda: MemoryPool(None))
    waited_s: float = 0.0

    def recorded(self, case_id: str) -> dict[str, Any]:
        """What is recorded of a case now: another process may have written it meanwhile."""
        record = self.records.get(case_id)
        return dict(self.before.get(case_id, {})) if record is None else record

    def claim(self, case_id: str, *, wait: bool) -> None:
        """Keep other processes from a case. Raises BlockingIOError where one has it, and `wait` is false."""
        with ExitStack() as claim:
            claim.enter_context(self.records.claim(case_id, wait=wait))
            self.claims[case_id] = claim.pop_all()

    def release(self, case_id: str | None = None) -> None:
        """End the claim to a case, or to all."""
        for name in list(self.claims) if case_id is None else [case_id]:
            if (claim := self.claims.pop(name, None)) is not None:
                claim.close()

    def read(self, scan: Scan) -> ReadScan | None:
        """Read and prepare a scan; None where its output is there, made from the same.

        Raises:
            BlockingIOError: Another process has it.
        """
        began, self.waited_s = time.monotonic(), 0.0
        made_by = {
            "model": self.model.sha256,
            "speed": self.options.speed.name,
            "postprocessing": self.model.postprocessing.describe(pixels=self.model.plan.unit == "px"),
            "first_level": self.options.first_level,
        }
        if (files := self._up_to_date_input(scan, made_by)) is not None:
            self._refresh_record(scan, files)
            return None
        if scan.id not in self.claims:
            self.claim(scan.id, wait=False)
            if self._up_to_date_input(scan, made_by) is not None:  # meanwhile
                return None
        made_from = {"input": scan.fingerprint(), **made_by}
        grid = scan.geometry()
        memory = None if grid is None else self._acquire_memory(scan, grid)  # before voxels are read
        volume = scan.load()
        self.model.check(volume, scan.id)
        self.out.mkdir(parents=True, exist_ok=True)
        memory = memory or self._acquire_memory(scan, volume.geometry)
        record = {
            **made_from,
            **({"probabilities": probabilities_path(self.out, scan.id).name} if self.options.probabilities else {}),
            "shape": list(volume.geometry.shape),
            "spacing_mm": [round(s, 6) for s in volume.geometry.spacing_mm],
            "memory_bytes": memory.total_bytes,
            "engine": self.model.engine,
        }
        content = scan.content(volume) if self.model.seen.by_content else None
        record |= {"content": content} if content else {}
        record |= self._exposure(scan, content)
        prepared = self.model.prepare(volume)
        return prepared, memory, record | {"seconds": time.monotonic() - began - self.waited_s}

    def _acquire_memory(self, scan: Scan, grid: Geometry) -> MemoryPlan:
        """The memory of a scan, as soon as it is free. Raises as `plan_memory`."""
        if grid.unit != self.model.plan.unit:  # an error of `Model.check`
            return MemoryPlan(scan.id, 0, None, 0)
        keep = self.options.probabilities
        memory = plan_memory(self.model.plan, grid, self.options.memory, self.out, scan.id, probabilities=keep)
        began = time.monotonic()
        self.pool.acquire(memory)
        self.waited_s += time.monotonic() - began
        return memory

    def _exposure(self, scan: Scan, content: str | None) -> dict[str, str]:
        """What the model had to do with the scan before; nothing where nobody knows."""
        role = self.model.seen.role_of(scan.id, content)
        return {} if role is None else {KEY: role}

    def _refresh_record(self, scan: Scan, files: list[list[Any]]) -> None:
        """Record the times of files that were touched, so that they need not be read again, and whether the model was
        trained on the scan, which earlier versions did not record; nothing where it cannot be written.
        """
        before = self.recorded(scan.id)
        seen = {} if KEY in before else self._exposure(scan, None if scan.case is None else scan.case.content)
        now = before | {"input": files} | seen
        if now == before:
            return
        with suppress(BlockingIOError, FileError), self.records.claim(scan.id, wait=False):
            if self.recorded(scan.id) == before:
                self.records.write(scan.id, now)

    def write(self, scan: Scan, result: Result) -> None:
        """Write a segmentation, and before it its record, lest an older file count as this result."""
        try:
            self._write(scan, *result)
        finally:
            self.pool.release(scan.id)

    def _write(self, scan: Scan, prediction: Prediction, record: dict[str, Any]) -> None:
        target = self.targets[scan.id]
        if not self.options.probabilities:
            remove_file(probabilities_path(self.out, scan.id))
        remove_file(target)
        self.records.write(scan.id, record | {"output": target.name})
        try:
            write_segmentation(target, prediction.segmentation)
        except BaseException:
            self.records.remove(scan.id)
            raise

    def _up_to_date_input(self, scan: Scan, made_by: Mapping[str, Any]) -> list[list[Any]] | None:
        """The input of a scan's output, as its files are now; None: no output was made from these in the same way."""
        before = self.recorded(scan.id)
        there = is_file(self.targets[scan.id]) and not self.options.overwrite
        if self.options.probabilities:
            there = there and bool(before.get("probabilities")) and is_file(probabilities_path(self.out, scan.id))
        if not there or {k: before.get(k) for k in made_by} != made_by:
            return None
        return scan.refresh_fingerprint(before.get("input"))

    @property
    def batch_size(self) -> int:
        """How many small scans go into one batch: one alone does not fill a GPU. A CPU gains nothing by it."""
        on_gpu = next(self.model.network.parameters()).device.type != "cpu"
        alone = self.options.memory is not None or self.options.first_level is not None
        return self.model.plan.patch.batch if on_gpu and not alone else 1

    def batch_key(self, read: ReadScan) -> tuple[int, ...] | None:
        """Scans of one key, other than None, go into one batch."""
        prepared, memory, _ = read
        return None if memory.folder is not None else self.model.batch_key(prepared)

    def segment(self, scans: list[ReadScan]) -> list[Result]:
        """Predict prepared scans: one, or several of one `batch_key`."""
        try:
            results = self._segment(scans)
        except BaseException:
            for _, memory, _ in scans:
                self.pool.release(memory.name)
            raise
        for (_, memory, _), (prediction, _) in zip(scans, results, strict=True):
            self.pool.release(memory.name, 2 * prediction.segmentation.array.nbytes)  # until it is written
        return results

    def _segment(self, scans: list[ReadScan]) -> list[Result]:
        began = time.monotonic()
        if len(scans) == 1:
            prepared, memory, _ = scans[0]
            first_level = self.options.first_level
            inferred = [
                self.model.infer(prepared, speed=self.options.speed, folder=memory.folder, first_level=first_level)
            ]
        else:
            inferred = self.model.infer_batch([prepared for prepared, _, _ in scans], speed=self.options.speed)
        seconds = (time.monotonic() - began) / len(scans)
        return [
            self._postprocess(prepared, probabilities, record, seconds)
            for (prepared, _, record), probabilities in zip(scans, inferred, strict=True)
        ]

    def _postprocess(
        self, prepared: PreparedScan, probabilities: Probabilities, record: dict[str, Any], seconds: float
    ) -> Result:
        """The segmentation on the scan's own grid, and its record. `seconds`: what the network took."""
        began = time.monotonic()
        path = self.out / record["probabilities"] if self.options.probabilities else None
        with probability_sink(path, self.model, prepared.whole) as sink:
            prediction = self.model.postprocess(prepared, probabilities, speed=self.options.speed, sink=sink)
        return prediction, {
            **record,
            "confidence": prediction.confidence,
            "calibrated": prediction.calibrated,
            "review": prediction.reasons,
            **({} if prediction.levels is None else {"levels": prediction.levels.to_dict()}),
            "seconds": round(record["seconds"] + seconds + time.monotonic() - began, 3),
            "osteon": __version__,
        }


def probabilities_path(out: Path, case_id: str) -> Path:
    """The file of a case's probabilities, for a soft vote.

    They are on the scan's grid and not the plan's: a 2D and a 3D model have the scan in common and no other grid, and
    refined crops are on it alone.
    """
    return out / f"{case_id}{SUFFIX}"


@contextmanager
def probability_sink(path: Path | None, model: Model, geometry: Geometry) -> Iterator[OutputSink | None]:
    """Write a scan's probabilities. The file is there once the block has ended with every output, and else is not.

    Args:
        path: Of the file; None: nothing is written, and there is no sink.
        model: Whose probabilities they are.
        geometry: The scan's own grid.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    if path is None:
        yield None
        return
    plan = model.plan
    with write_probabilities(path) as writer:
        writer.begin(make_header(tuple(plan.structures), geometry, overlapping=plan.overlapping, model=model.sha256))
        yield writer.add
