"""The box into which files, folders and zips are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from osteon.app.elements import action, card
from osteon.app.state import AppState
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError


class UploadBox(Element, component="upload.js"):
    """Sends files to `routes`, then hands over the source that they became.

    Args:
        app: Where it goes.
        label: What the box is for, for screen readers.
        then: Called with the source.
        accept: Endings that are taken, by comma; any where empty.
        folders: Whether several files and folders are taken.
    """

    def __init__(
        self,
        app: AppState,
        label: str,
        then: Callable[[Item], Awaitable[None] | None],
        *,
        accept: str = "",
        folders: bool = True,
    ) -> None:
        super().__init__()
        self._props.update({"label": label, "accept": accept, "folders": folders})
        self.classes("full-width")
        self.app, self.then = app, then
        self.on("uploaded", self._uploaded)
        if app.uploads.broken:
            self._tell_broken()

    async def _uploaded(self, event: GenericEventArguments) -> None:
        upload = self.app.uploads.open.get(str(event.args.get("id")))
        if upload is None:
            self.run_method("ended", "The upload was broken off. Nothing of it was kept: choose the files again.")
            return
        try:
            item = await asyncio.to_thread(self.app.uploads.finish, upload)
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
            self.app.uploads.broken.clear()
            note.delete()

        with card(kind="note") as note:
            for lost in self.app.uploads.broken.values():
                ui.label(lost.told())
            action("I have seen it", seen, style="quiet")
