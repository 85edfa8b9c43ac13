"""Many scans in, one file for each out; what is done stays done, and a failed scan never stops the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import CaseError, OsteonError, UsageError
from osteon.core.files import is_file, is_folder
from osteon.core.heap import return_freed_memory
from osteon.core.parallel import failure_of
from osteon.core.pipeline import overlapped
from osteon.core.progress import console, track, warn
from osteon.formats.registry import tell_oddities
from osteon.plan.schema import Plan
from osteon.predicting.memory import most_bytes
from osteon.predicting.memory_pool import Allowance
from osteon.predicting.model import Model
from osteon.predicting.records import RECORD, predictions_of
from osteon.predicting.scans import Scan
from osteon.predicting.stages import USUAL, How, Work
from osteon.predicting.training_cases import KEY, TRAINED


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
    """Segment scans into `out`, and keep a record of each (`records`).

    A scan whose output was made from the same file by the same model is skipped. While the network works on one scan,
    the next is read and prepared, and the one before is written. Any number of processes may predict into one folder:
    each scan is worked on by one of them, and what another one has at hand is waited for at the end.

    Args:
        model: A loaded model.
        scans: From `find_scans`.
        out: The folder; made if it does not exist.
        how: Mirror images, what is done again, memory.

    Raises:
        DiskFullError: What is done is kept.
        UsageError: A file in `out` that `predict` did not write would be replaced.
    """
    report = PredictReport(out)
    if how.memory is not None:
        return_freed_memory()
    records = predictions_of(out)
    targets = {scan.id: output_path(out, scan.id, model.plan) for scan in scans}
    work = Work(model, out, how, records, records.read(), targets)
    _refuse_to_replace(scans, work)
    for line in tell_oddities((file, False) for scan in scans for file in scan.files):
        warn(line)
    missing = not out.exists()
    try:
        others = _pass(work, scans, report, len(scans))
        if others:
            console.print(f"{len(others)} of the scans are predicted by another process: waiting for it")
        for scan in track(others, "waiting"):
            work.claim(scan.id, wait=True)
            _pass(work, [scan], report)
    except BaseException:
        with suppress(OsteonError):  # what stopped the work is what counts
            records.sum_up()
        raise
    finally:
        records.tidy()
        if missing:
            with suppress(OSError):  # where something was written it stays
                out.rmdir()
    records.sum_up()
    return report


def _pass(work: Work, scans: Sequence[Scan], report: PredictReport, total: int | None = None) -> list[Scan]:
    """Predict scans, showing progress where a total is given; those that another process works on are returned."""
    others = []
    work.allowance = Allowance(None if work.at_once > 1 else most_bytes(work.how.memory))
    with ExitStack() as ending:
        ending.callback(work.let_go)
        stages = overlapped(scans, work.read, work.segment, work.write, alike=work.alike, most=work.at_once)
        ending.enter_context(closing(stages))
        ending.callback(work.allowance.open)
        for passed in stages if total is None else track(stages, "predicting", total=total):
            name, error = passed.item.id, passed.error
            if isinstance(error, BlockingIOError):
                others.append(passed.item)
            elif error is not None:
                work.allowance.give(name)
                report.failed[name] = _failure(name, error)
            else:
                (report.skipped if passed.skipped else report.done).append(name)
                known = work.known(name)
                if reasons := known.get("review"):
                    report.review[name] = reasons
                if known.get(KEY) == TRAINED:
                    report.trained_on.append(name)
            work.let_go(name)
    return others


def _failure(name: str, error: Exception) -> OsteonError:
    """The error of one scan. What is no scan's fault is raised."""
    if isinstance(error, OsteonError) and not isinstance(error, CaseError):
        raise error
    return failure_of(name, error, "allow less with --memory, close other programs, or use a machine with more memory")


def _refuse_to_replace(scans: Sequence[Scan], work: Work) -> None:
    """Raise UsageError where a result would take the place of a scan, or of a file that is no earlier result."""
    inputs = {file.resolve() for scan in scans for file in scan.files}
    for case_id, target in work.targets.items():
        if target.resolve() in inputs:
            raise UsageError(f"{target}: is a scan itself", hint="choose another output folder")
        if (is_file(target) or is_folder(target)) and not work.how.overwrite and not work.known(case_id):
            raise UsageError(
                f"{target}: is there already, and {RECORD} beside it does not say that it was predicted",
                hint="choose another output folder, or --overwrite to replace the file",
            )
