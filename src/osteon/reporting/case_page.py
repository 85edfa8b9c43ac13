"""A case's report as a page of HTML and as a PDF: both show the same parts.

The PDF is made by matplotlib, which osteon needs anyway (docs/report.md says what was weighed).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.files import atomic_write
from osteon.core.html_pages import render
from osteon.core.version import __version__
from osteon.dataset.modality import Modality
from osteon.reporting.case_report import CaseReport, format_time, report_dataset_case, report_prediction

TEMPLATE = "case_report.html.j2"
CAPTION, SIDES = "Through where most of the structures show", "the patient's right is on the left"


@dataclass(frozen=True)
class Part:
    """A part of the report under a title.

    Attributes:
        title: Of it.
        lines: Sentences.
        points: Points of a list.
        headings: Of the table; none where there is no table.
        rows: Of the table.
        numbers: Columns that are numbers.
        colours: Of a swatch before each row; none where there is none.
        widths: Of the columns, beside one another.
    """

    title: str
    lines: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    headings: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    numbers: tuple[int, ...] = ()
    colours: list[str] = field(default_factory=list)
    widths: tuple[float, ...] = ()


def case_html(report: CaseReport) -> bytes:
    """The page, in UTF-8. It asks nothing of any network."""
    picture = base64.b64encode(report.picture).decode("ascii")
    values = {"report": report, "about": describe_maker(report), "picture": picture, "caption": _caption(report)}
    return render("osteon.reporting", TEMPLATE, parts=report_parts(report), **values).encode()


def case_pdf(report: CaseReport) -> bytes:
    """The same on sheets of A4."""
    from osteon.reporting.pdf import PdfSheets

    sheets = PdfSheets(report.case, describe_maker(report))
    sheets.heading(report.case, 16)
    sheets.text(describe_maker(report), faint=True)
    sheets.space()
    for name, text in report.facts():
        sheets.text(f"{name}: {text}")
    sheets.picture(report.picture)
    sheets.text(_caption(report), faint=True)
    for part in report_parts(report):
        sheets.heading(part.title)
        for line in part.lines:
            sheets.text(line)
        for point in part.points:
            sheets.text(f"•  {point}", indent=0.012)
        if part.rows:
            sheets.table(part.headings, part.rows, part.widths, numbers=part.numbers, colours=part.colours)
    return sheets.close()


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


def describe_maker(report: CaseReport) -> str:
    """By what it was made, and when."""
    return f"osteon {__version__}, {format_time(report.made)}. Research software, no medical device."


def _caption(report: CaseReport) -> str:
    return f"{CAPTION}; {SIDES}." if report.sides_known else f"{CAPTION}."


def report_parts(report: CaseReport) -> list[Part]:
    """Its parts below the pictures, in order; those about which nothing is known are left out."""
    parts = [
        _review(report),
        _structures(report),
        _measurements(report),
        _levels(report),
        _readers(report),
        _states(report),
        _versions(report),
    ]
    return [part for part in parts if part.lines or part.points or part.rows]


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
