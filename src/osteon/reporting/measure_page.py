"""What was measured of a case, as a report: figures with intervals, pictures of their lines, what is missing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osteon.core.text import shorten_list
from osteon.measuring.changes import Change
from osteon.measuring.cohort import OUTLIER
from osteon.measuring.figure import Figure, Unit
from osteon.measuring.measure import Measure
from osteon.reporting.case_page import describe_maker
from osteon.reporting.measure_pictures import CasePainter
from osteon.reporting.measure_views import MeasureView, views_of
from osteon.reporting.parts import Part, PartPicture, PartsReport

FAMILIES = {
    "bone": "Sizes",
    "density": "Density and cortex",
    "joint": "Joints",
    "tumour": "Tumours",
    "femur": "Femur",
    "tibia": "Tibia",
    "leg": "Legs",
    "fractures": "Fractures",
    "spine": "Spine",
}
UNITS: dict[Unit, str] = {
    "mm": "mm",
    "px": "px",
    "mm2": "mm²",
    "px2": "px²",
    "cm3": "cm³",
    "deg": "°",
    "hu": "HU",
    "ratio": "",
    "grade": "",
}
_LISTED = 12
_MOST_PLACES = 4


@dataclass(frozen=True)
class MeasuredCase:
    """What a report of a case is made of.

    Attributes:
        id: Of the case.
        source: What was measured, in words.
        scan: The grid, in words.
        figures: Its own.
        measures: The table's rows by name.
        painter: Paints its views.
        z: Structures and measure with its unit → how far it lies from the other cases.
        changes: Since the scan before.
        facts: What else is known: subject, date.
    """

    id: str
    source: str
    scan: str
    figures: Sequence[Figure]
    measures: Mapping[str, Measure]
    painter: CasePainter
    z: Mapping[tuple[tuple[str, ...], str], float]
    changes: Sequence[Change] = ()
    facts: Sequence[tuple[str, str]] = ()


def describe_value(figure: Figure) -> str:
    """`127.3°`, `463.2 mm`; its unit's sign alone where it was not measured."""
    words = UNITS[figure.unit]
    text = "" if figure.value is None else describe_number(figure.value, figure.low, figure.high)
    return f"{text}{'' if words in ('', '°') else ' '}{words}"


def describe_number(value: float, low: float | None, high: float | None) -> str:
    """A figure with as many places as its interval has two digits in; four digits where there is none."""
    if low is None or high is None or high <= low:
        digits = max(4, len(f"{abs(value):.0f}"))
        return np.format_float_positional(value, precision=digits, fractional=False, trim="-")
    text = f"{value:.{_places(high - low)}f}"
    return text.lstrip("-") if float(text) == 0 else text


def describe_interval(low: float | None, high: float | None) -> str:
    """`125.1 to 129.4`; empty where it is unknown."""
    if low is None or high is None:
        return ""
    return f"{describe_number(low, low, high)} to {describe_number(high, low, high)}"


def _places(width: float) -> int:
    return min(max(1 - math.floor(math.log10(width)), 0), _MOST_PLACES)


def describe_measure(name: str) -> str:
    """`neck shaft angle`."""
    return name.replace("_", " ")


def report_measured_case(case: MeasuredCase) -> PartsReport:
    """The report of a case."""
    families = {name: row.family for name, row in case.measures.items()}
    groups: dict[str, list[Figure]] = {}
    for figure in case.figures:
        groups.setdefault(families.get(figure.measure, "other"), []).append(figure)
    parts, first, flat = [], 1, _flat_axis(case)
    for family, own in groups.items():
        known = [figure for figure in own if figure.value is not None]
        views = views_of(known, families, flat=flat, first=first)
        first += sum(len(view.marked) for view in views)
        parts.append(_family(FAMILIES.get(family, family.capitalize()), known, views, case))
    facts = [("Label of", case.source), ("Scan", case.scan), *case.facts]
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    whole = [*parts, _changes(case), _missing(case.figures), _definitions(case)]
    return PartsReport(f"Measures of {case.id}", describe_maker(made), facts, whole)


def _flat_axis(case: MeasuredCase) -> int | None:
    """Of a picture: the world's axis that it has not."""
    grid = case.painter.segmentation.geometry
    thin = grid.singleton_axes
    return int(abs(grid.directions[:, thin[0]]).argmax()) if thin else None


def _family(title: str, figures: Sequence[Figure], views: Sequence[MeasureView], case: MeasuredCase) -> Part:
    numbers: dict[Figure, list[int]] = {}
    for view in views:
        for one in view.marked:
            for figure in one.figures:
                numbers.setdefault(figure, []).append(one.number)
    rows = [
        (
            _range(numbers.get(figure, [])),
            figure.about,
            describe_measure(figure.measure),
            describe_value(figure),
            describe_interval(figure.low, figure.high),
            "; ".join(_flags(figure, case)),
        )
        for figure in figures
    ]
    pictures = [
        PartPicture(case.painter.paint(view), _caption(view), f"{_caption(view)}: {_names(view)}") for view in views
    ]
    headings = ("Lines", "Structure", "Measure", "Value", "95 % interval", "What speaks against it")
    return Part(title, [], [], headings, rows, (3, 4), [], (0.9, 2, 2.4, 1.5, 1.9, 2.6), pictures)


def _flags(figure: Figure, case: MeasuredCase) -> list[str]:
    z = case.z.get((figure.structures, figure.name))
    return [*figure.flags, *([f"stands out among the cases (z {z:+.1f})"] if z and abs(z) > OUTLIER else [])]


def _range(numbers: Sequence[int]) -> str:
    """`3–5`, or `3, 7`."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers))


def _caption(view: MeasureView) -> str:
    first, last = view.marked[0].number, view.marked[-1].number
    lines = f"line {first}" if first == last else f"lines {first} to {last}"
    about = shorten_list(list(view.structures), 4)
    return f"{about}, {view.direction.words}: {lines}"


def _names(view: MeasureView) -> str:
    return "; ".join(f"{one.number} {one.drawing.name}" for one in view.marked)


def _changes(case: MeasuredCase) -> Part:
    rows = [
        (
            " + ".join(one.structures),
            describe_measure(one.measure),
            one.first,
            "" if one.days is None else str(one.days),
            _signed(describe_number(one.change, one.low, one.high)),
            describe_interval(one.low, one.high),
            "yes" if one.flagged else "",
        )
        for one in case.changes
    ]
    headings = ("Structure", "Measure", "Since", "Days", "Change", "95 % interval", "Flagged")
    return Part("Changes", [], [], headings, rows, (3, 4, 5), [], (2, 2.4, 1.6, 0.7, 1.2, 1.9, 0.8))


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


def _missing(figures: Sequence[Figure]) -> Part:
    reasons: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.value is None:
            reasons.setdefault(figure.not_measured, []).append(figure)
    rows = [
        (
            shorten_list(list(dict.fromkeys(figure.about for figure in own)), _LISTED),
            shorten_list(list(dict.fromkeys(describe_measure(figure.measure) for figure in own)), _LISTED),
            reason,
        )
        for reason, own in reasons.items()
    ]
    return Part("Not measured, and why", [], [], ("Structure", "Measures", "Why"), rows, (), [], (2, 2.6, 3))


def _definitions(case: MeasuredCase) -> Part:
    names = dict.fromkeys(figure.measure for figure in case.figures if figure.value is not None)
    found = [case.measures[name] for name in names if name in case.measures]
    rows = [(describe_measure(row.name), row.what, row.source) for row in found]
    return Part("What the figures are", [], [], ("Measure", "What it is", "Source"), rows, (), [], (2, 3.2, 3))
