"""Lengths and angles of a case: drawn in the viewer, saved here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import ui

from osteon.app.elements import action, caption, card, notify
from osteon.app.page_cleanup import refreshable
from osteon.app.reader_name import require_name
from osteon.app.viewer import Viewer
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import pluralise
from osteon.dataset.saved_measurements import (
    Line,
    SavedMeasurement,
    read_measurements,
    remove_measurement,
    save_angle,
    save_lengths,
)

HOW = (
    "Switch on “Measure by dragging” (m), drag from end to end, and keep the lengths. "
    "An angle is that between two that are kept."
)


class MeasurementCard:
    """What was measured of a case, and buttons that save more.

    Args:
        viewer: Where it is drawn.
        folder: Of the dataset, or of the result.
        case_id: The case.
    """

    def __init__(self, viewer: Viewer, folder: Path, case_id: str) -> None:
        self.viewer, self.folder, self.case_id = viewer, folder, case_id
        self.ticked: set[int] = set()
        with card("Lengths and angles"):
            caption(HOW)
            self.listed()
            with ui.element("div").classes("osteon-row"):
                action("Keep the lengths", self._save, icon="straighten")
                action("Angle between the ticked", self._save_angle, icon="architecture")

    @refreshable
    def listed(self) -> None:
        """The list."""
        for one in read_measurements(self.folder, self.case_id):
            with ui.element("div").classes("osteon-row no-wrap"):
                name = f"{one.kind.capitalize()} {one.number}: {one.describe()}"
                if one.kind == "length":
                    ui.checkbox(name, on_change=lambda e, n=one.number: self._tick(n, on=bool(e.value)))
                else:
                    ui.label(name)
                caption(f"{one.author}, {one.at[:10]}").classes("osteon-grow")
                action("", partial(self._go_to, one), icon="my_location", style="quiet", name=f"Show {name}")
                action("", partial(self._remove, one.number), icon="delete", style="quiet", name=f"Remove {name}")

    def _tick(self, number: int, *, on: bool) -> None:
        (self.ticked.add if on else self.ticked.discard)(number)

    async def _save(self) -> None:
        author, views = require_name(), self.viewer.views
        if not views.views:
            raise UsageError("the scan is not there yet", hint="wait until it is shown")
        lines: list[Line] = []
        for view, _ in views.views:
            lines += _as_lines(await view.run_method("measured", timeout=10))
        if not lines:
            raise UsageError("no length is drawn", hint=HOW)
        scaled = [[[float(v) for v in np.multiply(point, self._scale(len(point)))] for point in line] for line in lines]
        new = save_lengths(self.folder, self.case_id, scaled, str(views.info["unit"]), author)
        self._refresh(f"{pluralise(len(new), 'length')} saved" if new else "These are saved already")

    def _save_angle(self) -> None:
        new = save_angle(self.folder, self.case_id, sorted(self.ticked), require_name())
        self._refresh(f"An angle of {new.describe()}")

    def _remove(self, number: int) -> None:
        remove_measurement(self.folder, self.case_id, number)
        self._refresh("Removed")

    def _refresh(self, text: str) -> None:
        self.ticked.clear()
        self.listed.refresh()
        notify(text)

    def _go_to(self, one: SavedMeasurement) -> None:
        middle = np.mean(one.points, axis=0)
        self.viewer.views.run_method("goTo", [float(v) for v in middle / self._scale(len(middle))])

    def _scale(self, dimensions: int) -> tuple[float, ...]:
        """Of a viewer's coordinates: millimetres of a volume, pixels of a picture."""
        info = self.viewer.views.info
        return (1.0, 1.0, 1.0) if info["kind"] == "volume" else tuple(info["pixel_mm"])[:dimensions]


def _as_lines(answer: Any) -> list[Line]:
    """What a browser says is drawn. Raises OsteonError where it is something else."""
    try:
        lines = [[[float(value) for value in point] for point in line] for line in answer]
    except (TypeError, ValueError):
        raise OsteonError("the lengths did not come through", hint="reload the page") from None
    return [*lines]
