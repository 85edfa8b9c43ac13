"""On a run's page: training its model on with new labels, and how it became better by that."""

from __future__ import annotations

from nicegui import ui

from osteon.app.elements import ButtonStyle, action, caption, card, note, notify, refresh_on_change, table
from osteon.app.page_cleanup import refreshable
from osteon.app.state import AppState
from osteon.app.updates import (
    AUTO_BUDGET,
    BUDGET,
    EVERY,
    chain_chart,
    chain_rows,
    dataset_of,
    learnable,
    newest_of,
    set_automatic,
    start_update,
)
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.core.quantities import parse_seconds
from osteon.core.text import pluralise
from osteon.runs.update_files import HISTORY
from osteon.runs.update_history import history_table, read_chain, read_update

HEADINGS = {
    "name": "Model",
    "labelled": "Labelled cases",
    "dice": "Dice",
    "change": "On the same cases, before → after",
    "taken": "Taken",
}


class UpdateCards:
    """What came of an update, the history, and the button for the next one."""

    def __init__(self, app: AppState, item: Item) -> None:
        self.app, self.item = app, item
        self.content()
        refresh_on_change(self._state, self.content.refresh)

    def _state(self) -> object:
        files = (self.item.path / HISTORY, self.item.path / "model/weights.safetensors")
        return [path.stat().st_mtime if path.is_file() else 0.0 for path in files], newest_of(self.app, self.item).name

    @refreshable
    def content(self) -> None:
        """All of it."""
        try:
            self._history()
            if (self.item.path / "model/weights.safetensors").is_file() and dataset_of(self.app, self.item):
                self._next()
        except OsteonError as error:
            note(error.message)

    def _history(self) -> None:
        record, chain = read_update(self.item.path), read_chain(self.item.path)
        if record is not None and record.verdict is not None and not record.verdict.taken:
            note(f"This model is not taken: {record.verdict.why}. The one before it stays in use.")
        if len(chain) < 2:
            return
        with card("Updates"):
            caption("Dice of each model on the cases that judged it, over the labelled cases that it had.")
            chart = ui.echart(chain_chart(chain)).classes("full-width").style("height: 260px")
            chart.props["role"], chart.props["aria-label"] = (
                "img",
                "Dice over labelled cases, as in the table",
            )
            table(chain_rows(self.app, chain), HEADINGS, key="id", link="name")
            text = history_table(chain)
            action("Save the table (CSV)", lambda: ui.download.content(text, HISTORY, "text/csv"), icon="download")

    def _next(self) -> None:
        newest, about = newest_of(self.app, self.item), read_about(self.item)
        with card("Learn from new labels"):
            if newest.name != self.item.name:
                caption("A later update of this model is in use:")
                ui.link(newest.title, newest.url)
                return
            count = learnable(self.app, self.item)
            caption(
                f"{pluralise(count, 'case')} labelled or corrected since it was trained. Some approved ones are kept "
                "to judge the new model; a worse one is not taken."
            )
            with ui.element("div").classes("osteon-row"):
                self.budget = ui.input("How long", value=about.get(AUTO_BUDGET, BUDGET)).classes("osteon-grow")
                self.every = ui.number("By itself after so many cases (0: never)", value=0, min=0, step=1)
                self.every.value = int(about.get(EVERY, "0") or 0)
                self.every.classes("osteon-grow")
            with ui.element("div").classes("osteon-row"):
                style: ButtonStyle = "main" if count else "second"
                action("Update the model", self._start, icon="model_training", style=style)
                action("Save for later updates", self._save, icon="save")

    def _budget(self) -> str:
        text = str(self.budget.value or "").replace(" ", "")
        parse_seconds(text)
        return text

    def _start(self) -> None:
        if not learnable(self.app, self.item):
            raise UsageError("nothing was labelled or corrected since", hint="label or correct cases first")
        run, _ = start_update(self.app, self.item, self._budget())
        ui.navigate.to(run.url)

    def _save(self) -> None:
        every = int(self.every.value or 0)
        set_automatic(self.item, max(0, every), self._budget())
        notify(f"An update begins after every {pluralise(every, 'case')}" if every > 0 else "Updates begin by hand")
