"""The box into which files, folders and zips are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from osteon.app.frame import action, card
from osteon.app.state import Studio
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
        if studio.uploads.broken:
            self._tell_broken()

    async def _uploaded(self, event: GenericEventArguments) -> None:
        upload = self.studio.uploads.open.get(str(event.args.get("id")))
        if upload is None:
            self.run_method("ended", "The upload was broken off. Nothing of it was kept: choose the files again.")
            return
        try:
            item = await asyncio.to_thread(self.studio.uploads.finish, upload)
        except OsteonError as error:
            said = f"{error.message}. Nothing of it was kept{f': {error.hint}' if error.hint else ''}."
            self.run_method("ended", said)
            return
        self.run_method("ended")  # before the page is left, or the browser would ask
        answer = self.then(item)
        if answer is not None:
            await answer

    def _tell_broken(self) -> None:
        """What an earlier visit lost, until somebody has seen it: its tab was closed, or the server was ended."""

        def seen() -> None:
            self.studio.uploads.broken.clear()
            note.delete()

        with card(kind="note") as note:
            for lost in self.studio.uploads.broken.values():
                ui.label(lost.told())
            action("I have seen it", seen, weight="quiet")
