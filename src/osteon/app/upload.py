"""The box into which files, folders and zips are dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import run
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from osteon.app.frame import refuse
from osteon.app.studio import Studio
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError


class UploadBox(Element, component="upload.js"):
    """Sends files to `routes`, then hands over the source that they became.

    Args:
        studio: Where it goes.
        label: What the box is for, for screen readers.
        then: Called with the source.
        accept: Endings that are taken, by comma; any where empty.
        folders: Whether several files and folders are taken.
    """

    def __init__(
        self,
        studio: Studio,
        label: str,
        then: Callable[[Item], Awaitable[None] | None],
        *,
        accept: str = "",
        folders: bool = True,
    ) -> None:
        super().__init__()
        self._props.update({"label": label, "accept": accept, "folders": folders})
        self.classes("full-width")
        self.studio, self.then = studio, then
        self.on("uploaded", self._uploaded)
        self.on("refused", self._refused)

    async def _uploaded(self, event: GenericEventArguments) -> None:
        upload = self.studio.uploads.open.get(str(event.args.get("id")))
        if upload is None:
            return
        try:
            item: Item = await run.io_bound(self.studio.uploads.finish, upload)  # type: ignore[assignment]
        except OsteonError as error:
            refuse(error)
            return
        answer = self.then(item)
        if answer is not None:
            await answer

    def _refused(self, event: GenericEventArguments) -> None:
        refuse(OsteonError(str(event.args.get("message")), hint=str(event.args.get("hint") or "")))
