"""Reports of what was measured: a page for each case, and one of all cases together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import atomic_write
from osteon.core.parallel import for_each
from osteon.core.text import shorten_list
from osteon.core.volume import Volume
from osteon.formats.io import read_scan
from osteon.measuring.cases import CaseOptions, MeasureCase, find_cases
from osteon.measuring.changes import Change, visits_of
from osteon.measuring.figure import Figure
from osteon.measuring.registry import all_measures
from osteon.measuring.run import MeasureReport
from osteon.reporting.case_page import FORMS
from osteon.reporting.measure_cohort import report_cohort
from osteon.reporting.measure_page import MeasuredCase, report_measured_case
from osteon.reporting.measure_pictures import CasePainter
from osteon.reporting.parts import PartsReport, report_html, report_pdf

FOLDER, COHORT = "reports", "cohort"


@dataclass(frozen=True)
class MeasureReports:
    """The outcome.

    Attributes:
        files: What was written, in order.
        failed: Case → why it has no report.
    """

    files: list[Path] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)


def check_forms(forms: Sequence[str]) -> None:
    """Raise UsageError where a report is not written as one of them."""
    if unknown := sorted(set(forms) - set(FORMS)):
        raise UsageError(f"a report is not written as {shorten_list(unknown)}", hint=f"there are {', '.join(FORMS)}")


def write_measure_reports(
    source: Path, report: MeasureReport, options: CaseOptions, forms: Sequence[str]
) -> MeasureReports:
    """Write OUT/reports/CASE.html and CASE.pdf, and OUT/cohort.html and cohort.pdf of all cases.

    Args:
        source: What was measured.
        report: What came out.
        options: As it was measured with.
        forms: `html`, `pdf`.

    Raises:
        UsageError: There is no such form.
        FileError, DiskFullError: The folder cannot be written.
    """
    check_forms(forms)
    measures, written = all_measures(), MeasureReports()
    cases = [case for case in find_cases(source, options) if case.id not in report.failed]
    figures: dict[str, list[Figure]] = defaultdict(list)
    changes: dict[str, list[Change]] = defaultdict(list)
    z: dict[str, dict[tuple[tuple[str, ...], str], float]] = defaultdict(dict)
    for figure in report.figures:
        figures[figure.case].append(figure)
    for change in report.changes:
        changes[change.second].append(change)
    for one in report.cohort:
        for case_id, value in one.z.items():
            z[case_id][one.structures, one.measure] = value

    def write(case: MeasureCase) -> list[Path]:
        segmentation = case.load()
        grid = segmentation.geometry
        image = _picture(case) if grid.singleton_axes else None
        shape, edges = "×".join(map(str, grid.shape)), "×".join(f"{edge:.3g}" for edge in grid.spacing_mm)
        facts = [("Subject", case.subject or ""), ("Date", "" if case.day is None else case.day.isoformat())]
        measured = MeasuredCase(
            case.id,
            str(source),
            f"{shape} voxels of {edges} {grid.unit}",
            figures[case.id],
            measures,
            CasePainter(segmentation, image, case.modality),
            z[case.id],
            changes[case.id],
            [(name, text) for name, text in facts if text],
        )
        return _write(report_measured_case(measured), report.out / FOLDER, case.id, forms)

    for outcome in for_each(write, cases, "writing reports", name=str):
        if outcome.error is not None:
            written.failed[outcome.item.id] = outcome.error
        else:
            written.files.extend(outcome.result or ())
    visits = visits_of({case.id: (case.subject, case.day) for case in cases})
    if len(cases) > 1:
        written.files.extend(_write(report_cohort(report, measures, visits), report.out, COHORT, forms))
    return written


def _write(report: PartsReport, folder: Path, name: str, forms: Sequence[str]) -> list[Path]:
    files = []
    for form in (form for form in FORMS if form in forms):
        path = folder / f"{name}.{form}"
        content = report_html(report) if form == "html" else report_pdf(report)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
        files.append(path)
    return files


def _picture(case: MeasureCase) -> Volume | None:
    """The picture that was measured; None where it is not known, or cannot be read: its outlines are shown alone."""
    try:
        if case.dataset is not None and case.entry is not None:
            return case.dataset.load_image(case.entry)
        return read_scan(case.scan) if case.scan else None
    except OsteonError:
        return None
