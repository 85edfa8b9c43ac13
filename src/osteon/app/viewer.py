"""A case on a page: its linked views, and the controls beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nicegui import ui

from osteon.app.elements import action, caption
from osteon.app.follow_ups import ScanLink
from osteon.app.piece_editor import PieceEditor
from osteon.app.view_group import SceneLoader, ViewGroup, ViewPane
from osteon.app.viewer_controls import ViewerControls
from osteon.core.errors import UsageError


class Viewer:
    """The views of a case with their controls.

    Args:
        load: Makes the scene.
        panes: What each view shows.
        step: Goes to the next (1) or the previous (-1) case.
        preload: Makes the scene that will probably be asked for next.
        editor: Corrects the pieces of what is shown.
        keys: What further keys do, by their names.
    """

    def __init__(
        self,
        load: SceneLoader,
        panes: Sequence[ViewPane],
        step: Callable[[int], None],
        preload: Callable[[], Awaitable[None]] | None = None,
        editor: PieceEditor | None = None,
        keys: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self.preload = preload
        self.full = False
        with ui.element("div").classes("osteon-look") as self.box:
            with ui.column().classes("full-width gap-2 no-wrap"):
                self.linked = caption("").props("role=status")
                self.linked.set_visibility(False)
                with ui.element("div").classes("osteon-pair") as self.pair:
                    self.views = ViewGroup(load, panes)
            self.controls = ViewerControls(
                self.views, step, editor, {"e": self.fill, "Escape": self.leave} | dict(keys or {})
            )
        ui.timer(0.01, self._load, once=True)

    async def _load(self) -> None:
        if await self.views.load_scene():
            self.views.build()
            self.controls.build()
            if self.preload is not None:
                await self.preload()

    def fill(self) -> None:
        """Let the views fill the window, with the controls beside them; or no longer."""
        self.full = not self.full
        self.box.classes(toggle="osteon-full")
        self.controls.show_full(self.full)
        ui.run_javascript("dispatchEvent(new Event('resize'))")

    def leave(self) -> None:
        """Let them fill the window no longer."""
        if self.full:
            self.fill()

    async def show_beside(
        self, load: SceneLoader | None, titles: tuple[str, str], link: Callable[[dict[str, Any]], ScanLink]
    ) -> None:
        """Show another scan beside this one, with linked slices, in place of one that is there.

        Args:
            load: Makes its scene; None: no other scan.
            titles: Above this one and above the other.
            link: From its scene's info to what links them.
        """
        views = self.views
        if not views.info:
            raise UsageError("the scan is not there yet", hint="wait until it is shown")
        if views.beside is not None:
            views.beside.column.delete()
        views.link, views.beside = ("", ""), None
        if len(views.panes) == 1:
            views.panes = [replace(views.panes[0], title=titles[0] if load is not None else "")]
        self.linked.set_visibility(load is not None)
        if load is not None:
            with self.pair:
                other = ViewGroup(load, [ViewPane(titles[1], ("a",))], structures=views.structures, flags=views.flags)
            views.beside, other.second = other, True
            other.layout, other.layout_chosen = views.layout, views.layout_chosen
            self.linked.set_text("")
            if await other.load_scene():
                if other.is_volume != views.is_volume:
                    raise UsageError("one is a picture and the other is none", hint="choose another scan")
                found = link(other.info)
                self.linked.set_text(found.text)
                views.link = other.link = (f"beside-{other.column.id}", found.by)
                if views.info["modality"] == other.info["modality"] == "ct":
                    other.window = views.window
                other.build()
        views.build()

    def set_panes(self, panes: Sequence[ViewPane]) -> None:
        """Show other panes of the same case."""
        self.views.panes = panes
        if self.views.info:
            self.views.build()
            self.controls.structures.build()


@contextmanager
def case_header(
    names: Sequence[str], name: str, url: Callable[[str], str], text: str = ""
) -> Iterator[Callable[[int], None]]:
    """A row with a case's name between the buttons to the previous and the next one; what the block makes follows.

    Args:
        names: Of all cases, in order.
        name: Of this one.
        url: Of a case's page.
        text: Behind its number.

    Yields:
        What goes to the next (1) or the previous (-1) case.
    """
    number = names.index(name) if name in names else 0

    def step(by: int) -> None:
        ui.navigate.to(url(names[(number + by) % len(names)]))

    with ui.element("div").classes("osteon-row"):
        action("", lambda: step(-1), icon="chevron_left", style="quiet", name="Previous case")
        ui.label(name).classes("text-weight-bold text-h6")
        caption(f"case {number + 1} of {len(names)}{text}")
        action("", lambda: step(1), icon="chevron_right", style="quiet", name="Next case")
        yield step
