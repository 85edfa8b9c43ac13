"""The stages that each scan of a prediction goes through: read, segmented, written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.case_records import CaseRecords
from osteon.core.errors import FileError
from osteon.core.files import is_file, remove_file
from osteon.core.geometry import Geometry
from osteon.core.version import __version__
from osteon.formats.registry import write_segmentation
from osteon.predicting.memory import Room, room_for
from osteon.predicting.memory_pool import Allowance
from osteon.predicting.model import Model, Prediction, Prepared
from osteon.predicting.probabilities import Shares
from osteon.predicting.probability_files import kept, probabilities_path
from osteon.predicting.scans import Scan
from osteon.predicting.speed import BALANCED, Speed
from osteon.predicting.training_cases import KEY


@dataclass(frozen=True)
class How:
    """How scans are predicted.

    Attributes:
        speed: How densely scans are looked at, and whether in mirror images, too.
        overwrite: Do again what is done.
        memory: Bytes that may be used; None: most of what is free.
        probabilities: Keep them too, in `<case>.probabilities.npz`.
    """

    speed: Speed = BALANCED
    overwrite: bool = False
    memory: int | None = None
    probabilities: bool = False


USUAL = How()


Read = tuple[Prepared, Room, dict[str, Any]]
"""A prepared scan, within which limits it is looked at, and what its record says so far."""


@dataclass
class Work:
    """The stages of a prediction. A scan is claimed before it is read, until somebody lets it go; so is memory."""

    model: Model
    out: Path
    how: How
    records: CaseRecords
    before: Mapping[str, Any]
    targets: Mapping[str, Path]
    claims: dict[str, ExitStack] = field(default_factory=dict)
    allowance: Allowance = field(default_factory=lambda: Allowance(None))
    waited_s: float = 0.0
    """For memory, by the scan that is being read: no work on it."""

    def known(self, case_id: str) -> dict[str, Any]:
        """What is recorded of a case now: another process may have written it meanwhile."""
        found = self.records.get(case_id)
        return dict(self.before.get(case_id, {})) if found is None else found

    def claim(self, case_id: str, *, wait: bool) -> None:
        """Keep other processes from a case. Raises BlockingIOError where one has it, and `wait` is false."""
        with ExitStack() as claim:
            claim.enter_context(self.records.claim(case_id, wait=wait))
            self.claims[case_id] = claim.pop_all()

    def let_go(self, case_id: str | None = None) -> None:
        """End the claim to a case, or to all."""
        for name in list(self.claims) if case_id is None else [case_id]:
            if (claim := self.claims.pop(name, None)) is not None:
                claim.close()

    def read(self, scan: Scan) -> Read | None:
        """Read and prepare a scan; nothing where its output is there, made from the same.

        Raises:
            BlockingIOError: Another process has it.
        """
        began, self.waited_s = time.monotonic(), 0.0
        made_by = {
            "model": self.model.sha256,
            "speed": self.how.speed.name,
            "postprocessing": self.model.postprocessing.told(pixels=self.model.plan.unit == "px"),
        }
        if (files := self._done_from(scan, made_by)) is not None:
            self._bring_up(scan, files)
            return None
        if scan.id not in self.claims:
            self.claim(scan.id, wait=False)
            if self._done_from(scan, made_by) is not None:  # meanwhile
                return None
        made_from = {"input": scan.fingerprint(), **made_by}
        grid = scan.geometry()
        room = None if grid is None else self._room(scan, grid)  # asked before voxels are read
        volume = scan.load()
        self.model.check(volume, scan.id)
        self.out.mkdir(parents=True, exist_ok=True)
        room = room or self._room(scan, volume.geometry)
        kept_in = probabilities_path(self.out, scan.id)
        record = {
            **made_from,
            **({"probabilities": kept_in.name} if self.how.probabilities else {}),
            "shape": list(volume.geometry.shape),
            "spacing_mm": [round(s, 6) for s in volume.geometry.spacing_mm],
            "memory_bytes": room.bytes,
            "engine": self.model.engine,
        }
        content = scan.content(volume) if self.model.seen.by_content else None
        record |= {"content": content} if content else {}
        record |= self._seen(scan, content)
        prepared = self.model.prepare(volume)
        return prepared, room, record | {"seconds": time.monotonic() - began - self.waited_s}

    def _room(self, scan: Scan, grid: Geometry) -> Room:
        """What a scan takes, as soon as that is free. Raises as `room_for`."""
        if grid.unit != self.model.plan.unit:  # said where it is checked
            return Room(scan.id, 0, None, 0)
        kept = self.how.probabilities
        room = room_for(self.model.plan, grid, self.how.memory, self.out, scan.id, probabilities=kept)
        asked = time.monotonic()
        self.allowance.take(room)
        self.waited_s += time.monotonic() - asked
        return room

    def _seen(self, scan: Scan, content: str | None) -> dict[str, str]:
        """What the model had to do with the scan before; nothing where nobody knows."""
        sight = self.model.seen.sight_of(scan.id, content)
        return {} if sight is None else {KEY: sight}

    def _bring_up(self, scan: Scan, files: list[list[Any]]) -> None:
        """Record the times of files that were touched, so that they need not be read once more, and what the model had
        to do with the scan before, which an earlier osteon did not say; nothing where it cannot be written.
        """
        before = self.known(scan.id)
        seen = {} if KEY in before else self._seen(scan, None if scan.case is None else scan.case.content)
        now = before | {"input": files} | seen
        if now == before:
            return
        with suppress(BlockingIOError, FileError), self.records.claim(scan.id, wait=False):
            if self.known(scan.id) == before:
                self.records.write(scan.id, now)

    def write(self, scan: Scan, result: tuple[Prediction, dict[str, Any]]) -> None:
        """Write a segmentation, and before it its record, which must not pass an older result off as this one."""
        try:
            self._write(scan, *result)
        finally:
            self.allowance.give(scan.id)

    def _write(self, scan: Scan, prediction: Prediction, record: dict[str, Any]) -> None:
        target = self.targets[scan.id]
        if not self.how.probabilities:
            remove_file(probabilities_path(self.out, scan.id))
        remove_file(target)
        self.records.write(scan.id, record | {"output": target.name})
        try:
            write_segmentation(target, prediction.segmentation)
        except BaseException:
            self.records.remove(scan.id)
            raise

    def _done_from(self, scan: Scan, made_by: Mapping[str, Any]) -> list[list[Any]] | None:
        """What a scan's output was made from, as it is now; None: there is none, made from the same by the same."""
        before = self.known(scan.id)
        there = is_file(self.targets[scan.id]) and not self.how.overwrite
        if self.how.probabilities:
            there = there and bool(before.get("probabilities")) and is_file(probabilities_path(self.out, scan.id))
        if not there or {k: before.get(k) for k in made_by} != made_by:
            return None
        return scan.still(before.get("input"))

    @property
    def at_once(self) -> int:
        """So many small scans are looked at together: on a GPU, which one does not fill. A CPU gains nothing by it."""
        on_gpu = next(self.model.network.parameters()).device.type != "cpu"
        return self.model.plan.patch.batch if on_gpu and self.how.memory is None else 1

    def alike(self, given: Read) -> tuple[int, ...] | None:
        """Scans of which this is the same are looked at together."""
        prepared, room, _ = given
        return None if room.folder is not None else self.model.alike(prepared)

    def segment(self, given: list[Read]) -> list[tuple[Prediction, dict[str, Any]]]:
        """Look at prepared scans: one, or several that are alike."""
        try:
            made = self._segmented(given)
        except BaseException:
            for _, room, _ in given:
                self.allowance.give(room.name)
            raise
        for (_, room, _), (prediction, _) in zip(given, made, strict=True):
            self.allowance.give(room.name, 2 * prediction.segmentation.array.nbytes)  # until it is written
        return made

    def _segmented(self, given: list[Read]) -> list[tuple[Prediction, dict[str, Any]]]:
        began = time.monotonic()
        if len(given) == 1:
            prepared, room, _ = given[0]
            found = [self.model.infer(prepared, speed=self.how.speed, folder=room.folder)]
        else:
            found = self.model.infer_together([prepared for prepared, _, _ in given], speed=self.how.speed)
        seconds = (time.monotonic() - began) / len(given)
        return [
            self._concluded(prepared, shares, record, seconds)
            for (prepared, _, record), shares in zip(given, found, strict=True)
        ]

    def _concluded(
        self, prepared: Prepared, shares: Shares, record: dict[str, Any], seconds: float
    ) -> tuple[Prediction, dict[str, Any]]:
        """The segmentation on the scan's own grid, and its record. `seconds`: what the network took."""
        began = time.monotonic()
        path = self.out / record.get("probabilities", "")
        with kept(path, self.model, wanted=self.how.probabilities) as keeper:
            keep = keeper(prepared.whole)
            prediction = self.model.conclude(prepared, shares, speed=self.how.speed, keep=keep)
        return prediction, {
            **record,
            "confidence": prediction.confidence,
            "calibrated": prediction.calibrated,
            "review": prediction.reasons,
            "seconds": round(record["seconds"] + seconds + time.monotonic() - began, 3),
            "osteon": __version__,
        }
