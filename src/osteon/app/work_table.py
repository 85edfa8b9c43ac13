"""The table of the work list: rows that are sorted, ticked and gone through by keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from osteon.core.progress import format_duration
from osteon.dataset.case_history import State
from osteon.labelling.work_list import WorkChoice, WorkRow

COLUMNS = {
    "case": "Case",
    "state": "State",
    "owner": "Owner",
    "time": "Time",
    "changed": "Last change",
    "rank": "Suggested, and why",
    "notes": "Notes",
}
"""Headings; all but notes are sorted by."""
STATE_COLOURS: dict[State, str] = {
    "unlabelled": "osteon-faint",
    "predicted": "osteon-busy",
    "labelled": "osteon-faint",
    "corrected": "osteon-busy",
    "approved": "osteon-good",
    "rejected": "osteon-bad",
}
KEYS = (
    ("↓ ↑, j k", "next, previous case"),
    ("Enter", "open it"),
    ("x", "tick it"),
    ("a", "approve it"),
    ("r", "reject it, with a reason"),
    ("o", "reopen it"),
)
"""What each key does in the list, for people; docs/app.md has the same table."""


class WorkTable(Element, component="work_table.js"):
    """A page of the list.

    Args:
        on_sort: Called with the column by which rows are to be sorted.
        on_tick: Called with ids of rows, and whether they are ticked.
        on_act: Called with a row's id and a key: `a`, `r` or `o`.
    """

    def __init__(
        self,
        on_sort: Callable[[str], object],
        on_tick: Callable[[list[str], bool], object],
        on_act: Callable[[str, str], object],
    ) -> None:
        super().__init__()
        columns = [{"name": name, "title": title, "sorts": name != "notes"} for name, title in COLUMNS.items()]
        self._props.update({"columns": columns, "rows": [], "sort": "case", "descending": False, "ticked": []})

        def sort(event: GenericEventArguments) -> None:
            if event.args in COLUMNS and event.args != "notes":
                on_sort(str(event.args))

        def tick(event: GenericEventArguments) -> None:
            on_tick([str(row) for row in event.args["ids"]], bool(event.args["on"]))

        self.on("sort", sort)
        self.on("tick", tick)
        self.on("act", lambda event: on_act(str(event.args["id"]), str(event.args["key"])))

    def show(self, rows: Sequence[dict[str, Any]], choice: WorkChoice, ticked: Collection[str]) -> None:
        """Show rows (`row_cells`), how they are sorted, and which are ticked."""
        shown = {"rows": list(rows), "sort": choice.sort, "descending": choice.descending, "ticked": sorted(ticked)}
        self._props.update(shown)
        self.update()


def row_cells(row: WorkRow, case_id: str, url: str) -> dict[str, Any]:
    """A row as the table shows it."""
    return {
        "id": case_id,
        "name": row.case,
        "href": url,
        "state": row.state,
        "colour": STATE_COLOURS[row.state],
        "owner": row.owner,
        "time": format_duration(row.seconds) if row.seconds else "",
        "changed": row.changed.replace("T", " ").removesuffix("Z")[:16],
        "rank": row.rank,
        "reasons": "; ".join(row.reasons),
        "held": "final test" if row.held_out else "",
        "notes": describe_notes(row),
    }


def describe_notes(row: WorkRow) -> list[str]:
    """What else is to be known of a case, a line each."""
    lines = [row.note] if row.note else []
    if row.two_readings:
        lines.append("two readings: which of them counts?")
    if row.not_looked_for:
        lines.append(f"not annotated: {', '.join(row.not_looked_for)}")
    return lines
