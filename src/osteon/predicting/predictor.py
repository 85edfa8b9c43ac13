"""Many scans in, one file for each out; what is done stays done, and a failed scan never stops the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from osteon.core.errors import CaseError, FileError, OsteonError, UsageError, memory_error, out_of_memory
from osteon.core.files import write_error, write_json
from osteon.core.locks import NAME as LOCK
from osteon.core.locks import one_at_a_time
from osteon.core.pipeline import overlapped
from osteon.core.progress import console, track
from osteon.core.version import __version__
from osteon.formats.registry import tell_oddities, write_segmentation
from osteon.planning.plan import Plan
from osteon.predicting.folders import RECORD
from osteon.predicting.keeping import kept, probabilities_path
from osteon.predicting.memory import Room, room_for
from osteon.predicting.model import Model, Prediction, Prepared
from osteon.predicting.records import read_predictions
from osteon.predicting.scans import Scan
from osteon.predicting.seen import KEY, TRAINED
from osteon.predicting.shares import Shares
from osteon.predicting.speeds import BALANCED, Speed


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


@dataclass(frozen=True)
class PredictReport:
    """What came of it: ids by what happened to them; the files lie in `out`.

    Attributes:
        out: The folder.
        done: Segmented now.
        skipped: Segmented before.
        failed: The error of each that could not be segmented.
        review: Reasons why a person should look at a result, of all that are done.
        trained_on: Those of them that the model was trained on: what it finds there says nothing of new scans.
    """

    out: Path
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    review: dict[str, list[str]] = field(default_factory=dict)
    trained_on: list[str] = field(default_factory=list)


def output_path(out: Path, case_id: str, plan: Plan) -> Path:
    """Where a case's segmentation is written: .nii.gz, or .seg.nrrd where structures overlap."""
    return out / f"{case_id}{'.seg.nrrd' if plan.overlapping else '.nii.gz'}"


def predict(model: Model, scans: Sequence[Scan], out: Path, how: How = USUAL) -> PredictReport:
    """Segment scans into `out`, and keep a record of each in predictions.json.

    A scan whose output was made from the same file by the same model is skipped. While the network works on one scan,
    the next is read and prepared, and the one before is written.

    Args:
        model: A loaded model.
        scans: From `find_scans`.
        out: The folder; made if it does not exist.
        how: Mirror images, what is done again, memory.

    Raises:
        FileError: `out` cannot be written (a full disk stops the batch; what is done is kept).
        UsageError: A file in `out` that `predict` did not write would be replaced.
    """
    report = PredictReport(out)
    path = out / RECORD
    records = read_predictions(out)
    earlier = {name: record.get(KEY) for name, record in records.items()}
    targets = {scan.id: output_path(out, scan.id, model.plan) for scan in scans}
    _refuse_to_replace(scans, targets, records, overwrite=how.overwrite)
    work = _Work(model, out, how, records)
    for line in tell_oddities((file, False) for scan in scans for file in scan.files):
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)

    def write(scan: Scan, result: tuple[Prediction, dict[str, Any]]) -> None:
        prediction, record = result
        records[scan.id] = record | {"output": targets[scan.id].name}
        if not how.probabilities:
            _remove(probabilities_path(out, scan.id))
        _remove(targets[scan.id])  # the record is written first, and must not pass an older result off as this one
        _write(path, {scan.id: records[scan.id]})
        write_segmentation(targets[scan.id], prediction.segmentation)

    stages = overlapped(scans, work.read, work.segment, write, alike=work.alike, most=work.at_once)
    for passed in track(stages, "predicting", total=len(scans)):
        name, error = passed.item.id, passed.error
        if isinstance(error, FileError) and passed.read:
            raise error  # what is kept beside the result cannot be written, and the next could not either
        if error is not None:
            report.failed[name] = _as_case_error(name, error)
            continue
        (report.skipped if passed.skipped else report.done).append(name)
        if records[name].get(KEY) == TRAINED:
            report.trained_on.append(name)
        if reasons := records[name].get("review"):
            report.review[name] = reasons
    if any(record.get(KEY) != earlier.get(name) for name, record in records.items() if name in report.skipped):
        _write(path, {name: records[name] for name in report.skipped})
    return report


