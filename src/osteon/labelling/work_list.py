"""How far each case of a dataset is, as people who share the work see it: a row for each case, filtered and sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from osteon.core.file_names import natural_key
from osteon.core.spreadsheets import to_csv
from osteon.dataset.case_history import NO_HISTORY, CaseHistory, State, read_histories
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.labelling.ranking import Suggestion

STATES: tuple[State, ...] = get_args(State)
TO_DO: tuple[State, ...] = ("unlabelled", "predicted", "corrected")
"""States in which somebody has to draw, look or approve. What was imported with a label needs none of it."""
TWO_READINGS = "two readings"
"""Beside the states a filter of its own: cases of which nobody has said which of two readings counts."""
COLUMNS = "case,state,owner,seconds,versions,changed,judged_by,judged_at,note,not_looked_for,two_readings,rank,reasons"


@dataclass(frozen=True)
class WorkRow:
    """A case of the list.

    Attributes:
        case: Its id.
        state: How far it is.
        owner: Who works on it; empty: nobody.
        seconds: That people spent on it.
        versions: How many were saved.
        changed: When anything was done last: `2026-01-31T14:05:00Z`; empty: never.
        judged_by: Who approved or rejected it.
        judged_at: When.
        note: Why it was rejected, or what is to be done.
        not_looked_for: Structures of its label that nobody looked for: unknown there.
        two_readings: Whether there is a second reading, and nobody has said which of the two counts.
        rank: Its place in the order of `osteon suggest`; None where it is not in it.
        reasons: For that place, in words.
        held_out: Whether it is kept for the final test.
    """

    case: str
    state: State
    owner: str = ""
    seconds: float = 0.0
    versions: int = 0
    changed: str = ""
    judged_by: str = ""
    judged_at: str = ""
    note: str = ""
    not_looked_for: tuple[str, ...] = ()
    two_readings: bool = False
    rank: int | None = None
    reasons: tuple[str, ...] = ()
    held_out: bool = False


SORT_KEYS: dict[str, Callable[[WorkRow], Any]] = {
    "case": lambda row: natural_key(row.case),
    "state": lambda row: STATES.index(row.state),
    "owner": lambda row: row.owner.casefold() or None,
    "time": lambda row: row.seconds or None,
    "changed": lambda row: row.changed or None,
    "rank": lambda row: row.rank,
}
"""What a list can be sorted by. Rows for which that is None come last; equal ones are in the order of their cases."""


@dataclass(frozen=True)
class WorkChoice:
    """Which cases are shown, and in which order.

    Attributes:
        state: One of `STATES`, or `TWO_READINGS`; empty: all.
        owner: Whose; empty: nobody's; None: all.
        text: Some of the case's id, owner, note or reasons; capitals count as small letters.
        sort: A key of `SORT_KEYS`.
        descending: The last first.
    """

    state: str = ""
    owner: str | None = None
    text: str = ""
    sort: str = "case"
    descending: bool = False


def list_work(dataset: Dataset, suggestions: Sequence[Suggestion] = ()) -> list[WorkRow]:
    """A row for each case, in the order of dataset.yaml. Raises FileError where a history is damaged."""
    histories, ranked = read_histories(dataset.folder), {each.case: each for each in suggestions}
    names = [structure.name for structure in dataset.structures]
    return [
        _row(case, dataset.case(case.id), histories.get(case.id, NO_HISTORY), ranked.get(case.id), names)
        for case in dataset.imported.manifest.cases
    ]


def choose_rows(rows: Iterable[WorkRow], choice: WorkChoice) -> list[WorkRow]:
    """Those that are wanted, in their order."""
    wanted = sorted((row for row in rows if _matches(row, choice)), key=SORT_KEYS["case"])
    key = SORT_KEYS[choice.sort]
    known = sorted((row for row in wanted if key(row) is not None), key=key, reverse=choice.descending)
    return known + [row for row in wanted if key(row) is None]


def count_states(rows: Iterable[WorkRow]) -> dict[State, int]:
    """How many cases are in each state."""
    counts = dict.fromkeys(STATES, 0)
    for row in rows:
        counts[row.state] += 1
    return counts


def work_csv(rows: Iterable[WorkRow]) -> str:
    """The rows as a table for spreadsheets."""
    names = COLUMNS.split(",")
    return to_csv([names, *([_cell(getattr(row, name)) for name in names] for row in rows)])


def last_change(history: CaseHistory) -> str:
    """When anything was done last; empty where nothing was."""
    noted = [*(v.at for v in history.versions), *(c.at for c in history.log), *(r.at for r in history.readings)]
    return max(noted, default="")


def _row(case: Case, now: Case, history: CaseHistory, suggestion: Suggestion | None, names: Sequence[str]) -> WorkRow:
    """The row of a case as it was imported, and as it is now."""
    judged = history.judgement
    looked_for = None if now.segmentation is None else now.annotated
    waits = suggestion is not None and history.state(case) in TO_DO
    return WorkRow(
        case=case.id,
        state=history.state(case),
        owner=history.owner,
        seconds=history.seconds,
        versions=len(history.versions),
        changed=last_change(history),
        judged_by="" if judged is None else judged.by,
        judged_at="" if judged is None else judged.at,
        note=history.note,
        not_looked_for=() if looked_for is None else tuple(name for name in names if name not in looked_for),
        two_readings=history.open_reading is not None,
        rank=suggestion.rank if suggestion is not None and waits else None,
        reasons=tuple(suggestion.reasons) if suggestion is not None and waits else (),
        held_out=case.held_out,
    )


def _matches(row: WorkRow, choice: WorkChoice) -> bool:
    if choice.state and not (row.two_readings if choice.state == TWO_READINGS else row.state == choice.state):
        return False
    if choice.owner is not None and row.owner != choice.owner:
        return False
    searched = "\n".join((row.case, row.owner, row.note, *row.reasons)).casefold()
    return choice.text.casefold().strip() in searched


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "; ".join(value) if isinstance(value, tuple) else value
