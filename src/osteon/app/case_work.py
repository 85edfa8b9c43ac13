"""What people say of a case's label, on its page: state, owner, structures looked for, which of two readings counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nicegui import ui

from osteon.app.elements import action, caption, card, notify
from osteon.app.page_cleanup import refreshable
from osteon.app.reader_name import name_field, require_name
from osteon.app.scenes import LabelSource
from osteon.app.state import AppState
from osteon.app.work_actions import ask_note, assign_cases, judge_cases
from osteon.app.work_table import STATE_COLOURS
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError, UsageError
from osteon.core.progress import format_duration
from osteon.core.text import shorten_list
from osteon.dataset.case_history import CaseHistory, LabelVersion, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_reviews import agreement_between, set_annotated, settle_reading
from osteon.dataset.label_versions import version_path
from osteon.dataset.manifest import Case

READING_MODES = {
    "side": "Side by side",
    "outline": "Outlines over the image",
    "difference": "Where they differ",
    "first": "The label that counts alone",
}


class CaseWork:
    """The cards above the viewer of a dataset's case.

    Args:
        app: Where volumes are read.
        item: The dataset.
        dataset: It, opened.
        case_id: The case.
        step: Goes to the next (1) or the previous (-1) case.
    """

    def __init__(self, app: AppState, item: Item, dataset: Dataset, case_id: str, step: Callable[[int], None]) -> None:
        self.app, self.item, self.dataset, self.case_id, self.step = app, item, dataset, case_id, step
        self.boxes: dict[str, ui.checkbox] = {}
        with card():
            self.summary()
            with ui.element("div").classes("osteon-row"):
                name_field()
                action("Approve", self._approve, icon="check", style="main").tooltip("Shift A: and go to the next")
                action("Reject", self._reject, icon="block").tooltip("Shift R")
                action("Reopen", lambda: self._judge("open"), icon="undo")
                self.owner = ui.input("Owner", placeholder="nobody").props("dense maxlength=60")
                self.owner.set_value(self.history.owner)
                action("Assign", self._assign)
                action("To me", lambda: self.owner.set_value(require_name()), style="quiet")
            if dataset.structures:
                self._looked_for()

    @property
    def history(self) -> CaseHistory:
        """As it is on disk now."""
        return read_history(self.dataset.folder, self.case_id)

    @property
    def case(self) -> Case:
        """As it was imported."""
        return self.dataset.imported.case(self.case_id)

    def label(self) -> LabelSource | None:
        """The label that is looked at."""
        return shown_label(self.dataset, self.case_id)

    def annotated(self) -> set[str]:
        """The structures that somebody looked for in it."""
        version, names = self.history.version, {s.name for s in self.dataset.structures}
        known = self.case.annotated if version is None else version.annotated
        return names if known is None else set(known)

    @refreshable
    def summary(self) -> None:
        """State, owner, time, notes."""
        history = self.history
        state, judged = history.state(self.case), history.judgement
        with ui.element("div").classes("osteon-row"):
            ui.label(state).classes(f"osteon-chip {STATE_COLOURS[state]}").mark("state")
            parts = [
                f"by {judged.by or 'somebody'}, {judged.at[:10]}" if judged is not None else "",
                f"owner: {history.owner}" if history.owner else "nobody's",
                f"{format_duration(history.seconds)} spent" if history.seconds else "",
                _describe_version(history.version),
            ]
            caption(" · ".join(part for part in parts if part))
        if history.note:
            ui.label(f"Note: {history.note}")
        unknown = [s.name for s in self.dataset.structures if s.name not in self.annotated()]
        if self.label() is not None and unknown:
            ui.label(f"Not annotated: {', '.join(unknown)}. It is unknown here, not background.").classes("osteon-warn")

    def _looked_for(self) -> None:
        """Which structures somebody looked for, to be changed."""
        known = self.annotated()
        count = len(self.dataset.structures)
        text = "all structures" if len(known) == count else shorten_list([n for n in self._names() if n in known], 4)
        with ui.expansion(f"Annotated: {text}").props("dense").classes("full-width osteon-command-log"):
            caption("What was not annotated is unknown in this case: no model learns that it is not there.")
            with ui.element("div").classes("osteon-row"):
                for name in self._names():
                    self.boxes[name] = ui.checkbox(name, value=name in known)
            action("Save", self._save_annotated, icon="save")

    def _names(self) -> list[str]:
        return [structure.name for structure in self.dataset.structures]

    async def _save_annotated(self) -> None:
        author = require_name()
        names = [name for name, box in self.boxes.items() if box.value]
        new = await asyncio.to_thread(set_annotated, self.dataset, self.case_id, names, author=author)
        self.summary.refresh()
        notify("Saved" if new is not None else "That was known")

    async def _approve(self) -> None:
        if self.boxes and self.label() is not None:
            author, names = require_name(), [name for name, box in self.boxes.items() if box.value]
            await asyncio.to_thread(set_annotated, self.dataset, self.case_id, names, author=author)
        await self._judge("approved")

    async def _judge(self, verdict: str) -> None:
        await judge_cases(self.item, [self.case_id], verdict, then=self.summary.refresh)

    def _reject(self) -> None:
        ask_note(self.item, [self.case_id], self.summary.refresh)

    async def _assign(self) -> None:
        await assign_cases(self.item, [self.case_id], str(self.owner.value or ""), then=self.summary.refresh)

    @property
    def keys(self) -> dict[str, Callable[[], object]]:
        """What keys do beside those of the viewer."""
        return {"A": self._approve_and_step, "R": self._reject}

    async def _approve_and_step(self) -> None:
        await self._approve()
        self.step(1)


class ReadingCard:
    """Two readings of a case: how far they agree, and which of them is to count.

    Args:
        work: The case.
        second: The second reading.
        on_mode: Called when another way to show both was chosen.
    """

    def __init__(self, work: CaseWork, second: LabelVersion, on_mode: Callable[[str], object]) -> None:
        self.work, self.second = work, second
        with card("Two readings"):
            first = _describe_version(work.history.version) or "the label as it was imported"
            caption(f"{first}; and the second: {_describe_version(second)}.")
            with ui.element("div").classes("osteon-row"):
                mode = ui.select(READING_MODES, value="side", label="Show").props("dense").classes("osteon-filter")
                mode.on_value_change(lambda e: on_mode(str(e.value))).mark("mode")
                action("The second counts", lambda: self._settle(accept=True), icon="done_all")
                action("The first counts on", lambda: self._settle(accept=False), icon="done")
            self.scores = ui.column().classes("full-width gap-1")
            with self.scores:
                caption("Comparing them …")
        ui.timer(0.01, self._compare, once=True)

    @property
    def source(self) -> LabelSource:
        """The second reading's file."""
        work = self.work
        return LabelSource(version_path(work.dataset, work.case_id, self.second), work.dataset.structures)

    async def _compare(self) -> None:
        work = self.work
        try:
            agreement = await work.app.reader.run(agreement_between, Path(work.item.path), work.case_id)
        except OsteonError as error:
            agreement = None
            problem = error.message
        self.scores.clear()
        with self.scores:
            if agreement is None:
                caption(problem)
                return
            for name, value in agreement.items():
                with ui.element("div").classes("osteon-score"):
                    ui.label(name)
                    shown = "in neither" if value is None else f"{value:.3f}"
                    ui.linear_progress(value or 0, show_value=False).props(f'aria-label="Dice {shown}"')
                    ui.label("–" if value is None else shown)

    async def _settle(self, *, accept: bool) -> None:
        work, author = self.work, require_name()
        if work.label() is None:
            raise UsageError("there is no label that the second reading could be compared with", hint="draw one")
        await asyncio.to_thread(
            settle_reading, work.dataset, work.case_id, self.second.number, accept=accept, author=author
        )
        ui.navigate.reload()


def shown_label(dataset: Dataset, case_id: str) -> LabelSource | None:
    """A case's label: what counts, or a prediction that nobody has approved; None where it has none."""
    version, case = read_history(dataset.folder, case_id).version, dataset.imported.case(case_id)
    if version is not None:
        return LabelSource(version_path(dataset, case_id, version), dataset.structures)
    if case.segmentation is not None:
        return LabelSource(dataset.resolve(case.segmentation), dataset.structures)
    return None


def _describe_version(version: LabelVersion | None) -> str:
    if version is None:
        return ""
    what = "" if version.kind == "correction" else f", a {version.kind}"
    more = f": {version.what}" if version.what else ""
    return f"version {version.number} by {version.author or 'somebody'}, {version.at[:10]}{what}{more}"
