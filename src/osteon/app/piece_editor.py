"""Buttons with which the pieces of a result are corrected: merged, split, renumbered; and what was done is undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import ui

from osteon.app.corrections import PieceEdit, correct_pieces, corrections_of, renumber_targets, undo_correction
from osteon.app.elements import action, attempt, caption, card, notify
from osteon.app.state import AppState
from osteon.core.errors import UsageError


class PieceEditor:
    """The corrections of one label file of a result.

    Attributes:
        chosen: Values of the pieces that are ticked.
    """

    def __init__(self, app: AppState, path: Path) -> None:
        self.app, self.path = app, path
        self.chosen: dict[int, str] = {}

    def add_choice(self, name: str, value: int) -> None:
        """A box that ticks a piece."""

        def ticked(on: bool) -> None:
            if on:
                self.chosen[value] = name
            else:
                self.chosen.pop(value, None)

        box = ui.checkbox(on_change=lambda e: ticked(bool(e.value))).props("dense").mark(f"choose-{value}")
        box.props["aria-label"] = f"Tick {name}"

    def build(self, update: Callable[[], Awaitable[None]]) -> None:
        """The buttons; `update` shows what has changed."""
        self.update = update
        with card("Correct the pieces"):
            caption("Tick pieces above, then:")
            with ui.element("div").classes("osteon-row"):
                action("Merge", self._merge, icon="merge")
                action("Split", self._split, icon="call_split")
                action("Renumber", self._renumber, icon="tag")
            done = corrections_of(self.path)
            if done:
                with ui.element("div").classes("osteon-row"):
                    ui.label(f"{len(done)} done, the last: {done[-1]}").classes("osteon-grow")
                    action("Undo", self._undo, icon="undo", style="quiet").mark("undo-piece")

    async def _merge(self) -> None:
        if len(self.chosen) < 2:
            raise UsageError("fewer than two pieces are ticked", hint="tick the pieces that belong together")
        await self._correct(PieceEdit("merge", tuple(sorted(self.chosen))))

    async def _split(self) -> None:
        await self._correct(PieceEdit("split", (self._single(),)))

    async def _renumber(self) -> None:
        value = self._single()
        targets = await self.app.reader.run(renumber_targets, self.path, value)

        async def save() -> None:
            dialog.close()
            await self._correct(PieceEdit("renumber", (value,), int(choice.value)))

        with ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
            ui.label(f"What is {self.chosen[value]}?").classes("text-weight-bold text-h6")
            choice = ui.select(targets, value=next(iter(targets)), label="It becomes").classes("full-width")
            choice.mark("renumber")
            with ui.element("div").classes("osteon-row"):
                action("Save", save, style="main")
                action("Cancel", dialog.close, style="quiet")

    async def _undo(self) -> None:
        what = await self.app.reader.run(undo_correction, self.path)
        await self._changed(f"Undone: {what}")

    def _single(self) -> int:
        if len(self.chosen) != 1:
            raise UsageError(f"{len(self.chosen)} pieces are ticked", hint="tick one piece")
        return next(iter(self.chosen))

    async def _correct(self, edit: PieceEdit) -> None:
        await self._changed(await self.app.reader.run(correct_pieces, self.path, edit))

    async def _changed(self, what: str) -> None:
        self.chosen = {}
        await attempt(self.update)
        notify(what)