def _write(path: Path, records: Mapping[str, Any]) -> None:
    """Add these to predictions.json; others may predict other scans into the same folder."""
    with one_at_a_time(path.with_name(LOCK)):
        write_json(path, read_predictions(path.parent) | dict(records))


def _as_case_error(name: str, error: Exception) -> OsteonError:
    """The error of one scan. What is no scan's fault is raised."""
    if isinstance(error, CaseError):
        return error
    if out_of_memory(error):
        hint = "allow less with --memory, close other programs, or use a machine with more memory"
        return memory_error(name, error, hint)
    raise error


Read = tuple[Prepared, Room, dict[str, Any]]
"""A prepared scan, within which limits it is looked at, and what its record says so far."""


@dataclass(frozen=True)
class _Work:
    """The stages of a prediction before it is written."""

    model: Model
    out: Path
    how: How
    records: Mapping[str, Any]

    def read(self, scan: Scan) -> Read | None:
        """Read and prepare a scan; nothing where its output is there, made from the same."""
        began = time.monotonic()
        made_by = {
            "model": self.model.sha256,
            "speed": self.how.speed.name,
            "postprocessing": self.model.postprocessing.told(pixels=self.model.plan.unit == "px"),
        }
        before = self.records.get(scan.id, {})
        there = output_path(self.out, scan.id, self.model.plan).is_file()
        if self.how.probabilities:
            there = there and bool(before.get("probabilities")) and probabilities_path(self.out, scan.id).is_file()
        same = there and not self.how.overwrite and {k: before.get(k) for k in made_by} == made_by
        if same and scan.is_still(before.get("input")):
            if KEY not in before:  # an earlier osteon's
                before |= self._seen(scan, None if scan.case is None else scan.case.content)
            return None
        made_from = {"input": scan.fingerprint(), **made_by}
        volume = scan.load()
        self.model.check(volume, scan.id)
        self.out.mkdir(parents=True, exist_ok=True)
        room = room_for(self.model.plan, volume.geometry, self.how.memory, self.out, scan.id)
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
        return prepared, room, record | {"seconds": time.monotonic() - began}

    def _seen(self, scan: Scan, content: str | None) -> dict[str, str]:
        """What the model had to do with the scan before; nothing where nobody knows."""
        sight = self.model.seen.sight_of(scan.id, content)
        return {} if sight is None else {KEY: sight}

    @property
    def at_once(self) -> int:
        """So many small scans are looked at together: on a GPU, which one does not fill. A CPU gains nothing by it."""
        on_gpu = next(self.model.network.parameters()).device.type != "cpu"
        return self.model.plan.patch.batch if on_gpu else 1

    def alike(self, given: Read) -> tuple[int, ...] | None:
        """Scans of which this is the same are looked at together."""
        prepared, room, _ = given
        return None if room.folder is not None else self.model.alike(prepared)

    def segment(self, given: list[Read]) -> list[tuple[Prediction, dict[str, Any]]]:
        """Look at prepared scans: one, or several that are alike."""
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


def _refuse_to_replace(
    scans: Sequence[Scan], targets: Mapping[str, Path], records: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Raise UsageError where a result would take the place of a scan, or of a file that is no earlier result."""
    inputs = {file.resolve() for scan in scans for file in scan.files}
    for case_id, target in targets.items():
        if target.resolve() in inputs:
            raise UsageError(f"{target}: is a scan itself", hint="choose another output folder")
        if target.exists() and case_id not in records and not overwrite:
            raise UsageError(
                f"{target}: is there already, and {RECORD} beside it does not say that it was predicted",
                hint="choose another output folder, or --overwrite to replace the file",
            )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
