"""A case's report as a page of HTML and as a PDF: both show the same parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from osteon.core.files import atomic_write
from osteon.core.version import __version__
from osteon.dataset.modality import Modality
from osteon.reporting.case_report import CaseReport, format_time, report_dataset_case, report_prediction
from osteon.reporting.parts import Part, PartPicture, PartsReport, report_html, report_pdf

CAPTION, SIDES = "Through where most of the structures show", "the patient's right is on the left"


def case_html(report: CaseReport) -> bytes:
    """The page, in UTF-8. It asks nothing of any network."""
    return report_html(_report(report))


def case_pdf(report: CaseReport) -> bytes:
    """The same on sheets of A4."""
    return report_pdf(_report(report))


FORMS: dict[str, Callable[[CaseReport], bytes]] = {"html": case_html, "pdf": case_pdf}
"""What a report can be written as, by the files' suffix."""


def render_dataset_case(form: str, folder: Path, case_id: str) -> bytes:
    """A dataset's case as `form`, for another process. Raises as `report_dataset_case`."""
    return FORMS[form](report_dataset_case(folder, case_id))


def render_prediction(
    form: str,
    case: str,
    images: Sequence[Path],
    label: Path,
    source: str,
    record: Mapping[str, Any],
    modality: Modality,
    dataset: Path | None = None,
) -> bytes:
    """A prediction as `form`, for another process. Raises as `report_prediction`."""
    return FORMS[form](report_prediction(case, images, label, source, record, modality, dataset))


def write_case_report(report: CaseReport, folder: Path, forms: Sequence[str] = tuple(FORMS)) -> list[Path]:
    """Write FOLDER/CASE.html and CASE.pdf; the files. Raises FileError, DiskFullError."""
    written = []
    for form in forms:
        path = folder / f"{report.case}.{form}"
        content = FORMS[form](report)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
        written.append(path)
    return written


def describe_maker(made: str) -> str:
    """By what a report was made, and when."""
    return f"osteon {__version__}, {format_time(made)}. Research software, no medical device."


def _report(report: CaseReport) -> PartsReport:
    caption = f"{CAPTION}; {SIDES}." if report.sides_known else f"{CAPTION}."
    picture = PartPicture(report.picture, caption, "Slices of the scan with the structures in their colours")
    parts = [
        Part("", pictures=[picture]),
        _review(report),
        _structures(report),
        _measurements(report),
        _levels(report),
        _readers(report),
        _states(report),
        _versions(report),
    ]
    return PartsReport(report.case, describe_maker(report.made), report.facts(), parts)


def _review(report: CaseReport) -> Part:
    return Part("A person should look at it", points=report.review)


def _structures(report: CaseReport) -> Part:
    sure = any(s.confidence is not None for s in report.structures)
    what = "Confidence" if report.calibrated else "Confidence (uncalibrated)"
    rows = []
    for each in report.structures:
        size = "–" if each.size is None else f"{each.size:.4g}"
        state = "not annotated: unknown" if not each.looked_for else "" if each.voxels else "not there"
        confidence = ("–" if each.confidence is None else f"{each.confidence:.2f}",) if sure else ()
        rows.append((each.name, size, str(each.voxels), *confidence, state))
    headings = ("Structure", f"Size, {report.unit}", "Voxels", *((what,) if sure else ()), "")
    lines = ["Confidence is the Dice that the model expects of itself."] if sure and report.calibrated else []
    version = None if report.history is None else report.history.version
    if sure and version is not None and version.kind != "prediction":
        lines.append("It is that of the prediction; the sizes are of the label, which a person has made.")
    widths = (3, 1.3, 1.3, *((1.6,) if sure else ()), 2.6)
    numbers = (1, 2, *((3,) if sure else ()))
    colours = [each.colour for each in report.structures]
    return Part("Structures", lines, [], headings, rows, numbers, colours, widths)


def _measurements(report: CaseReport) -> Part:
    rows = [(f"{m.kind} {m.number}", m.describe(), m.author, format_time(m.at)) for m in report.measurements]
    return Part("Lengths and angles", [], [], ("", "Value", "By", "When"), rows, (1,), [], (2, 1.5, 2, 2.5))


def _levels(report: CaseReport) -> Part:
    rows = [
        (
            level.names,
            f"{level.probability:.0%}",
            "picked by a person" if level.picked else "shown" if level.shown else "",
        )
        for level in report.levels
    ]
    return Part(
        "Names, and the other ways to name it", [], [], ("Names", "Probability", ""), rows, (1,), [], (3, 1.5, 3)
    )


def _readers(report: CaseReport) -> Part:
    rows = [(name, "in neither" if value is None else f"{value:.3f}") for name, value in report.agreement.items()]
    return Part("Agreement of two readers", [], [], ("Structure", "Dice"), rows, (1,), [], (3, 1))


def _states(report: CaseReport) -> Part:
    return Part("States", [], [], ("When", "State", "By", "Note"), report.states(), (), [], (2, 1.3, 1.6, 3))


def _versions(report: CaseReport) -> Part:
    headings = ("", "Kind", "By", "When", "From", "Minutes", "What was done")
    return Part("Versions", [], [], headings, report.versions(), (0, 4, 5), [], (0.4, 1.5, 1.6, 2.2, 0.6, 0.9, 2.4))
