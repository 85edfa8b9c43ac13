"""`osteon measure --sr`: a measurement report of each case that comes from a DICOM series, and the SEG it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from osteon.core.errors import CaseError, OsteonError
from osteon.core.labels import Segmentation
from osteon.core.parallel import for_each
from osteon.dataset.checks import present_structures
from osteon.exporting.cases import find_segmentations
from osteon.exporting.dicom_common import save_dicom
from osteon.exporting.dicom_seg import make_seg
from osteon.exporting.dicom_source import DicomSources
from osteon.exporting.dicom_sr import make_sr
from osteon.exporting.export_form import ExportCase
from osteon.measuring.cases import CaseOptions, MeasureCase, find_cases
from osteon.measuring.figure import Figure
from osteon.measuring.registry import all_measures

FOLDER = "dicom"


@dataclass(frozen=True)
class WrittenReports:
    """The outcome.

    Attributes:
        files: What was written, in order: of each case its SEG and its SR.
        failed: Case → why it has none.
        notes: What a person should know.
    """

    files: list[Path] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_measured_srs(
    source: Path,
    out: Path,
    figures: Sequence[Figure],
    options: CaseOptions,
    *,
    series: Path | None = None,
    by_grid: bool = False,
) -> WrittenReports:
    """Write OUT/dicom/CASE_sr.dcm and CASE_seg.dcm of each case that has figures.

    Args:
        source: What was measured: a file, a folder, or a dataset.
        out: The folder of measures.csv.
        figures: Of all cases.
        options: As they were measured with.
        series: A folder below which the scans' DICOM series lie; None: the files that were predicted.
        by_grid: Whether a grid will do where the scan that a case was made on is none of these.
    """
    own: dict[str, list[Figure]] = {}
    for figure in figures:
        own.setdefault(figure.case, []).append(figure)
    measured = {case.id: case for case in find_cases(source, options)}
    cases = [
        replace(case, load=partial(_load, measured[case.id]))
        for case in find_segmentations([source])
        if case.id in own and case.id in measured
    ]
    written, sources = WrittenReports(), DicomSources(series, by_grid=by_grid)
    words = {name: row.what for name, row in all_measures().items()}

    def write(case: ExportCase) -> tuple[list[Path], tuple[str, ...]]:
        placed = sources.place(case)
        present = present_structures(placed.segmentation)
        structures = [s for s in placed.segmentation.structures if s.name in present]
        seg = make_seg(placed, structures, "binary", model=case.model)
        report = make_sr(own[case.id], placed, seg, words=words, model=case.model)
        files = [out / FOLDER / f"{case.id}_{form}.dcm" for form in ("seg", "sr")]
        for path, dataset in zip(files, (seg, report), strict=True):
            save_dicom(path, dataset)
        return files, placed.notes

    for outcome in for_each(write, cases, "writing DICOM SR", name=lambda case: f"case {case.id}"):
        if outcome.error is not None:
            written.failed[outcome.item.id] = _explain(outcome.error)
        elif outcome.result is not None:
            files, notes = outcome.result
            written.files.extend(files)
            written.notes.extend(f"{outcome.item.id}: {note}" for note in notes)
    return written


def _load(case: MeasureCase, **_pieces: bool) -> Segmentation:
    """With the numbers of pieces, asked or not."""
    return case.load()


def _explain(error: OsteonError) -> OsteonError:
    """The option is called otherwise than that of exports."""
    hint = error.hint.replace("--source FOLDER", "--series FOLDER").replace("--source", "--series")
    return CaseError(f"no DICOM SR: {error.message}", hint=hint)
