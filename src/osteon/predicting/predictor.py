"""Many scans in, one file for each out; what is done stays done, and a failed scan never stops the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from pathlib import Path

from osteon.core.errors import CaseError, OsteonError, UsageError
from osteon.core.files import is_file, is_folder
from osteon.core.heap import return_freed_memory
from osteon.core.parallel import active_backend, case_failure
from osteon.core.pipeline import PipelineResult, run_pipeline
from osteon.core.progress import track
from osteon.formats.io import describe_header_warnings
from osteon.plan.schema import Plan
from osteon.predicting.chunks import Chunk, limit_memory, predict_chunks
from osteon.predicting.memory import MemoryPool, available_bytes
from osteon.predicting.model import Model
from osteon.predicting.records import RECORD, prediction_records
from osteon.predicting.scans import Scan
from osteon.predicting.sequence import check_first_level
from osteon.predicting.stages import DEFAULTS, PredictOptions, PredictStages
from osteon.predicting.training_cases import KEY, TRAINED

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictReport:
    """The outcome of a prediction: ids by what happened to them; the files lie in `out`.

    Attributes:
        out: The folder.
        done: Predicted now.
        skipped: Predicted before.
        failed: The error of each that could not be segmented.
        review: Reasons why a person should look at a result, of all that are done.
        trained_on: Those of them that the model was trained on: its results there do not apply to new scans.
    """

    out: Path
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    review: dict[str, list[str]] = field(default_factory=dict)
    trained_on: list[str] = field(default_factory=list)

    def add(self, part: PredictReport) -> None:
        """Add the outcome of some of the scans."""
        self.done.extend(part.done)
        self.skipped.extend(part.skipped)
        self.failed.update(part.failed)
        self.review.update(part.review)
        self.trained_on.extend(part.trained_on)

    def sorted(self, order: Mapping[str, int]) -> PredictReport:
        """The same, with scans in this order."""
        by_id = order.__getitem__
        failed = {name: self.failed[name] for name in sorted(self.failed, key=by_id)}
        review = {name: self.review[name] for name in sorted(self.review, key=by_id)}
        done, skipped, trained_on = (sorted(names, key=by_id) for names in (self.done, self.skipped, self.trained_on))
        return PredictReport(self.out, done, skipped, failed, review, trained_on)


def output_path(out: Path, case_id: str, plan: Plan) -> Path:
    """Where a case's segmentation is written: .nii.gz, or .seg.nrrd where structures overlap."""
    return out / f"{case_id}{'.seg.nrrd' if plan.overlapping else '.nii.gz'}"


def predict(
    model: Model,
    scans: Sequence[Scan],
    out: Path,
    options: PredictOptions = DEFAULTS,
    *,
    load: Callable[[], Model] | None = None,
) -> PredictReport:
    """Segment scans into `out`, with a record of each (`records`).

    A scan whose output was made from the same file by the same model is skipped. While the network works on one scan,
    the next is read and prepared, and the one before is written. Any number of processes may predict into one folder:
    each scan is predicted by one of them; those that others are at are waited for at the end.

    Args:
        model: A loaded model.
        scans: From `find_scans`.
        out: The folder; made if it does not exist.
        options: Speed, what is done again, memory.
        load: How a worker loads the model, where a cluster is in use (`core.parallel.use_backend`); workers predict
            then, and not this process.

    Raises:
        DiskFullError: What is done is kept.
        UsageError: A file in `out` that `predict` did not write would be replaced; or no body of the model's sequence
            has the name of `options.first_level`; or a cluster is in use and nothing says how to load the model there.
    """
    if active_backend() is not None and load is None:
        raise UsageError("workers of a cluster load the model themselves", hint="give the model's folder")
    check_first_level(model.plan, options.first_level)
    report = PredictReport(out)
    if options.memory is not None:
        return_freed_memory()
    records = prediction_records(out)
    targets = {scan.id: output_path(out, scan.id, model.plan) for scan in scans}
    stages = PredictStages(model, out, options, records, records.read(), targets)
    _refuse_to_replace(scans, stages)
    for line in describe_header_warnings((file, False) for scan in scans for file in scan.files):
        logger.warning(line)
    missing = not out.exists()
    run = partial(_run_pass, stages) if load is None or active_backend() is None else partial(_run_chunks, stages, load)
    try:
        others = run(scans, report)
        if others:
            logger.info(f"{len(others)} of the scans are predicted by another process: waiting for it")
            run(others, report, wait=True)
    except BaseException:
        with suppress(OsteonError):  # what stopped the work is what counts
            records.write_summary()
        raise
    finally:
        records.remove_empty()
        if missing:
            with suppress(OSError):  # where something was written it stays
                out.rmdir()
    records.write_summary()
    return report


