"""The work list of a dataset: how far each case is, who works on it, which is to be labelled next."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from nicegui import ui

from osteon.app.elements import action, attempt, caption, card, refresh_on_change
from osteon.app.item_actions import item_page
from osteon.app.key_dialog import show_keys
from osteon.app.page_cleanup import refreshable
from osteon.app.pages.progress import ProgressPage
from osteon.app.reader_name import name_field
from osteon.app.state import AppState
from osteon.app.suggesting import SuggestCard
from osteon.app.work_actions import ask_note, assign_cases, judge_cases, owner_names, work_rows
from osteon.app.work_table import KEYS, WorkTable, row_cells
from osteon.app.workspace import Item
from osteon.core.text import pluralise
from osteon.dataset.case_history import FOLDER as ANNOTATIONS
from osteon.labelling.suggestion_files import FILE as SUGGESTED
from osteon.labelling.suggestion_files import FOLDER as SUGGESTIONS
from osteon.labelling.work_list import STATES, TWO_READINGS, WorkChoice, WorkRow, choose_rows, count_states

PAGE_ROWS = 200
EVERYBODY, NOBODY = "everybody", "nobody"
MAX_TEXT = 200
STATE_CHOICES: dict[str, str] = {
    "": "all",
    **{str(state): str(state) for state in STATES},
    TWO_READINGS: "two readings to decide",
}


def register(app: AppState) -> None:
    """Put the pages onto the server."""

    @ui.page("/work/{dataset_id}")
    def work(dataset_id: str) -> None:
        item_page(app, "datasets", dataset_id, "/data", lambda item: _WorkPage(app, item))

    @ui.page("/work/{dataset_id}/progress")
    def progress(dataset_id: str) -> None:
        item_page(app, "datasets", dataset_id, "/data", lambda item: ProgressPage(app, item))


class _WorkPage:
    """The list, what it is filtered by, and what can be done with its cases."""

    def __init__(self, app: AppState, item: Item) -> None:
        self.app, self.item = app, item
        self.choice, self.place = WorkChoice(), 0
        self.ticked: set[str] = set()
        self.rows: list[WorkRow] = work_rows(item)
        self.shown: list[WorkRow] = []
        self.ids = {app.case_id(item, row.case): row.case for row in self.rows}
        with ui.element("div").classes("osteon-row"):
            name_field()
            ui.space()
            action("Progress", f"/work/{item.id}/progress", icon="insights")
            action("Dataset", item.url, icon="folder_open", style="quiet")
        SuggestCard(app, item, self._url)
        with card("Cases"):
            self._filters()
            self._buttons()
            self.table = WorkTable(self._sort, self._tick, self._act)
            self.pager()
        self._show()
        refresh_on_change(self._stamp, self.reload)

    def _url(self, case: str) -> str:
        """Of a case's page, from where one goes on in the order shown."""
        order = self.app.keep_order(self.item, [row.case for row in self.shown])
        return f"/look/{self.item.id}/{self.app.case_id(self.item, case)}?order={order}"

    def _stamp(self) -> float:
        """Changes when anybody changes a case, or new suggestions are there."""
        folders = [path for path in (self.item.path / ANNOTATIONS).glob("*") if path.is_dir()]
        files = [path for path in (self.item.path / SUGGESTIONS / SUGGESTED,) if path.is_file()]
        return max((path.stat().st_mtime for path in (*folders, *files)), default=0.0)

    def _filters(self) -> None:
        owners = [EVERYBODY, NOBODY, *owner_names(self.rows)]
        with ui.element("div").classes("osteon-row"):
            state = ui.select(STATE_CHOICES, value="", label="State").props("dense").classes("osteon-filter")
            state.on_value_change(lambda e: self._choose(state=str(e.value)))
            self.owner = ui.select(owners, value=EVERYBODY, label="Owner").props("dense").classes("osteon-filter")
            self.owner.on_value_change(lambda e: self._choose(owner=_owner(str(e.value))))
            text = ui.input("Search").props(f"dense clearable debounce=250 maxlength={MAX_TEXT}")
            text.classes("osteon-filter").on_value_change(lambda e: self._choose(text=str(e.value or "")))
        self.count = caption("").props("role=status")

    def _buttons(self) -> None:
        item, reload = self.item, self.reload
        with ui.element("div").classes("osteon-row"):
            caption("With the ticked cases:")
            action("Approve", lambda: judge_cases(item, self._cases(), "approved", then=reload), icon="check")
            action("Reject", lambda: ask_note(item, self._cases(), reload), icon="block")
            action("Reopen", lambda: judge_cases(item, self._cases(), "open", then=reload), icon="undo")
            self.given = ui.input("Give to", placeholder="nobody").props("dense maxlength=60").classes("osteon-filter")
            action("Assign", lambda: assign_cases(item, self._cases(), str(self.given.value or ""), then=reload))
            action("Keys", partial(show_keys, "Keys in the list", KEYS), icon="keyboard", style="quiet")

    def _cases(self) -> list[str]:
        """The ticked cases that are shown, in the order of the list: what no filter shows is not changed."""
        return [row.case for row in self.shown if row.case in self.ticked]

    def reload(self) -> None:
        """Read the histories again, and show what changed."""
        self.rows = work_rows(self.item)
        self.owner.set_options([EVERYBODY, NOBODY, *owner_names(self.rows)])
        self._show()

    def _choose(self, **changes: Any) -> None:
        self.choice, self.place = replace(self.choice, **changes), 0
        self._show()

    def _sort(self, column: str) -> None:
        newest_first = column in ("time", "changed")
        descending = not self.choice.descending if column == self.choice.sort else newest_first
        self._choose(sort=column, descending=descending)

    def _tick(self, ids: list[str], on: bool) -> None:
        cases = {self.ids[i] for i in ids if i in self.ids}
        self.ticked = self.ticked | cases if on else self.ticked - cases
        self._show()

    async def _act(self, case_id: str, key: str) -> None:
        case = self.ids.get(case_id)
        if case is None:
            return
        if key == "r":
            await attempt(lambda: ask_note(self.item, [case], self.reload))
        else:
            verdict = "approved" if key == "a" else "open"
            await attempt(lambda: judge_cases(self.item, [case], verdict, then=self.reload))

    def _show(self) -> None:
        self.shown = choose_rows(self.rows, self.choice)
        order = self.app.keep_order(self.item, [row.case for row in self.shown])
        start = self.place * PAGE_ROWS
        cells = []
        for row in self.shown[start : start + PAGE_ROWS]:
            case_id = self.app.case_id(self.item, row.case)
            cells.append(row_cells(row, case_id, f"/look/{self.item.id}/{case_id}?order={order}"))
        ticked = {self.app.case_id(self.item, case) for case in self.ticked}
        self.table.show(cells, self.choice, ticked & {cell["id"] for cell in cells})
        counts = ", ".join(f"{count} {state}" for state, count in count_states(self.rows).items() if count)
        shown = f"{len(self.shown)} of " if len(self.shown) < len(self.rows) else ""
        ticks = f" · {len(self._cases())} ticked" if self.ticked else ""
        self.count.set_text(f"{shown}{pluralise(len(self.rows), 'case')}: {counts}{ticks}")
        self.pager.refresh()

    @refreshable
    def pager(self) -> None:
        """Buttons from page to page; nothing where there is one."""
        pages = -(-len(self.shown) // PAGE_ROWS)
        if pages < 2:
            return
        with ui.element("div").classes("osteon-row"):
            caption(f"page {self.place + 1} of {pages}")
            for name, icon, place in (
                ("Previous page", "chevron_left", self.place - 1),
                ("Next page", "chevron_right", self.place + 1),
            ):
                button = action("", partial(self._turn, place), icon=icon, style="quiet", name=name)
                button.set_enabled(0 <= place < pages)

    def _turn(self, place: int) -> None:
        self.place = place
        self._show()


def _owner(chosen: str) -> str | None:
    return None if chosen == EVERYBODY else "" if chosen == NOBODY else chosen
