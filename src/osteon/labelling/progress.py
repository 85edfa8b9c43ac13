"""How far a labelling project is: states over time, people, minutes for a case, what is left, agreement of readers."""

from __future__ import annotations

import math
import time
from calendar import timegm
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from osteon.core.errors import OsteonError
from osteon.core.progress import format_duration, track
from osteon.core.text import pluralise
from osteon.dataset.case_history import NO_HISTORY, CaseHistory, State, read_histories
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_reviews import reader_agreement
from osteon.dataset.manifest import Case
from osteon.labelling.work_list import STATES, TO_DO, WorkRow, count_states, last_change, list_work

DAY_S = 86_400.0
SPEED_DAYS = 14
"""The present speed is that of the last days, since the first approval among them."""
MAX_POINTS = 300
"""Of the chart: more changes are thinned out."""
Counts = dict[State, int]


@dataclass(frozen=True)
class PersonProgress:
    """What one person does.

    Attributes:
        name: Who; empty: nobody, for cases without an owner.
        counts: Cases that belong to this person, by state.
        labelled: Cases of which this person saved a label.
        approved: Cases that this person approved, and that are so still.
        seconds: That this person spent on labels.
        median_seconds: On a case that this person labelled, where time was counted; None where it never was.
    """

    name: str
    counts: Counts
    labelled: int = 0
    approved: int = 0
    seconds: float = 0.0
    median_seconds: float | None = None


@dataclass(frozen=True)
class LabelProgress:
    """How far it is.

    Attributes:
        rows: A row for each case.
        counts: Cases in each state.
        timeline: When a state changed (seconds since 1970), and the cases in each state from then on.
        people: Owners and authors, by name; cases without an owner last.
        median_seconds: That a case took, of those where time was counted; None where it never was.
        remaining: Cases that somebody has still to draw, look at or approve.
        per_day: Cases approved a day lately; None where none was.
        agreement: Mean Dice of each structure between two readers.
        double_read: Cases that two people have read.
        failed: Why readers of a case could not be compared.
    """

    rows: list[WorkRow]
    counts: Counts
    timeline: list[tuple[float, Counts]]
    people: list[PersonProgress]
    median_seconds: float | None = None
    remaining: int = 0
    per_day: float | None = None
    agreement: dict[str, float] = field(default_factory=dict)
    double_read: int = 0
    failed: dict[str, OsteonError] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        """Work that is left if each remaining case takes what a case has taken; None where that is unknown."""
        return None if self.median_seconds is None else self.remaining * self.median_seconds

    @property
    def days_left(self) -> float | None:
        """Days until all are approved by the present speed; None where that is unknown."""
        return None if self.per_day is None else self.remaining / self.per_day

    def sentences(self) -> list[str]:
        """What a person wants to know first, a line each."""
        lines = [f"{pluralise(self.remaining, 'case')} left to draw, to look at or to approve"]
        if self.median_seconds is not None and self.seconds_left is not None:
            took = format_duration(self.median_seconds)
            lines.append(f"a case took {took} (median): {format_duration(self.seconds_left)} of work left")
        if self.per_day is not None and self.days_left is not None:
            days = pluralise(math.ceil(self.days_left), "day")
            lines.append(f"{self.per_day:.1f} cases approved a day lately: {days} left")
        if self.double_read:
            lines.append(f"{pluralise(self.double_read, 'case')} read by two people")
        return lines


def label_progress(dataset: Dataset, *, now: float | None = None) -> LabelProgress:
    """How far the labels of a dataset are.

    Args:
        dataset: Opened now.
        now: Seconds since 1970; None: the present.

    Raises:
        FileError: A history is damaged.
    """
    rows, histories = list_work(dataset), read_histories(dataset.folder)
    cases = dataset.imported.manifest.cases
    seconds = [history.seconds for history in histories.values() if history.seconds]
    dice: dict[str, list[float]] = {}
    failed: dict[str, OsteonError] = {}
    twice = [name for name, history in histories.items() if history.readings or history.open_reading is not None]
    for name in track(twice, "comparing readers"):
        try:
            agreement = reader_agreement(dataset, name) or {}
        except OsteonError as error:
            failed[name] = error
            continue
        for structure, value in agreement.items():
            if value is not None:
                dice.setdefault(structure, []).append(value)
    return LabelProgress(
        rows=rows,
        counts=count_states(rows),
        timeline=timeline(cases, histories),
        people=_people(rows, histories),
        median_seconds=median(seconds) if seconds else None,
        remaining=sum(row.state in TO_DO for row in rows),
        per_day=_per_day(histories, time.time() if now is None else now),
        agreement={s.name: fmean(dice[s.name]) for s in dataset.structures if s.name in dice},
        double_read=len(twice) - len(failed),
        failed=failed,
    )


def timeline(cases: Sequence[Case], histories: Mapping[str, CaseHistory]) -> list[tuple[float, Counts]]:
    """When a state changed, and the cases in each state from then on; empty where nothing ever did.

    Args:
        cases: As dataset.yaml has them.
        histories: By case.
    """
    counts = dict.fromkeys(STATES, 0)
    changes: list[tuple[float, State, State]] = []
    for case in cases:
        history = histories.get(case.id, NO_HISTORY)
        before = NO_HISTORY.state(case)
        counts[before] += 1
        for at, state in _changes(case, history):
            changes.append((at, before, state))
            before = state
    points: list[tuple[float, Counts]] = []
    for at, before, state in sorted(changes, key=lambda change: change[0]):
        counts = counts | {before: counts[before] - 1}
        counts[state] += 1
        points.append((at, counts))
    step = -(-len(points) // MAX_POINTS) or 1
    return points[::-1][::step][::-1]


def _changes(case: Case, history: CaseHistory) -> list[tuple[float, State]]:
    """When the case became what; of histories that were written before this was noted the last state alone."""
    noted: list[tuple[float, State]] = [(seconds_of(change.at), change.state) for change in history.log]
    state, last = history.state(case), last_change(history)
    if last and state != (noted[-1][1] if noted else NO_HISTORY.state(case)):
        noted.append((seconds_of(last), state))
    return noted


def seconds_of(at: str) -> float:
    """Seconds since 1970 of a time as histories have it; 0 where it is none."""
    try:
        return float(timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0


def _per_day(histories: Mapping[str, CaseHistory], now: float) -> float | None:
    approved = [seconds_of(h.judgement.at) for h in histories.values() if h.judged == "approved" and h.judgement]
    lately = [at for at in approved if at > now - SPEED_DAYS * DAY_S]
    return len(lately) / max(1.0, (now - min(lately)) / DAY_S) if lately else None


def _people(rows: Sequence[WorkRow], histories: Mapping[str, CaseHistory]) -> list[PersonProgress]:
    spent: dict[str, dict[str, float]] = {}
    for case, history in histories.items():
        for version in history.versions:
            if version.kind != "prediction" and version.author:
                of = spent.setdefault(version.author, {})
                of[case] = of.get(case, 0.0) + version.seconds
    judges = [row.judged_by for row in rows if row.state == "approved"]
    names = {*spent, *judges, *(row.owner for row in rows)}
    people = []
    for name in sorted(names, key=lambda name: (not name, name.casefold())):
        times = [seconds for seconds in spent.get(name, {}).values() if seconds]
        people.append(
            PersonProgress(
                name=name,
                counts=count_states(row for row in rows if row.owner == name),
                labelled=len(spent.get(name, {})),
                approved=judges.count(name) if name else 0,
                seconds=sum(times),
                median_seconds=median(times) if times else None,
            )
        )
    return people
