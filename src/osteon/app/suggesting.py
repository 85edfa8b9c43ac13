"""What next: starting `osteon suggest`, and the queue that it made."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from osteon.app.commands import start_suggestions
from osteon.app.elements import action, caption, card
from osteon.app.job_cards import watch_jobs
from osteon.app.jobs import Job
from osteon.app.page_cleanup import refreshable
from osteon.app.state import AppState
from osteon.app.work_actions import work_rows
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import pluralise
from osteon.labelling.suggestion_files import FILE, FOLDER, read_suggestions
from osteon.labelling.work_list import TO_DO

MAX_SHOWN = 10
COUNT = 10
"""Scans that are asked for."""


class SuggestCard:
    """The card of a dataset's work list.

    Args:
        app: Where the jobs are.
        item: The dataset.
        url: Of a case's page.
    """

    def __init__(self, app: AppState, item: Item, url: Callable[[str], str]) -> None:
        self.app, self.item, self.url = app, item, url
        self.models = [run for run in app.models() if read_about(run).get("dataset") == item.name]
        with card("What next"):
            self.queue()
            with ui.element("div").classes("osteon-row"):
                if self.models:
                    names = {run.id: run.title for run in self.models}
                    self.model = ui.select(names, value=self.models[0].id, label="By the model").props("dense")
                    self.model.classes("osteon-filter")
                    action("Suggest what to label", self._start, icon="lightbulb")
                else:
                    caption("Once a model is trained on this dataset, it says which scans it would learn most from.")
            watch_jobs(app, self._jobs, more=self._made)

    def _made(self) -> float:
        path = self.item.path / FOLDER / FILE
        return path.stat().st_mtime if path.is_file() else 0.0

    def _jobs(self) -> list[Job]:
        return [job for job in self.app.open_jobs("dataset", self.item.name) if job.command == "suggest"][:1]

    def _start(self) -> None:
        if self._jobs() and self.app.jobs.state(self._jobs()[0]).phase in ("queued", "running"):
            raise UsageError("that is being done already", hint="wait until it is done, or cancel it")
        run = next(run for run in self.models if run.id == self.model.value)
        start_suggestions(self.app, self.item, run, COUNT)

    @refreshable
    def queue(self) -> None:
        """The scans that were suggested and still wait, each with its reasons."""
        try:
            waiting = {row.case for row in work_rows(self.item) if row.state in TO_DO}
            suggested = [s for s in read_suggestions(self.item.path / FOLDER) if s.suggested and s.case in waiting]
        except OsteonError as error:
            caption(error.message)
            return
        if not suggested:
            caption("Nothing is suggested.")
            return
        for each in suggested[:MAX_SHOWN]:
            with ui.element("div").classes("osteon-row no-wrap"):
                ui.label(f"{each.rank}.")
                ui.link(each.case, self.url(each.case))
                caption("; ".join(each.reasons)).classes("osteon-grow")
        if len(suggested) > MAX_SHOWN:
            caption(f"{pluralise(len(suggested) - MAX_SHOWN, 'more scan')}: sort the list by what is suggested")
