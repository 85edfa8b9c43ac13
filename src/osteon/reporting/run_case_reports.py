"""Reports of cases written into a folder: of a dataset with what people did to its labels, or of predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError, UsageError
from osteon.core.parallel import case_failure
from osteon.core.progress import track
from osteon.core.text import shorten_list
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import read_manifest
from osteon.dataset.modality import Modality
from osteon.evaluating.pairing import find_label_files
from osteon.predicting.records import read_predictions
from osteon.reporting.case_page import FORMS, write_case_report
from osteon.reporting.case_report import CaseReport, report_dataset_case, report_prediction


@dataclass(frozen=True)
class CaseReports:
    """The outcome.

    Attributes:
        out: The folder.
        written: Case id → its files.
        failed: The error of each case whose scan or label could not be read.
    """

    out: Path
    written: dict[str, list[Path]] = field(default_factory=dict)
    failed: dict[str, OsteonError] = field(default_factory=dict)


def report_cases(
    folder: Path,
    cases: Sequence[str] = (),
    out: Path | None = None,
    *,
    predictions: Path | None = None,
    modality: Modality = "other",
    forms: Sequence[str] = tuple(FORMS),
) -> CaseReports:
    """Write a report of each case; the others go on where one fails.

    Args:
        folder: A dataset, or predictions as `osteon predict` writes them.
        cases: Their ids; all where there is none.
        out: Where reports go; None: `reports` in the folder.
        predictions: Of a dataset: a folder of predictions of its cases, for confidences, reasons and names.
        modality: Of predictions: decides the window of grey; a dataset knows its own.
        forms: `html`, `pdf`.

    Raises:
        UsageError: There is no such case or form, or the folder is neither.
        FileError: The folder cannot be read.
        DiskFullError: The disk is full; what is written stays.
    """
    if unknown := sorted(set(forms) - set(FORMS)):
        raise UsageError(f"a report is not written as {shorten_list(unknown)}", hint=f"there are {', '.join(FORMS)}")
    makers = _of_dataset(folder, predictions) if (folder / MANIFEST).is_file() else _of_predictions(folder, modality)
    if missing := [case for case in cases if case not in makers]:
        raise UsageError(f"{folder}: no case is called {shorten_list(missing)}", hint="check the spelling of the ids")
    reports = CaseReports(out or folder / "reports")
    for case in track(list(cases or makers), "writing reports"):
        try:
            reports.written[case] = write_case_report(makers[case](), reports.out, forms)
        except (OsteonError, OSError, MemoryError) as error:
            reports.failed[case] = case_failure(case, error)
    return reports


def _of_dataset(folder: Path, predictions: Path | None) -> dict[str, Callable[[], CaseReport]]:
    records = {} if predictions is None else read_predictions(predictions)

    def maker(case: str) -> Callable[[], CaseReport]:
        return lambda: report_dataset_case(folder, case, records.get(case))

    return {case.id: maker(case.id) for case in read_manifest(folder).cases}


def _of_predictions(folder: Path, modality: Modality) -> dict[str, Callable[[], CaseReport]]:
    records = read_predictions(folder)
    if not records:
        raise UsageError(
            f"{folder}: is no dataset, and nobody wrote down which scans its labels are of",
            hint="give a folder with dataset.yaml, or one that `osteon predict` has written",
        )

    def maker(case: str, path: Path) -> Callable[[], CaseReport]:
        record = records.get(case, {})
        return lambda: report_prediction(case, scan_files(case, record), path, f"{folder}", record, modality)

    return {case: maker(case, path) for case, path in find_label_files(folder, "the folder").items()}


def scan_files(case: str, record: Mapping[str, Any]) -> list[Path]:
    """The files of the scan that a prediction is of. Raises UsageError where its record names none."""
    files = [Path(entry[0]) for entry in record.get("input", [])]
    if not files:
        raise UsageError(f"{case}: it is not recorded which scan it is of", hint="predict it again")
    return files
