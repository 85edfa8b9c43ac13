"""A case on a page: its linked views, and the controls beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from nicegui import ui

from osteon.app.elements import action, caption
from osteon.app.piece_editor import PieceEditor
from osteon.app.view_group import SceneLoader, ViewGroup, ViewPane
from osteon.app.viewer_controls import ViewerControls


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
        with ui.element("div").classes("osteon-look"):
            self.views = ViewGroup(load, panes)
            self.controls = ViewerControls(self.views, step, editor, keys)
        ui.timer(0.01, self._load, once=True)

    async def _load(self) -> None:
        if await self.views.load_scene():
            self.views.build()
            self.controls.build()
            if self.preload is not None:
                await self.preload()

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