def _run_chunks(
    stages: PredictStages,
    load: Callable[[], Model],
    scans: Sequence[Scan],
    report: PredictReport,
    *,
    wait: bool = False,
) -> list[Scan]:
    """As `_run_pass`, on a cluster."""
    work = partial(_predict_chunk, out=stages.out, options=stages.options)
    part, others, order = PredictReport(stages.out), set[str](), {scan.id: n for n, scan in enumerate(scans)}

    def ended() -> Iterator[tuple[str, OsteonError | None]]:
        for outcome in predict_chunks(work, load, stages.model, scans, dict(stages.before), wait=wait):
            if outcome.error is not None:
                part.failed[outcome.item.scans[0].id] = outcome.error
            elif outcome.result is not None:
                part.add(outcome.result[0])
                others.update(outcome.result[1])
            yield from ((scan.id, part.failed.get(scan.id)) for scan in outcome.item.scans)

    for _ in track(ended(), "waiting" if wait else "predicting", total=len(scans), error_of=itemgetter(1)):
        pass
    report.add(part.sorted(order))
    return [scan for scan in scans if scan.id in others]


def _predict_chunk(
    model: Model, chunk: Chunk, *, out: Path, options: PredictOptions
) -> tuple[PredictReport, list[str]]:
    """What becomes of a chunk in a worker, and the ids of scans that another process is predicting."""
    options = replace(options, memory=limit_memory(model, options.memory))
    targets = {scan.id: output_path(out, scan.id, model.plan) for scan in chunk.scans}
    stages = PredictStages(model, out, options, prediction_records(out), chunk.before, targets)
    report = PredictReport(out)
    return report, [scan.id for scan in _run_pass(stages, chunk.scans, report, wait=chunk.wait)]


def _run_pass(stages: PredictStages, scans: Sequence[Scan], report: PredictReport, *, wait: bool = False) -> list[Scan]:
    """Predict scans; returns those that another process is predicting, unless it is to `wait` for them."""
    if not wait:
        return _run_pipeline(stages, scans, report, len(scans))
    for scan in track(scans, "waiting"):
        stages.claim(scan.id, wait=True)
        _run_pipeline(stages, [scan], report)
    return []


def _run_pipeline(
    stages: PredictStages, scans: Sequence[Scan], report: PredictReport, total: int | None = None
) -> list[Scan]:
    """Predict scans, showing progress where a total is given; returns those that another process is predicting."""
    others = []
    stages.pool = MemoryPool(None if stages.batch_size > 1 else available_bytes(stages.options.memory))
    with ExitStack() as ending:
        ending.callback(stages.release)
        results = run_pipeline(
            scans, stages.read, stages.segment, stages.write, batch_key=stages.batch_key, batch_size=stages.batch_size
        )
        ending.enter_context(closing(results))
        ending.callback(stages.pool.lift_limit)
        shown = results if total is None else track(results, "predicting", total=total, error_of=_shown_error)
        for passed in shown:
            name, error = passed.item.id, passed.error
            if isinstance(error, BlockingIOError):
                others.append(passed.item)
            elif error is not None:
                stages.pool.release(name)
                report.failed[name] = _failure(name, error)
            else:
                (report.skipped if passed.skipped else report.done).append(name)
                record = stages.recorded(name)
                if reasons := record.get("review"):
                    report.review[name] = reasons
                if record.get(KEY) == TRAINED:
                    report.trained_on.append(name)
            stages.release(name)
    return others


def _shown_error(passed: PipelineResult[Scan]) -> Exception | None:
    return None if isinstance(passed.error, BlockingIOError) else passed.error


def _failure(name: str, error: Exception) -> OsteonError:
    """The error of one scan. What is no scan's fault is raised."""
    if isinstance(error, OsteonError) and not isinstance(error, CaseError):
        raise error
    return case_failure(
        name, error, "allow less with --memory, close other programs, or use a machine with more memory"
    )


def _refuse_to_replace(scans: Sequence[Scan], stages: PredictStages) -> None:
    """Raise UsageError where a result would take the place of a scan, or of a file that is no earlier result."""
    inputs = {file.resolve() for scan in scans for file in scan.files}
    for case_id, target in stages.targets.items():
        if target.resolve() in inputs:
            raise UsageError(f"{target}: is a scan itself", hint="choose another output folder")
        if (is_file(target) or is_folder(target)) and not stages.options.overwrite and not stages.recorded(case_id):
            raise UsageError(
                f"{target}: is there already, and {RECORD} beside it does not say that it was predicted",
                hint="choose another output folder, or --overwrite to replace the file",
            )
