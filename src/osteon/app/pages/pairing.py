"""Images and labels that are paired by hand, where names did not tell."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from osteon.app.commands import ImportChoices, begin_import
from osteon.app.frame import card, heading, refuse
from osteon.app.state import Studio
from osteon.core.errors import OsteonError


class PairByHand:
    """A table in which images and labels are brought together where names did not tell."""

    def __init__(self, studio: Studio, path: Path, name: str, files: tuple[str, ...]) -> None:
        self.studio, self.path, self.name, self.files = studio, path, name, files
        self.rows: list[tuple[ui.select, ui.select]] = []

    def build(self) -> None:
        """Put it onto the page, folded."""
        with ui.expansion("Pair images and labels by hand", icon="link").classes("full-width"), card():
            heading("Which label belongs to which image?")
            self.place = ui.column().classes("full-width no-wrap")
            self._add()
            with ui.row():
                ui.button("One more case", icon="add", on_click=self._add).props("flat no-caps")
                ui.button("Import these pairs", on_click=self._import).props("no-caps")

    def _add(self) -> None:
        number = len(self.rows) + 1
        with self.place, ui.element("div").classes("osteon-row"):
            image = ui.select(list(self.files), label=f"Image {number}", with_input=True).classes("osteon-grow")
            label = ui.select(list(self.files), label=f"Label {number}", with_input=True, clearable=True).classes(
                "osteon-grow"
            )
        self.rows.append((image, label))

    def _import(self) -> None:
        pairs = [(str(i.value), str(label.value or "")) for i, label in self.rows if i.value]
        if not pairs:
            refuse(OsteonError("no image is chosen", hint="choose an image and its label"))
            return
        if any('"' in part for pair in pairs for part in pair):
            refuse(OsteonError("a file's name holds a quotation mark", hint="rename the file"))
            return
        folder = self.studio.workspace.new("sources", f"{self.name}-pairs")
        folder.path.mkdir()
        base = self.path if self.path.is_dir() else self.path.parent
        lines = [",".join(f'"{base / part}"' for part in pair if part) for pair in pairs]
        (folder.path / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        item, _ = begin_import(self.studio, folder.path / "pairs.txt", self.name, ImportChoices(form="pairs"))
        ui.navigate.to(f"/dataset/{item.id}")
