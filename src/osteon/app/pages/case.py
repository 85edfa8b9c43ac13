"""One case of a dataset: slices, 3D, structures."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from osteon.app.elements import page_frame
from osteon.app.results import case_scene
from osteon.app.state import AppState, open_dataset
from osteon.app.view_group import ViewPane
from osteon.app.viewer import Viewer, case_header
from osteon.core.errors import OsteonError
from osteon.dataset.dataset import Dataset


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/look/{dataset_id}/{case_id}")
    def look(dataset_id: str, case_id: str) -> None:
        item = app.workspace.find("datasets", dataset_id)
        dataset = None if item is None else open_dataset(item)
        names = [] if dataset is None else [case.id for case in dataset.manifest.cases]
        name = None if item is None else app.find_case(item, names, case_id)
        with page_frame(app, "Look", "/data", back=(f"/dataset/{dataset_id}", item.title if item else "Data")):
            if item is None or dataset is None or name is None:
                raise OsteonError("this case is no longer here", hint="go back to Data")
            case, following = dataset.case(name), names[(names.index(name) + 1) % len(names)]
            held_out = ", kept for the final test" if case.held_out else ""
            url = f"/look/{item.id}"
            with case_header(names, name, lambda other: f"{url}/{app.case_id(item, other)}", held_out) as step:
                channel = _channels(dataset)

            async def load(full_resolution: bool) -> tuple[str, dict[str, Any]]:
                chosen = int(channel.value) if channel else 0
                return await app.load_scene(case_scene(dataset, case, full_resolution=full_resolution, channel=chosen))

            async def preload() -> None:
                await app.preload_scene(case_scene(dataset, dataset.case(following)))

            viewer = Viewer(load, [ViewPane("", ("a",))], step, preload)
            if channel is not None:
                channel.on_value_change(viewer.views.reload)


def _channels(dataset: Dataset) -> ui.select | None:
    names = [channel.name for channel in dataset.manifest.channels]
    return ui.select(dict(enumerate(names)), value=0, label="Channel").props("dense") if len(names) > 1 else None
