"""The list of what the views of a case draw: structures and their pieces, shown, hidden, coloured, gone to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nicegui import ui

from osteon.app.elements import action, caption, card
from osteon.app.piece_editor import PieceEditor
from osteon.app.slider import Slider
from osteon.app.view_group import ViewGroup
from osteon.app.views import VisiblePiece
from osteon.core.text import pluralise

OPACITY = 0.55


class StructureList:
    """A card with a row for each structure, and below one that has pieces a row for each of these.

    Attributes:
        switches: By the name of the row.
        outlines: Whether outlines alone are drawn.
    """

    def __init__(self, views: ViewGroup, editor: PieceEditor | None = None) -> None:
        self.views, self.editor = views, editor
        self.switches: dict[str, ui.switch] = {}
        self.opacities: list[Slider] = []
        self.outlines: ui.switch | None = None
        self.column = ui.column().classes("full-width no-wrap")

    def build(self) -> None:
        """Draw it, in place of what is there."""
        views, names = self.views, self.views.names
        self.column.clear()
        self.switches, self.opacities = {}, []
        with self.column, card("Structures"):
            if not names:
                caption("Nothing is drawn here.")
                return
            with ui.element("div").classes("osteon-row"):
                action("All", lambda: self.set_all_visible(True), style="quiet", name="All: show all structures")
                action("None", lambda: self.set_all_visible(False), style="quiet", name="None: hide all structures")
                self.outlines = ui.switch("Outlines", value=views.outlines_only)
                self.outlines.on_value_change(lambda e: views.set_outlines_only(bool(e.value)))
            caption("Opacity of all")
            opacity_slider(f"Opacity of all {len(names)} structures", OPACITY, self._set_all_opacities)
            with ui.column().classes("osteon-structures no-wrap"):
                for structure, pieces in self._pieces().items():
                    if pieces:
                        self._piece_rows(structure, pieces)
                    else:
                        self._structure_row(structure)
        if self.editor is not None and any(self._pieces().values()):
            with self.column:
                self.editor.build(self.update)

    async def update(self) -> None:
        """Show labels that have changed."""
        await self.views.update_labels()
        self.build()

    def set_all_visible(self, visible: bool) -> None:
        """Show or hide everything."""
        self.views.set_visible(self.views.names, visible)  # before the switches, so that all go in one message
        for switch in self.switches.values():
            switch.set_value(visible)

    def _pieces(self) -> dict[str, list[str]]:
        """Each structure with the names of its pieces, in order; of one that has none there are none."""
        found: dict[str, list[str]] = {}
        for name in self.views.names:
            piece = self.views.structures[name].piece
            found.setdefault(name if piece is None else piece.structure, []).extend([] if piece is None else [name])
        return found

    def _structure_row(self, name: str) -> None:
        with ui.element("div").classes("osteon-structure"):
            self._colour(name)
            self._switch(name, [name], name)
            self._opacity(name, [name])

    def _piece_rows(self, structure: str, names: Sequence[str]) -> None:
        shown = self.views.structures
        with ui.element("div").classes("osteon-structure"):
            switch = self._switch(structure, names, f"{structure}: {pluralise(len(names), 'piece')}")
            switch.on_value_change(lambda e: [self.switches[name].set_value(bool(e.value)) for name in names])
            self._opacity(structure, names)
        for name in names:
            piece = shown[name].piece
            if piece is None:
                continue
            with ui.element("div").classes("osteon-structure osteon-piece"):
                self._colour(name)
                self._switch(name, [name], "").classes(remove="osteon-grow").props["aria-label"] = f"Show {name}"
                text = f"Piece {name.rpartition(' ')[2]} · {self._size(piece)}"
                button = action(text, partial(self.views.go_to, name), style="quiet", name=f"{text}: go to {name}")
                button.classes("osteon-grow").props("align=left").mark(f"piece-{piece.value}")
                if self.editor is not None:
                    self.editor.add_choice(name, piece.value)

    def _size(self, piece: VisiblePiece) -> str:
        info = self.views.info
        if info["unit"] != "mm" or not self.views.is_volume:
            return f"{piece.voxels} px"
        i, j, k = info["spacing_mm"]
        return f"{piece.voxels * i * j * k / 1000:.3g} cm³"

    def _colour(self, name: str) -> None:
        def changed(colour: str) -> None:
            self.views.structures[name].colour = colour
            self.views.update_styles([name])

        colour_input(self.views.structures[name].colour, f"Colour of {name}", changed)

    def _switch(self, row: str, names: Sequence[str], text: str) -> ui.switch:
        switch = ui.switch(text, value=any(self.views.structures[name].visible for name in names))
        switch.classes("osteon-grow").mark(f"structure-{len(self.switches) + 1}")
        switch.on_value_change(lambda e: self.views.set_visible(names, bool(e.value)))
        self.switches[row] = switch
        return switch

    def _opacity(self, row: str, names: Sequence[str]) -> None:
        slider = opacity_slider(
            f"Opacity of {row}", self.views.structures[names[0]].opacity, lambda value: self._set_opacity(names, value)
        )
        self.opacities.append(slider.style("width: 70px; flex: none"))

    def _set_opacity(self, names: Sequence[str], value: float) -> None:
        for name in names:
            self.views.structures[name].opacity = value
        self.views.update_styles(names)

    def _set_all_opacities(self, value: float) -> None:
        self._set_opacity(self.views.names, value)
        for slider in self.opacities:
            slider.set_value(value)


def opacity_slider(label: str, value: float, on_change: Callable[[float], object]) -> Slider:
    """A slider from 5 to 100 %; outlines are always opaque."""
    return Slider(label, (0.05, 1.0), value, on_change, step=0.05, factor=100.0, unit="%")


def colour_input(colour: str, label: str, on_change: Callable[[str], object]) -> None:
    """A field in which a colour is chosen; `on_change` is called with `#rrggbb`."""
    field = ui.element("input").props("type=color").classes("osteon-swatch")
    field.props["value"], field.props["aria-label"] = colour, label

    def changed(event: Any) -> None:
        if isinstance(event.args, str) and len(event.args) == 7:
            on_change(event.args)

    field.on("input", changed, js_handler="(e) => emit(e.target.value)")
