"""Drawing the label of a case: the scan fills the window, the tools stand beside it."""

from __future__ import annotations

from nicegui import ui

from osteon.app.drawing.labels import describe_case
from osteon.app.drawing.views import DRAWING_VIEWS, DrawPanel
from osteon.app.elements import action, caption, page_frame, show_error
from osteon.app.results import case_scene
from osteon.app.state import AppState
from osteon.app.viewer import case_header
from osteon.app.viewer_controls import window_presets
from osteon.app.views import NIIVUE_HINT, has_niivue, viewer_scene, why_no_niivue
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError
from osteon.dataset.dataset import Dataset


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/look/{dataset_id}/{case_id}/draw")
    def draw(dataset_id: str, case_id: str, order: str = "", second: bool = False) -> None:
        with page_frame(app, "Draw", "/data", back=(f"/look/{dataset_id}/{case_id}", "Look"), wide=True):
            found = app.find_dataset_case(dataset_id, case_id, order)
            names, more = found.names, f"?order={found.order}" if found.order else ""
            place = names.index(found.name)

            def url(other: str) -> str:
                return f"/look/{found.item.id}/{app.case_id(found.item, other)}/draw{more}"

            around = [url(names[(place + by) % len(names)]) for by in (-1, 1)]
            with case_header(names, found.name, url):
                pass
            _DrawingPage(app, found.item, found.dataset, found.name, around, second=second)


class _DrawingPage:
    """The view of a case, and the panel beside it."""

    def __init__(
        self, app: AppState, item: Item, dataset: Dataset, case: str, around: list[str], *, second: bool
    ) -> None:
        self.second = second
        self.app, self.item, self.dataset, self.case, self.around = app, item, dataset, case, around
        self.url = f"/look/{item.id}/{app.case_id(item, case)}/draw"
        with ui.element("div").classes("osteon-draw") as self.box:
            caption("Reading the scan …")
        ui.timer(0.01, self._load, once=True)

    async def _load(self) -> None:
        try:
            described = await self.app.reader.run(describe_case, self.item.path, self.case)
            if described["refused"]:
                reason, _, way = described["refused"].partition(". ")
                raise OsteonError(reason, hint=way)
            request = case_scene(self.dataset, self.dataset.case(self.case)).for_drawing()
            scene_id, info = await self.app.load_scene(request)
            if info["kind"] == "volume" and not has_niivue():
                raise OsteonError(f"the viewer's JavaScript is missing: {why_no_niivue()}", hint=NIIVUE_HINT)
        except OsteonError as error:
            self.box.clear()
            with self.box, ui.column():
                show_error(error, "This case cannot be drawn here")
                action("Look at it", self.url.removesuffix("/draw"))
            return
        self.box.clear()
        base = f"/v/{scene_id}/"
        with self.box:
            view = DRAWING_VIEWS[info["kind"]](label="The scan, to be drawn on", poster=f"{base}poster.png")
            DrawPanel(view, self.url, info, self.around, second=self.second)
            _, *window = window_presets(info)[0]
            scene = viewer_scene(info, base, [], (window[0], window[1]), "slices", layout_chosen=True)
            view.show(scene | {"exclusive": not described["overlapping"]})
