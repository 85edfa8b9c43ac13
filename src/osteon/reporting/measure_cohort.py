"""The figures of all cases as a report: how each is distributed, which stand out, and how they changed over visits."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from osteon.core.text import pluralise, shorten_list
from osteon.measuring.changes import Visit
from osteon.measuring.cohort import Distribution
from osteon.measuring.figure import Figure
from osteon.measuring.measure import Measure
from osteon.measuring.run import MeasureReport
from osteon.reporting.case_page import describe_maker
from osteon.reporting.charts import COLOURS, FAINT, INK, LINE, STYLE
from osteon.reporting.measure_page import FAMILIES, UNITS, describe_interval, describe_measure, describe_number
from osteon.reporting.parts import Part, PartPicture, PartsReport

MAX_CHARTS = 40
"""A page with more is slow to open; the tables have everything."""
_BARS = 30
"""Structures in a chart."""
_NAMED = 8
"""Subjects in a chart that have a colour and a name of their own."""


def report_cohort(report: MeasureReport, measures: Mapping[str, Measure], visits: Sequence[Visit]) -> PartsReport:
    """The report of all cases together."""
    groups: dict[str, list[Distribution]] = {}
    rows = {figure.name: measures.get(figure.measure) for figure in report.figures}
    for one in report.cohort:
        row = rows.get(one.measure)
        groups.setdefault("other" if row is None else row.family, []).append(one)
    parts, charts = [_outliers(report.cohort)], MAX_CHARTS
    changed = _over_time(report, visits)
    for family, own in groups.items():
        part = _family(FAMILIES.get(family, family.capitalize()), own, report.figures, charts)
        charts -= len(part.pictures)
        parts.append(part)
    cases = len({figure.case for figure in report.figures})
    facts = [("Cases", str(cases)), ("Not measured", shorten_list(list(report.failed)) if report.failed else "")]
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    known = [(name, text) for name, text in facts if text]
    return PartsReport(f"Measures of {pluralise(cases, 'case')}", describe_maker(made), known, [*parts, changed])


def _outliers(cohort: Sequence[Distribution]) -> Part:
    rows = [
        (case, " + ".join(one.structures), _label(one.measure), f"{z:+.1f}")
        for one in cohort
        for case, z in one.outliers.items()
    ]
    rows.sort(key=lambda row: -abs(float(row[3])))
    lines = ["Robust standard deviations from the median, beyond 3.5. They should be looked at."] if rows else []
    headings = ("Case", "Structure", "Measure", "z")
    return Part("Cases that stand out", lines, [], headings, rows, (3,), [], (2, 2.4, 2.4, 0.8))


def _family(title: str, own: Sequence[Distribution], figures: Sequence[Figure], charts: int) -> Part:
    known = [one for one in own if one.cases]
    rows = [
        (
            " + ".join(one.structures),
            _label(one.measure),
            str(one.cases),
            "" if one.mean is None else describe_number(one.mean, one.low, one.high),
            describe_interval(one.low, one.high),
            "" if one.sd is None else describe_number(one.sd, one.low, one.high),
            " · ".join(describe_number(one.quantiles[n], one.low, one.high) for n in (1, 3, 5)),
            str(one.flagged or ""),
            str(one.not_measured or ""),
        )
        for one in known
    ]
    by_measure: dict[str, list[Distribution]] = {}
    for one in known:
        if one.cases > 1:
            by_measure.setdefault(one.measure, []).append(one)
    pictures = [
        PartPicture(_spread(shown, figures), _label(name), f"the cases' {_label(name)}")
        for name, all_ in list(by_measure.items())[:charts]
        for shown in [all_[:_BARS]]
    ]
    figures_of = ("Cases", "Mean", "95 % interval", "SD", "p5 · median · p95", "Flagged", "Missing")
    widths = (2, 2, 0.8, 1, 1.9, 0.9, 2.4, 1, 1)
    return Part(title, [], [], ("Structure", "Measure", *figures_of), rows, tuple(range(2, 9)), [], widths, pictures)


def _spread(shown: Sequence[Distribution], figures: Sequence[Figure]) -> bytes:
    """A line for each structure: box of the quartiles, a dot for each case; flagged ones hollow, outliers named."""

    def draw(axes: Any) -> None:
        for place, one in enumerate(reversed(shown)):
            low, middle, high = (one.quantiles[n] for n in (2, 3, 4))
            axes.barh(place, high - low, left=low, height=0.62, color=COLOURS[0] + "33", edgecolor=COLOURS[0])
            axes.plot([middle, middle], [place - 0.31, place + 0.31], color=COLOURS[0], linewidth=2)
            own = [f for f in figures if f.structures == one.structures and f.name == one.measure]
            for n, figure in enumerate(figure for figure in own if figure.value is not None):
                out = figure.case in one.outliers
                colour, y = COLOURS[4] if out else INK, place + 0.4 * ((n * 0.618) % 1 - 0.5)
                face = "none" if figure.flags else colour
                axes.plot([figure.value], [y], "o", markersize=4, color=colour, markerfacecolor=face)
                if out:
                    axes.annotate(
                        figure.case,
                        (figure.value, y),
                        xytext=(5, -3),
                        textcoords="offset points",
                        fontsize=7,
                        color=colour,
                        parse_math=False,
                    )
        axes.set_yticks(range(len(shown)), [" + ".join(one.structures) for one in reversed(shown)])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel(_label(shown[0].measure))
        axes.grid(axis="x", color=LINE, linewidth=0.6)

    return _png(draw, 0.75 + 0.3 * len(shown))


def _label(measure: str) -> str:
    """`femur length, mm` of `femur_length_mm`."""
    for unit, words in UNITS.items():
        if unit != "ratio" and measure.endswith(f"_{unit}"):
            name = describe_measure(measure.removesuffix(f"_{unit}"))
            return f"{name}, {words}" if words else name
    return describe_measure(measure)


def _over_time(report: MeasureReport, visits: Sequence[Visit]) -> Part:
    """A chart for each figure that somebody has of two scans or more."""
    changed = dict.fromkeys((one.structures, one.measure) for one in report.changes)
    own: dict[tuple[tuple[str, ...], str], list[Figure]] = {key: [] for key in changed}
    for figure in report.figures:
        if figure.value is not None and (figure.structures, figure.name) in own:
            own[figure.structures, figure.name].append(figure)
    pictures = []
    for (structures, measure), figures in list(own.items())[:MAX_CHARTS]:
        about = f"{' + '.join(structures)}: {_label(measure)}"
        words = f"{about} over the visits; bars are 95 % intervals"
        pictures.append(PartPicture(_visits_chart(_label(measure), figures, visits), words, words))
    return Part("Changes over the visits", pictures=pictures)


def _visits_chart(label: str, figures: Sequence[Figure], visits: Sequence[Visit]) -> bytes:
    values = {figure.case: figure for figure in figures}
    subjects: dict[str, list[Visit]] = {}
    for visit in visits:
        if visit.case in values:
            subjects.setdefault(visit.subject, []).append(visit)
    several = {subject: own for subject, own in subjects.items() if len(own) > 1}
    dated = all(visit.day is not None for own in several.values() for visit in own)

    def draw(axes: Any) -> None:
        for number, (subject, own) in enumerate(several.items()):
            ordered = sorted(own, key=lambda visit: visit.day.toordinal() if visit.day and dated else 0)
            start = ordered[0].day
            x = [
                0.008 * number + ((v.day - start).days / 365.25 if dated and v.day and start else n)
                for n, v in enumerate(ordered)
            ]
            found = [values[visit.case] for visit in ordered]
            y = np.array([figure.value for figure in found], dtype=np.float64)
            ends = np.array([[f.low, f.high] if f.low is not None else [f.value, f.value] for f in found], dtype=float)
            colour = COLOURS[number % len(COLOURS)] if len(several) <= _NAMED else FAINT
            axes.errorbar(x, y, np.abs(ends.T - y), color=colour, marker="o", markersize=4, capsize=3, label=subject)
        if len(several) <= _NAMED:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, labelcolor=INK)
        axes.set_xlabel("years since the first scan" if dated else "scan")
        if not dated:
            axes.set_xticks(range(max(map(len, several.values()), default=1)))
        axes.set_ylabel(label)
        axes.grid(color=LINE, linewidth=0.6)

    return _png(draw, 2.8)


def _png(draw: Callable[[Any], None], height: float) -> bytes:
    """A chart of the reports' width."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Sheet

    settings: Any = {"font.size": 8, **STYLE, "text.parse_math": False}
    with rc_context(settings):
        sheet = Sheet(figsize=(7.2, height), layout="constrained", facecolor="white")
        axes = sheet.subplots()
        axes.set_axisbelow(True)
        draw(axes)
        kept = io.BytesIO()
        sheet.savefig(kept, format="png", dpi=120)
    return kept.getvalue()
