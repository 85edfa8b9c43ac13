"""The box into which files, folders and zips are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from osteon.app.elements import action, attempt, card
from osteon.app.state import AppState
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError


class UploadBox(Element, component="upload.js"):
    """Sends files to `routes`, then calls back with the source that they became.

    Args:
        app: Whose workspace they go to.
        label: What the box is for, for screen readers.
        on_uploaded: Called with the source; an OsteonError becomes a notice.
        accept: Suffixes that are accepted, by comma; any where empty.
    """

    def __init__(
        self,
        app: AppState,
        label: str,
        on_uploaded: Callable[[Item], object],
        *,
        accept: str = "",
    ) -> None:
        super().__init__()
        self._props.update({"label": label, "accept": accept})
        self.classes("full-width")
        self.app, self.on_uploaded = app, on_uploaded
        self.on("uploaded", self._uploaded)
        if app.uploads.interrupted:
            self._show_interrupted()

    async def _uploaded(self, event: GenericEventArguments) -> None:
        upload = self.app.uploads.open.get(str(event.args.get("id")))
        if upload is None:
            self.run_method("ended", "The upload was broken off. Nothing of it was kept: choose the files again.")
            return
        try:
            item = await asyncio.to_thread(self.app.uploads.finish, upload)
        except OsteonError as error:
            text = f"{error.message}. Nothing of it was kept{f': {error.hint}' if error.hint else ''}."
            self.run_method("ended", text)
            return
        self.run_method("ended")  # before the page is left, or the browser would ask
        await attempt(lambda: self.on_uploaded(item))

    def _show_interrupted(self) -> None:
        """Uploads of earlier visits that were interrupted, until the user has seen them."""

        def seen() -> None:
            self.app.uploads.interrupted.clear()
            note.delete()

        with card(kind="note") as note:
            for lost in self.app.uploads.interrupted.values():
                ui.label(lost.describe())
            action("Dismiss", seen, style="quiet")
