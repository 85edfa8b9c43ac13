"""The measures of a case on its page: figures, what is drawn of them, and landmarks that can be moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import ui

from osteon.app.case_measures import (
    CaseMeasures,
    is_outdated,
    measures_job,
    read_measures,
    start_measures,
    viewer_drawings,
)
from osteon.app.elements import action, attempt, caption, card, heading, notify, refresh_on_change, table
from osteon.app.page_cleanup import refreshable
from osteon.app.reader_name import require_name
from osteon.app.state import AppState
from osteon.app.viewer import Viewer
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError, UsageError
from osteon.measuring.figure import Drawing
from osteon.measuring.landmarks import Landmark
from osteon.measuring.saved_landmarks import save_move, undo_move

HOW = (
    "A click on a figure draws it. To move a landmark, put the crosshair where it belongs (click, or arrow keys; “Full "
    "resolution” is finer) and press “To the crosshair”: the figures that hang on it are read again."
)
HEADINGS = {
    "measure": "Figure",
    "structure": "Structure",
    "value": "Value",
    "interval": "95 % interval",
    "against": "What speaks against it",
}
_CELL = """
<q-td :props="props">
  <q-btn v-if="props.row.drawn" flat dense no-caps color="primary" align="left" :label="props.value"
    :aria-label="'Draw ' + props.value + ' of ' + props.row.structure" @click="$parent.$emit('figure', props.row.n)" />
  <span v-else>{{ props.value }}</span>
</q-td>"""


class MeasuresCard:
    """The measures of one case.

    Args:
        app: For the job that measures.
        viewer: Where figures are drawn.
        item: The result.
        case: The case's name.
        label: Its label file.
        images: The scan's files.
    """

    def __init__(self, app: AppState, viewer: Viewer, item: Item, case: str, label: Path, images: Sequence[Path]):
        self.app, self.viewer, self.item, self.case = app, viewer, item, case
        self.label, self.images = label, images
        self.shown: int | None = None
        with card("Measures"):
            self.content()
        refresh_on_change(lambda: measures_job(self.app, self.item) is None, self.content.refresh)

    @refreshable
    def content(self) -> None:
        """The table and the landmarks."""
        try:
            measures = read_measures(self.item, self.case)
        except OsteonError as error:
            caption(f"{error.message}: {error.hint}")
            return
        if measures is None or is_outdated(self.item, self.label):
            self._start(again=measures is not None)
        if measures is None:
            return
        if not measures.figures:
            caption("There was nothing to measure.")
            return
        caption(HOW if measures.landmarks else "A click on a figure draws it.")
        rows = table(measures.rows(), HEADINGS, key="n", page_size=15)
        rows.add_slot("body-cell-measure", _CELL)
        rows.on("figure", lambda event: attempt(partial(self._draw, event.args)))
        self.drawn = caption("").mark("drawn")
        self.drawn.props["aria-live"] = "polite"
        action("Draw nothing", self._clear, icon="layers_clear", style="quiet")
        if measures.landmarks:
            self._landmarks(measures)
        if self.shown is not None:
            self._show(measures, self.shown)

    def _start(self, *, again: bool) -> None:
        if measures_job(self.app, self.item) is not None:
            caption("Every case of this result is being measured …")
            return
        what = "The label has changed since it was measured." if again else "It has not been measured yet."
        caption(f"{what} A job measures every case of this result.")
        action("Measure", self._measure, icon="straighten").mark("measure-case")

    def _measure(self) -> None:
        start_measures(self.app, self.item)
        self.content.refresh()

    def _measures(self) -> CaseMeasures:
        measures = read_measures(self.item, self.case)
        if measures is None:
            raise UsageError("this case has no measures any more", hint="measure it")
        return measures

    def _draw(self, number: Any) -> None:
        measures = self._measures()
        if not isinstance(number, int) or not 0 <= number < len(measures.figures):
            raise UsageError("there is no such figure", hint="reload the page")
        self._show(measures, number, go=True)

    def _show(self, measures: CaseMeasures, number: int, *, go: bool = False) -> None:
        """Draw a figure in every view; `go`: and bring its middle into the slices."""
        figure, views = measures.figures[number], self.viewer.views
        self.shown = number
        rows = self._drawings(figure.drawings)
        views.show_figure(rows)
        names = ", ".join(dict.fromkeys(drawing.name for drawing in figure.drawings))
        row = next(row for row in measures.rows() if row["n"] == number)
        self.drawn.set_text(f"Drawn: {row['measure']} of {row['structure']}, {row['value']} ({names})")
        if go and rows:
            self._go_to(rows[0]["points"])

    def _drawings(self, drawings: Sequence[Drawing]) -> list[Mapping[str, Any]]:
        info = self.viewer.views.info
        return [*viewer_drawings(drawings, self.images, picture=bool(info) and not self.viewer.views.is_volume)]

    def _go_to(self, points: Sequence[Sequence[float]]) -> None:
        middle = [sum(values) / len(values) for values in zip(*points, strict=True)]
        self.viewer.views.run_method("goTo", middle)

    def _clear(self) -> None:
        self.shown = None
        self.viewer.views.show_figure([])
        self.drawn.set_text("")

    def _landmarks(self, measures: CaseMeasures) -> None:
        heading("Landmarks", 3)
        with ui.column().classes("osteon-structures no-wrap"):
            for number, landmark in enumerate(measures.landmarks):
                self._landmark_row(measures, landmark, number)

    def _landmark_row(self, measures: CaseMeasures, landmark: Landmark, number: int) -> None:
        name, move = f"{landmark.name} of {landmark.structure}", measures.move_of(landmark)
        with ui.element("div").classes("osteon-row no-wrap"):
            with ui.column().classes("osteon-grow gap-0"):
                ui.label(name)
                if move is not None:
                    caption(f"moved by {move.author or 'a person'}, {move.at[:10]}")
            point = landmark.point if move is None else move.place
            action("", lambda: self._go_to([point]), icon="my_location", style="quiet", name=f"Show {name}")
            action(
                "To the crosshair",
                partial(self._move, landmark),
                style="quiet",
                name=f"To the crosshair: {name}",
            ).mark(f"move-{number}")
            if move is not None:
                action("", partial(self._undo, landmark), icon="undo", style="quiet", name=f"Put back {name}")

    async def _move(self, landmark: Landmark) -> None:
        author, views = require_name(), self.viewer.views
        if not views.views:
            raise UsageError("the scan is not there yet", hint="wait until it is shown")
        answer = await views.views[0][0].run_method("crosshair", timeout=30)
        try:
            point = [float(value) for value in answer]
        except (TypeError, ValueError):
            raise UsageError("the crosshair's place did not come through", hint="reload the page") from None
        found = self._measures().found
        save_move(self.item.path, self.case, found, landmark.structure, landmark.name, point, author)
        self.content.refresh()
        notify(f"{landmark.name} moved")

    def _undo(self, landmark: Landmark) -> None:
        undo_move(self.item.path, self.case, landmark.structure, landmark.name)
        self.content.refresh()
        notify(f"{landmark.name} is where it was found")
