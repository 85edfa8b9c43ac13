"""`osteon measure`: case after case, what is done stays done.

OUT/measures.csv, measures.json      every figure of every case, in long form
OUT/cohort.csv                       how each measure is distributed, and which cases stand out
OUT/changes.csv                      between scans of one subject
OUT/reductions/<case>/…              where the pieces of broken bones belong (`reduction`)
OUT/.records/figures/<case>.json     the figures of each case, and what they were made from
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from osteon.core.case_records import CaseRecords, has_records
from osteon.core.errors import OsteonError, UsageError
from osteon.core.file_stamps import file_times
from osteon.core.parallel import CASE_BYTES_PER_VOXEL, for_each, worker_count
from osteon.formats.io import describe_header_warnings, read_geometry
from osteon.measuring.case_figures import measure_case
from osteon.measuring.cases import CaseOptions, MeasureCase, find_cases
from osteon.measuring.changes import Change, find_changes, visits_of
from osteon.measuring.cohort import Distribution, distributions
from osteon.measuring.figure import Figure
from osteon.measuring.landmarks import LandmarkMove, move_landmarks
from osteon.measuring.measure import Measure
from osteon.measuring.registry import find_measures
from osteon.measuring.saved_landmarks import read_moves
from osteon.measuring.tables import TABLE, write_tables

RECORD = "figures.json"
VERSION = "3"
"""Raised whenever measuring changes: what was measured before is then measured again."""
MANY_VOXELS = 50e6
"""Of all cases: below, starting processes takes longer than they save."""


class _Record(BaseModel):
    made_from: list[list[str]]
    figures: list[dict[str, Any]]


@dataclass(frozen=True)
class MeasureReport:
    """The outcome.

    Attributes:
        out: The folder of measures.csv and the others.
        figures: Of all cases, in their order.
        cohort: How they are distributed.
        changes: Between scans of one subject.
        done: Cases that were measured now.
        skipped: Cases that were measured before, and are what they were.
        failed: Case → why it could not be measured.
        notes: What a person should know.
    """

    out: Path
    figures: list[Figure] = field(default_factory=list)
    cohort: list[Distribution] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Work:
    """What a process is given."""

    case: MeasureCase
    measures: tuple[str, ...]
    structures: tuple[str, ...] | None
    out: Path
    made_from: list[list[str]]
    reduce: bool


def measure(
    source: Path,
    out: Path,
    *,
    what: Iterable[str] | None = None,
    structures: Collection[str] | None = None,
    options: CaseOptions | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> MeasureReport:
    """Measure label files, a folder of predictions, or the references of a dataset.

    Args:
        source: A file, a folder, or a dataset.
        out: A folder; made if it does not exist.
        what: Names of measures or of their families; None: all.
        structures: Which are measured, by name; None: all.
        options: What is known beside the label files.
        workers: Processes; None decides by the cases' size and the free memory.
        overwrite: Measure again what is done, and replace a measures.csv that osteon has not written.

    Raises:
        FileError: A path does not exist, or `out` cannot be written.
        UsageError: An option makes no sense, or `out` holds a measures.csv of somebody else's.
        DiskFullError: What is done is kept.
    """
    source, out, options = Path(source), Path(out), options or CaseOptions()
    rows = find_measures(what)
    records = CaseRecords(out, RECORD, _Record)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: the output is a folder, and this is a file", hint="name a folder for it")
    if (out / TABLE).exists() and not has_records(out, RECORD) and not overwrite:
        raise UsageError(
            f"{out / TABLE}: is there already, and was not written by osteon measure",
            hint="choose another output folder, or --overwrite to replace the file",
        )
    cases = find_cases(source, options)
    named = tuple(row.name for row in rows)
    report = MeasureReport(out)
    report.notes.extend(describe_header_warnings((case.file, True) for case in cases))
    work, figures = [], dict[str, list[Figure]]()
    for case in cases:
        made_from = _made_from(case, named, structures, options)
        before = None if overwrite else _read(records, case.id)
        if before is not None and before.made_from == made_from:
            figures[case.id] = [Figure.model_validate(one) for one in before.figures]
            report.skipped.append(case.id)
        else:
            chosen = None if structures is None else tuple(structures)
            work.append(_Work(case, named, chosen, out, made_from, options.reduce))
    try:
        count = workers or _worker_count([item.case for item in work])
        for outcome in for_each(_measure, work, "measuring", name=lambda item: str(item.case), workers=count):
            if outcome.error is not None:
                report.failed[outcome.item.case.id] = outcome.error
            elif outcome.result is not None:
                figures[outcome.item.case.id] = outcome.result
    finally:
        records.remove_empty()
    report.done.extend(item.case.id for item in work if item.case.id in figures)
    report.figures.extend(
        figure for case in cases for figure in move_landmarks(figures.get(case.id, ()), _moves(case, report))
    )
    report.cohort.extend(distributions(report.figures))
    report.changes.extend(
        find_changes(report.figures, visits_of({case.id: (case.subject, case.day) for case in cases}))
    )
    write_tables(
        out,
        report.figures,
        report.cohort,
        report.changes,
        cases={
            case.id: {"subject": case.subject, "date": None if case.day is None else case.day.isoformat()}
            for case in cases
        },
        measures=rows,
        failed=report.failed,
    )
    return report


def read_figures(out: Path, case_id: str) -> list[Figure] | None:
    """The figures of a case as they were measured, without moved landmarks; None where it was not measured."""
    found = _read(CaseRecords(out, RECORD, _Record), case_id)
    return None if found is None else [Figure.model_validate(one) for one in found.figures]


def _moves(case: MeasureCase, report: MeasureReport) -> list[LandmarkMove]:
    """Landmarks that people moved."""
    try:
        return read_moves(case.file.parent if case.dataset is None else case.dataset.folder, case.id)
    except OsteonError as error:
        report.notes.append(f"{case.id}: {error.message}: no landmark is moved")
        return []


def _measure(work: _Work) -> list[Figure]:
    """Measure a case and record it."""
    records = CaseRecords(work.out, RECORD, _Record)
    rows: Sequence[Measure] = find_measures(work.measures)
    with records.claim(work.case.id, wait=True):
        figures = measure_case(work.case, rows, work.structures, work.out if work.reduce else None)
        kept = [figure.model_dump(mode="json", exclude_defaults=True) for figure in figures]
        records.write(work.case.id, {"made_from": work.made_from, "figures": kept})
    return figures


def _made_from(
    case: MeasureCase, measures: Sequence[str], structures: Collection[str] | None, options: CaseOptions
) -> list[list[str]]:
    """What tells whether a case would be measured the same again."""
    asked = [VERSION, *measures, "of", *(["all"] if structures is None else sorted(structures))]
    known = [str(case.modality), str(case.channel), str(case.legend), repr(case.annotated), *case.review]
    bones = [f"{bone}={pieces}" for bone, pieces in (options.bones or {}).items()]
    return [
        asked,
        known,
        [*bones, "reduce"] if options.reduce else bones,
        *([str(path), file_times(path)] for path in case.files),
    ]


def _read(records: CaseRecords, case: str) -> _Record | None:
    """What was measured before; None where there is nothing, or nothing that can be read: it is measured again."""
    try:
        found = records.get(case)
    except OsteonError:
        return None
    return None if found is None else _Record.model_validate(found)


def _worker_count(cases: Sequence[MeasureCase]) -> int:
    voxels = [_voxels(case) for case in cases]
    if sum(voxels) < MANY_VOXELS:
        return 1
    return worker_count(len(cases), max(voxels) * CASE_BYTES_PER_VOXEL)


def _voxels(case: MeasureCase) -> int:
    try:
        return math.prod(read_geometry(case.file).shape)
    except OsteonError:
        return 0  # measuring it will say why
