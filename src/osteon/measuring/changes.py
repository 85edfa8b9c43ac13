"""How figures changed between scans of one subject, and by how much in a year."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from math import hypot
from typing import Any

from pydantic import BaseModel, ConfigDict

from osteon.measuring.figure import Figure

DAYS_IN_YEAR = 365.25


class Visit(BaseModel):
    """A scan of a subject."""

    model_config = ConfigDict(frozen=True)

    case: str
    subject: str
    day: date | None = None


class Change(BaseModel):
    """A figure of two scans of a subject.

    Attributes:
        subject: Whose.
        first: The earlier case, and `second` the later one.
        second: See `first`.
        structures: As in `Figure`.
        measure: With its unit.
        change: Second less first.
        low: Lower end of its 95 % interval; None where one of the two has none.
        high: Its upper end.
        days: Between the scans, where both days are known.
        flagged: Whether either figure is.
    """

    model_config = ConfigDict(frozen=True)

    subject: str
    first: str
    second: str
    structures: tuple[str, ...]
    measure: str
    change: float
    low: float | None = None
    high: float | None = None
    days: int | None = None
    flagged: bool = False

    def per_year(self, value: float | None) -> float | None:
        """A change, or an end of its interval, in a year; None where the days are unknown, or the scans are of one."""
        return value * DAYS_IN_YEAR / self.days if value is not None and self.days else None

    def to_row(self) -> dict[str, Any]:
        """As the table has it."""
        return {
            "subject": self.subject,
            "from": self.first,
            "to": self.second,
            "days": self.days,
            "structure": " + ".join(self.structures),
            "measure": self.measure,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "change_per_year": self.per_year(self.change),
            "low_per_year": self.per_year(self.low),
            "high_per_year": self.per_year(self.high),
            "flagged": "yes" if self.flagged else "",
        }


COLUMNS = tuple(Change(subject="", first="", second="", structures=(), measure="", change=0).to_row())


def find_changes(figures: Sequence[Figure], visits: Iterable[Visit]) -> list[Change]:
    """From each scan of a subject to the next, and where there are more than two from the first to the last.

    Scans follow one another by their days; where one is unknown, in the order of `visits`.

    Args:
        figures: Of all cases.
        visits: The cases whose subject is known.
    """
    values: dict[str, dict[tuple[tuple[str, ...], str], Figure]] = {}
    for figure in figures:
        if figure.value is not None:
            values.setdefault(figure.case, {})[figure.structures, figure.name] = figure
    return [
        change
        for one, other in _pairs(visits)
        for key, figure in values.get(one.case, {}).items()
        if (later := values.get(other.case, {}).get(key)) is not None
        for change in [_change(one, other, figure, later)]
    ]


def _pairs(visits: Iterable[Visit]) -> Iterator[tuple[Visit, Visit]]:
    subjects: dict[str, list[Visit]] = {}
    for visit in visits:
        subjects.setdefault(visit.subject, []).append(visit)
    for own in subjects.values():
        ordered = sorted(own, key=lambda visit: visit.day or date.min) if all(visit.day for visit in own) else own
        yield from pairwise(ordered)
        if len(ordered) > 2:
            yield ordered[0], ordered[-1]


def _change(one: Visit, other: Visit, first: Figure, second: Figure) -> Change:
    """Errors of both scans are taken as independent: what they share makes the interval too wide, not too narrow."""
    change = (second.value or 0) - (first.value or 0)
    days = (other.day - one.day).days if one.day and other.day else None
    ends = first.low, first.high, second.low, second.high
    low = high = None
    if all(end is not None for end in ends):
        low = change - hypot(_below(second), _above(first))
        high = change + hypot(_above(second), _below(first))
    return Change(
        subject=one.subject,
        first=one.case,
        second=other.case,
        structures=first.structures,
        measure=first.name,
        change=change,
        low=low,
        high=high,
        days=days,
        flagged=bool(first.flags or second.flags),
    )


def _below(figure: Figure) -> float:
    return (figure.value or 0) - (figure.low or 0)


def _above(figure: Figure) -> float:
    return (figure.high or 0) - (figure.value or 0)


def visits_of(cases: Mapping[str, tuple[str | None, date | None]]) -> list[Visit]:
    """Of the cases whose subject is known."""
    return [Visit(case=case, subject=subject, day=day) for case, (subject, day) in cases.items() if subject]
