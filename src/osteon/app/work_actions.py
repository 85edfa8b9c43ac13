"""What people do to cases of a dataset on pages: approve, reject, reopen, assign; one case or many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from nicegui import ui

from osteon.app.elements import attempt, notify
from osteon.app.item_actions import open_dialog
from osteon.app.reader_name import require_name
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import pluralise
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import assign_case, judge_label
from osteon.labelling.suggestion_files import FOLDER as SUGGESTIONS
from osteon.labelling.suggestion_files import read_suggestions
from osteon.labelling.work_list import WorkRow, list_work

MAX_NOTE = 500
DONE = {"approved": "approved", "rejected": "rejected", "open": "open again"}
"""Verdicts, as notices have them."""


def work_rows(item: Item) -> list[WorkRow]:
    """A row for each case of a dataset. Raises OsteonError where a history or the suggestions are damaged."""
    return list_work(Dataset.open(item.path), read_suggestions(item.path / SUGGESTIONS))


async def judge_cases(
    item: Item, cases: Sequence[str], verdict: str, *, note: str = "", then: Callable[[], object] = lambda: None
) -> None:
    """Approve, reject or reopen cases. Raises UsageError where none is given, or nobody's name is known."""
    author = require_name()
    await _change(item, cases, lambda d, case: judge_label(d, case, verdict, note=note, author=author), then)
    notify(f"{pluralise(len(cases), 'case')} {DONE[verdict]}")


async def assign_cases(
    item: Item, cases: Sequence[str], owner: str, *, then: Callable[[], object] = lambda: None
) -> None:
    """Give cases to somebody; empty: to nobody. Raises UsageError where none is given."""
    await _change(item, cases, lambda dataset, case: assign_case(dataset, case, owner.strip()), then)
    notify(f"{pluralise(len(cases), 'case')} for {owner.strip() or 'nobody'}")


async def _change(
    item: Item, cases: Collection[str], change: Callable[[Dataset, str], Any], then: Callable[[], object]
) -> None:
    if not cases:
        raise UsageError("no case is ticked", hint="tick cases in the first column")

    def change_all() -> dict[str, OsteonError]:
        dataset, failed = Dataset.open(item.path), dict[str, OsteonError]()
        for case in cases:
            try:
                change(dataset, case)
            except OsteonError as error:
                failed[case] = error
        return failed

    failed = await asyncio.to_thread(change_all)
    then()
    if failed:
        first = next(iter(failed.values()))
        more = f"{len(failed)} of {len(cases)} cases were left as they were: " if len(cases) > 1 else ""
        raise UsageError(f"{more}{first.message}", hint=first.hint)


def ask_note(item: Item, cases: Sequence[str], then: Callable[[], object]) -> None:
    """A dialog for the reason why cases are rejected."""
    require_name()
    if not cases:
        raise UsageError("no case is ticked", hint="tick cases in the first column")
    title = f"Reject {cases[0]}?" if len(cases) == 1 else f"Reject {len(cases)} cases?"

    async def reject() -> None:
        note = str(box.value or "").strip()[:MAX_NOTE]
        if not note:
            raise UsageError("a case is rejected for a reason", hint="say why, for the others")
        await judge_cases(item, cases, "rejected", note=note, then=then)
        dialog.close()

    with open_dialog(title, "Reject", reject) as dialog:
        box = ui.input("Why").props(f"autofocus maxlength={MAX_NOTE}").classes("full-width").mark("why")
        box.on("keydown.enter", lambda: attempt(reject))


def owner_names(rows: Sequence[WorkRow]) -> list[str]:
    """Everybody who has a case or judged one, by name."""
    names = {name for row in rows for name in (row.owner, row.judged_by) if name}
    return sorted(names, key=str.casefold)
