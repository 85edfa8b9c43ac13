"""A report of parts, as a page of HTML that asks nothing of any network and as sheets of A4: both show the same.

The PDF is made by matplotlib, which osteon needs anyway (docs/report.md says what was weighed).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from osteon.core.html_pages import render

TEMPLATE = "parts.html.j2"


@dataclass(frozen=True)
class PartPicture:
    """A picture of a part.

    Attributes:
        png: Its file.
        caption: What stands below it.
        alt: What it shows, for who cannot see it.
    """

    png: bytes
    caption: str
    alt: str

    @property
    def base64(self) -> str:
        """As a page holds it."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Part:
    """A part of the report under a title.

    Attributes:
        title: Of it; empty for none.
        lines: Sentences.
        points: Points of a list.
        headings: Of the table; none where there is no table.
        rows: Of the table.
        numbers: Columns that are numbers.
        colours: Of a swatch before each row; none where there is none.
        widths: Of the columns, beside one another.
        pictures: Above the table.
    """

    title: str
    lines: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    headings: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    numbers: tuple[int, ...] = ()
    colours: list[str] = field(default_factory=list)
    widths: tuple[float, ...] = ()
    pictures: Sequence[PartPicture] = ()

    def __bool__(self) -> bool:
        return bool(self.lines or self.points or self.rows or self.pictures)


@dataclass(frozen=True)
class PartsReport:
    """A report.

    Attributes:
        title: Of it.
        about: By what it was made, and when.
        facts: What stands above the parts: names and texts.
        parts: In order; empty ones are left out.
    """

    title: str
    about: str
    facts: Sequence[tuple[str, str]]
    parts: Sequence[Part]


def report_html(report: PartsReport) -> bytes:
    """The page, in UTF-8."""
    return render("osteon.reporting", TEMPLATE, report=report, parts=[part for part in report.parts if part]).encode()


def report_pdf(report: PartsReport) -> bytes:
    """The same on sheets of A4."""
    from osteon.reporting.pdf import PdfSheets, place_pictures

    sheets = PdfSheets(report.title, report.about)
    sheets.heading(report.title, 16)
    sheets.text(report.about, faint=True)
    sheets.space()
    for name, text in report.facts:
        sheets.text(f"{name}: {text}")
    for part in filter(None, report.parts):
        pictures = place_pictures((picture.png, picture.caption) for picture in part.pictures)
        if part.title:
            sheets.heading(part.title, keep=pictures[0].height if pictures else 0)
        for line in part.lines:
            sheets.text(line)
        for point in part.points:
            sheets.text(f"•  {point}", indent=0.012)
        sheets.pictures(pictures)
        if part.rows:
            sheets.table(part.headings, part.rows, part.widths, numbers=part.numbers, colours=part.colours)
    return sheets.close()
