"""How far a labelling project is: states over time, people, minutes for a case, what is left, how readers agree."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from osteon.api.labels import label_progress
from osteon.app.curves import CHART_AXIS
from osteon.app.elements import action, caption, card, empty_state, refresh_on_change, show_error, table
from osteon.app.state import AppState
from osteon.app.work_actions import work_rows
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError
from osteon.core.progress import format_duration
from osteon.dataset.case_history import FOLDER as ANNOTATIONS
from osteon.dataset.case_history import State
from osteon.labelling.progress import Counts, LabelProgress
from osteon.labelling.work_list import work_csv

STATE_LINES: dict[State, str] = {
    "approved": "#2e9e62",
    "corrected": "#3b7ddd",
    "labelled": "#7f8ea3",
    "predicted": "#c08a2d",
    "rejected": "#c0504d",
    "unlabelled": "#a9b2bf",
}
"""The chart's colours, from below."""


class ProgressPage:
    """The page of a dataset."""

    def __init__(self, app: AppState, item: Item) -> None:
        self.app, self.item = app, item
        with ui.element("div").classes("osteon-row"):
            ui.space()
            action("Work list", f"/work/{item.id}", icon="checklist")
            action("Table of all cases (CSV)", self._download, icon="download")
        self.column = ui.column().classes("full-width gap-5 no-wrap")
        with self.column:
            caption("Comparing readers …")
        ui.timer(0.01, self.reload, once=True)
        refresh_on_change(self._stamp, self._changed)

    def _stamp(self) -> float:
        folders = [path for path in (self.item.path / ANNOTATIONS).glob("*") if path.is_dir()]
        return max((path.stat().st_mtime for path in folders), default=0.0)

    def _changed(self) -> None:
        with self.column:
            ui.timer(0.01, self.reload, once=True)

    async def reload(self) -> None:
        """Measure it, and show it."""
        try:
            progress = await self.app.reader.run(label_progress, str(self.item.path))
        except OsteonError as error:
            self.column.clear()
            with self.column:
                show_error(error)
            return
        self.column.clear()
        with self.column:
            _summary(progress)
            with ui.element("div").classes("osteon-cols"):
                _chart_card(progress)
                _agreement_card(progress)
            _people_card(progress)

    async def _download(self) -> None:
        rows = await asyncio.to_thread(work_rows, self.item)
        ui.download.content(work_csv(rows), f"{self.item.title}-cases.csv", "text/csv")


def _summary(progress: LabelProgress) -> None:
    with card("So far"):
        ui.label(", ".join(f"{count} {state}" for state, count in progress.counts.items() if count) or "no cases")
        for line in progress.sentences():
            ui.label(line)


def _chart_card(progress: LabelProgress) -> None:
    with card("Cases by state"):
        if not progress.timeline:
            caption("Nothing was saved, approved or rejected yet.")
            return
        ui.echart(timeline_chart(progress.timeline)).classes("full-width").style("height: 320px").props(
            'role=img aria-label="Cases in each state over time; the figures of today stand above"'
        )


def _agreement_card(progress: LabelProgress) -> None:
    with card("Agreement of two readers"):
        if not progress.agreement:
            caption("No case was read by two people.")
        for name, value in progress.agreement.items():
            with ui.element("div").classes("osteon-score"):
                ui.label(name)
                ui.linear_progress(value, show_value=False).props(f'aria-label="Mean Dice {value:.3f}"')
                ui.label(f"{value:.3f}")
        if progress.agreement:
            caption("Mean Dice between the label that counted and the second reading.")
        for case, error in progress.failed.items():
            caption(f"{case}: {error.message}")


def _people_card(progress: LabelProgress) -> None:
    if not progress.people:
        empty_state("Nobody has begun", "Give cases to people on the work list.")
        return
    names = {
        "name": "Person",
        **{str(state): state.capitalize() for state, count in progress.counts.items() if count},
        "drawn": "Labels drawn",
        "approvals": "Cases approved",
        "time": "Time spent",
        "median": "Time for a case (median)",
    }
    rows = [
        {
            "name": person.name or "nobody",
            **person.counts,
            "drawn": person.labelled,
            "approvals": person.approved,
            "time": format_duration(person.seconds) if person.seconds else "",
            "median": format_duration(person.median_seconds) if person.median_seconds else "",
        }
        for person in progress.people
    ]
    with card("People"):
        caption("Cases by state belong to their owner; labels, approvals and time to who made them.")
        table(rows, names, key="name")


def timeline_chart(points: list[tuple[float, Counts]]) -> dict[str, Any]:
    """Options of a chart: the cases in each state over time, on top of one another."""
    shown = [state for state in STATE_LINES if any(counts[state] for _, counts in points)]
    series = [
        {
            "type": "line",
            "name": state,
            "stack": "cases",
            "step": "end",
            "symbol": "none" if len(points) > 1 else "circle",
            "areaStyle": {"opacity": 0.75},
            "lineStyle": {"width": 1},
            "color": STATE_LINES[state],
            "data": [[round(at * 1000), counts[state]] for at, counts in points],
        }
        for state in shown
    ]
    return {
        "animation": False,
        "grid": {"left": 44, "right": 16, "top": 16, "bottom": 64},
        "tooltip": {"trigger": "axis"},
        "legend": {"bottom": 0, "type": "scroll", "textStyle": {"color": "#8a94a3"}},
        "xAxis": CHART_AXIS | {"type": "time"},
        "yAxis": CHART_AXIS | {"minInterval": 1},
        "series": series,
    }
