"""A form that pairs images and labels by hand, where their names leave it open."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from osteon.app.commands import start_import
from osteon.app.elements import action, card, heading
from osteon.app.state import AppState
from osteon.core.errors import UsageError


class PairingForm:
    """Rows of an image and its label, each chosen from the files of a source."""

    def __init__(self, app: AppState, path: Path, name: str, files: tuple[str, ...]) -> None:
        self.app, self.path, self.name, self.files = app, path, name, files
        self.rows: list[tuple[ui.select, ui.select]] = []
        with ui.expansion("Pair images and labels by hand", icon="link").classes("full-width"), card():
            heading("Which label belongs to which image?")
            self.column = ui.column().classes("full-width no-wrap")
            self._add()
            with ui.row():
                action("One more case", self._add, icon="add", style="quiet")
                action("Import these pairs", self._import, style="main")

    def _add(self) -> None:
        number = len(self.rows) + 1
        with self.column, ui.element("div").classes("osteon-row"):
            image = ui.select(list(self.files), label=f"Image {number}", with_input=True).classes("osteon-grow")
            label = ui.select(list(self.files), label=f"Label {number}", with_input=True, clearable=True).classes(
                "osteon-grow"
            )
        self.rows.append((image, label))

    def _import(self) -> None:
        pairs = [(str(i.value), str(label.value or "")) for i, label in self.rows if i.value]
        if not pairs:
            raise UsageError("no image is chosen", hint="choose an image and its label")
        if any('"' in part for pair in pairs for part in pair):
            raise UsageError("a file's name holds a quotation mark", hint="rename the file")
        folder = self.app.workspace.new_item("sources", f"{self.name}-pairs")
        folder.path.mkdir()
        base = self.path if self.path.is_dir() else self.path.parent
        lines = [",".join(f'"{base / part}"' for part in pair if part) for pair in pairs]
        (folder.path / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        item, _ = start_import(self.app, folder.path / "pairs.txt", self.name, ["--form", "pairs"])
        ui.navigate.to(item.url)
