"""Lengths and angles of a case: drawn in the viewer, saved here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import ui

from osteon.app.elements import action, caption, card, notify
from osteon.app.page_cleanup import refreshable
from osteon.app.reader_name import require_name
from osteon.app.viewer import Viewer
from osteon.app.views import View
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import pluralise
from osteon.dataset.calibration import Calibration
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
        calibration: What somebody said of a picture's pixels, if anybody did.
    """

    def __init__(
        self,
        viewer: Viewer,
        folder: Path,
        case_id: str,
        calibration: Callable[[], Calibration | None] = lambda: None,
    ) -> None:
        self.viewer, self.folder, self.case_id, self.calibration = viewer, folder, case_id, calibration
        self.ticked: set[int] = set()
        viewer.views.on_ready = self.draw
        with card("Lengths and angles"):
            caption(HOW)
            self.listed()
            with ui.element("div").classes("osteon-row"):
                action("Keep the lengths", self._save, icon="straighten")
                action("Angle between the ticked", self._save_angle, icon="architecture")

    @refreshable
    def listed(self) -> None:
        """The list."""
        for one in self._saved():
            with ui.element("div").classes("osteon-row no-wrap"):
                name = f"{one.kind.capitalize()} {one.number}: {one.describe()}"
                if one.kind == "length":
                    ui.checkbox(name, on_change=lambda e, n=one.number: self._tick(n, on=bool(e.value)))
                else:
                    ui.label(name)
                caption(f"{one.author}, {one.at[:10]}").classes("osteon-grow")
                action("", partial(self._go_to, one), icon="my_location", style="quiet", name=f"Show {name}")
                action("", partial(self._remove, one.number), icon="delete", style="quiet", name=f"Remove {name}")

    def _saved(self) -> list[SavedMeasurement]:
        said, saved = self.calibration(), read_measurements(self.folder, self.case_id)
        return saved if said is None else [said.convert(one) for one in saved]

    def draw(self, view: View | None = None) -> None:
        """Draw what is saved, in one view or in all of them."""
        if not self.viewer.views.info:
            return
        lines = [
            {"kind": one.kind, "ends": [self._in_view(point) for point in one.points], "text": one.describe()}
            for one in self._saved()
        ]
        for each in [view] if view is not None else [one for one, _ in self.viewer.views.views]:
            each.run_method("keep", lines)

    def refresh(self) -> None:
        """Say and draw anew how long everything is."""
        self.listed.refresh()
        self.draw()

    async def drawn_lines(self) -> list[Line]:
        """What is drawn and not saved, in the file's unit: mm of a volume, along columns and rows of a picture."""
        views = self.viewer.views
        if not views.views:
            raise UsageError("the scan is not there yet", hint="wait until it is shown")
        lines: list[Line] = []
        for view, _ in views.views:
            lines += _as_lines(await view.run_method("measured", timeout=10))
        factor = 1.0 if (said := self.calibration()) is None else said.factor
        return [[[v * s / factor for v, s in zip(p, self._scale(len(p)), strict=True)] for p in line] for line in lines]

    def _tick(self, number: int, *, on: bool) -> None:
        (self.ticked.add if on else self.ticked.discard)(number)

    async def _save(self) -> None:
        author, lines, said = require_name(), await self.drawn_lines(), self.calibration()
        if not lines:
            raise UsageError("no length is drawn", hint=HOW)
        unit = str(self.viewer.views.info["unit"]) if said is None else said.unit
        new = save_lengths(self.folder, self.case_id, lines, unit, author)
        self.viewer.views.run_method("clear")
        self._refresh(f"{pluralise(len(new), 'length')} saved" if new else "These are saved already")

    def _save_angle(self) -> None:
        new = save_angle(self.folder, self.case_id, sorted(self.ticked), require_name())
        self._refresh(f"An angle of {new.describe()}")

    def _remove(self, number: int) -> None:
        remove_measurement(self.folder, self.case_id, number)
        self._refresh("Removed")

    def _refresh(self, text: str) -> None:
        self.ticked.clear()
        self.refresh()
        notify(text)

    def _go_to(self, one: SavedMeasurement) -> None:
        middle = np.mean([self._in_view(point) for point in one.points], axis=0)
        self.draw()
        self.viewer.views.run_method("goTo", [float(v) for v in middle])

    def _in_view(self, point: Sequence[float]) -> list[float]:
        return [value / edge for value, edge in zip(point, self._scale(len(point)), strict=True)]

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
