"""How long the pixels of an X-ray are: said on a case's page by a line over a marker, or as a number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nicegui import ui

from osteon.app.elements import action, caption, card, notify, show_error
from osteon.app.page_cleanup import refreshable
from osteon.app.reader_name import require_name
from osteon.core.errors import OsteonError, UsageError
from osteon.dataset.calibration import (
    Calibration,
    calibrate_by_marker,
    calibrate_by_spacing,
    read_calibration,
    remove_calibration,
)
from osteon.dataset.dataset import Dataset
from osteon.dataset.saved_measurements import Line

HOW = (
    "Zoom in on a marker of known size (a ball, a scale), switch on “Measure by dragging” (m), drag across all of it, "
    "and type how long it is in truth. The marker must lie as far from the detector as the bones do."
)


class CalibrationCard:
    """What counts of a picture's pixels, and fields that change it; hidden where a volume is shown.

    Args:
        dataset: Where the case is.
        case_id: The case.
        drawn: The lines that are drawn, the last one last, along columns and rows in the file's unit.
        changed: Called when something else counts.
    """

    def __init__(
        self,
        dataset: Dataset,
        case_id: str,
        drawn: Callable[[], Awaitable[list[Line]]],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self.dataset, self.case_id, self.drawn, self.changed = dataset, case_id, drawn, changed
        self.calibration: Calibration | None = None
        self.problem: OsteonError | None = None
        self.unit = "px"
        with card("Size of the pixels") as self.box:
            self.state()
            caption(HOW)
            with ui.element("div").classes("osteon-row"):
                self.length = ui.number("Marker length in mm", min=0).props("dense").classes("osteon-filter")
                action("Calibrate by the line", self._by_marker, icon="straighten")
                self.pixel = ui.number("Pixel size in mm", min=0).props("dense").classes("osteon-filter")
                action("Calibrate by the number", self._by_number, icon="grid_on")
        self.box.set_visibility(False)

    def calibrate(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """A scene's info with lengths in millimetres, where somebody said how long its pixels are."""
        self.box.set_visibility(info["kind"] == "picture")
        self.calibration, self.problem, self.unit = None, None, str(info["unit"])
        try:
            self.calibration = _read(self.dataset.folder, self.case_id, info)
        except OsteonError as error:
            self.problem = error
        self.state.refresh()
        return in_millimetres(info, self.calibration)

    @refreshable
    def state(self) -> None:
        """What counts, and who said so."""
        with ui.element("div").classes("osteon-row"):
            if self.problem is not None:
                show_error(self.problem, "What was said of the pixels does not count")
            elif self.calibration is not None:
                ui.label("calibrated").classes("osteon-chip osteon-good")
                said = self.calibration
                ui.label(f"{said.describe()}: {said.author or 'somebody'}, {said.at[:10]}").classes("osteon-grow")
            elif self.unit == "px":
                ui.label("Not calibrated: lengths are in pixels.").classes("osteon-grow")
            else:
                caption("Lengths are as the file has its pixels: of an X-ray often those of the detector.")
            if self.calibration is not None or self.problem is not None:
                action("Remove the calibration", self._remove, icon="delete", style="quiet")

    async def _by_marker(self) -> None:
        author, length = require_name(), self.length.value
        if length is None:
            raise UsageError("the marker's length is missing", hint="type how many millimetres it has")
        lines = await self.drawn()
        if not lines:
            raise UsageError("no line is drawn over a marker", hint="measure by dragging across all of it")
        await self._change(calibrate_by_marker, lines[-1], float(length), author=author)

    async def _by_number(self) -> None:
        author, pixel = require_name(), self.pixel.value
        if pixel is None:
            raise UsageError("the size of a pixel is missing", hint="type its millimetres, such as 0.14")
        await self._change(calibrate_by_spacing, float(pixel), author=author)

    async def _remove(self) -> None:
        await self._change(remove_calibration, author=require_name())

    async def _change(self, change: Callable[..., Calibration | None], *arguments: Any, author: str) -> None:
        if not self.box.visible:
            raise UsageError("the picture is not there yet", hint="wait until it is shown")
        made = await asyncio.to_thread(change, self.dataset, self.case_id, *arguments, author=author)
        await self.changed()
        notify("Removed: the file's own pixels count" if made is None else made.describe())


def find_calibration(folder: Path, case_id: str, info: Mapping[str, Any]) -> Calibration | None:
    """What somebody said of the pixels of a dataset's case; None where nobody did, or it does not count.

    What is wrong with it the case's own page says.
    """
    with suppress(OsteonError):
        return _read(folder, case_id, info)
    return None


def _read(folder: Path, case_id: str, info: Mapping[str, Any]) -> Calibration | None:
    """Raises FileError where it is damaged, GeometryError where it was said of other pixels."""
    found = read_calibration(folder, case_id) if info["kind"] == "picture" else None
    if found is not None:
        found.check(info["spacing_mm"], info["unit"])
    return found


def in_millimetres(info: Mapping[str, Any], calibration: Calibration | None) -> dict[str, Any]:
    """A picture's scene with lengths as they were calibrated; as it is where they were not."""
    if calibration is None:
        return dict(info)
    lengths = {key: [calibration.factor * edge for edge in info[key]] for key in ("spacing_mm", "pixel_mm")}
    return {**info, **lengths, "unit": "mm"}
