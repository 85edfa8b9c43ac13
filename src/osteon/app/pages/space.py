"""What takes the disk: everything there is with its size and what refers to it, and the bin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from nicegui import ui

from osteon.app.bin import Deletion, list_deletions, purge
from osteon.app.elements import action, caption, card, empty_state, page_frame, table
from osteon.app.folder_sizes import FolderSizes, format_size, workspace_sizes
from osteon.app.item_actions import ask_delete, describe_attached, describe_items, open_dialog, restore_item
from osteon.app.item_references import attached_paths, find_references
from osteon.app.state import AppState
from osteon.app.workspace import BIN, KIND_NAMES, Item
from osteon.core.errors import UsageError

HEADINGS = {"name": "Name", "kind": "What", "size_text": "On disk", "of": "Refers to it"}


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/space")
    def space() -> None:
        with page_frame(app, "Space", "/space"):
            _SpacePage(app)


class _SpacePage:
    """Sizes of all items, and the bin."""

    def __init__(self, app: AppState) -> None:
        self.app = app
        self.column = ui.column().classes("full-width no-wrap gap-4")
        with self.column:
            caption("The files are being counted …")
        ui.timer(0.05, self._count, once=True)

    async def _count(self) -> None:
        sizes, rows, deletions = await asyncio.to_thread(
            lambda: (workspace_sizes(self.app.workspace), _rows(self.app), list_deletions(self.app))
        )
        self.column.clear()
        with self.column:
            self._show_sizes(sizes)
            self._show_items(sizes, rows)
            self._show_bin(sizes, deletions)

    def _show_sizes(self, sizes: FolderSizes) -> None:
        with card("On this disk"):
            ui.label(
                f"The workspace takes {format_size(sizes.total)}; {format_size(sizes.free)} of the disk are free."
            ).classes("text-weight-medium")
            parts = [f"{name.capitalize()}s {format_size(sizes.of(kind))}" for kind, name in KIND_NAMES.items()]
            rest = sizes.total - sum(sizes.items.values())
            caption(
                " · ".join([*parts, f"the bin {format_size(sizes.of(BIN))}", f"jobs and previews {format_size(rest)}"])
            )

    def _show_items(self, sizes: FolderSizes, rows: list[tuple[Item, list[str], list[Item]]]) -> None:
        if not rows:
            empty_state(
                "Nothing takes any space yet", "What is uploaded, imported, trained and segmented appears here."
            )
            return
        shown: list[dict[Any, Any]] = []
        for item, paths, users in rows:
            size = sum(sizes.items.get(path, 0) for path in paths)
            row = {
                "id": item.id,
                "name": item.title,
                "kind": KIND_NAMES[item.kind],
                "size_text": format_size(size),
                "size": size,
            }
            shown.append(row | {"href": item.url, "of": describe_items(users) if users else ""})
        shown.sort(key=lambda row: -row["size"])
        with card("Everything, the largest first"):
            self.table = table(shown, HEADINGS, key="id", link="name", selectable=True)
            for column in self.table.columns:
                if column["name"] == "size_text":
                    column[":sort"] = "(a, b, rowA, rowB) => rowA.size - rowB.size"
            items = {item.id: item for item, _, _ in rows}
            action("Delete the ticked one", lambda: self._delete(items), icon="delete", style="danger")

    async def _delete(self, items: dict[str, Item]) -> None:
        ticked = [items[row["id"]] for row in self.table.selected]
        if len(ticked) != 1:
            raise UsageError(
                "tick the one that is to be deleted", hint="one at a time: each shows what is deleted with it"
            )
        await ask_delete(self.app, ticked[0], "/space")

    def _show_bin(self, sizes: FolderSizes, deletions: list[Deletion]) -> None:
        with card("The bin"):
            if not deletions:
                caption("The bin is empty. What you delete comes here first.")
                return
            caption("What was deleted, the newest first. It takes space until it is removed for good.")
            for deletion in deletions:
                size = sizes.items.get(f"{BIN}/{deletion.path.name}", 0)
                with ui.element("div").classes("osteon-row"):
                    with ui.column().classes("osteon-grow gap-0"):
                        ui.label(deletion.title).classes("text-weight-medium")
                        more = f" and {describe_attached(deletion)}" if len(deletion.items) > 1 else ""
                        caption(f"{KIND_NAMES[deletion.kind]}{more} · {format_size(size)} · deleted {deletion.at}")
                    restored = partial(restore_item, self.app, deletion)
                    action("Restore", restored, icon="undo", name=f"Restore {deletion.title}").mark(
                        f"restore-{deletion.path.name}"
                    )
                    self._purge_button(
                        "Remove", f"Remove {deletion.title} for good?", [deletion], f"Remove {deletion.title} for good"
                    )
            total = format_size(sizes.of(BIN))
            self._purge_button(f"Empty the bin ({total})", f"Empty the bin? {total} are freed.", deletions, "")

    def _purge_button(self, text: str, question: str, deletions: Sequence[Deletion], name: str) -> None:
        async def confirmed() -> None:
            await asyncio.to_thread(purge, self.app, deletions)
            self.app.undo = None
            ui.navigate.reload()

        def confirm() -> None:
            with open_dialog(question, "Remove for good", confirmed):
                ui.label("This cannot be undone.")

        action(text, confirm, style="danger", name=name)


def _rows(app: AppState) -> list[tuple[Item, list[str], list[Item]]]:
    """Each item with the folders that are counted for it and what refers to it; exports of results are the results'."""
    references = find_references(app)
    rows: list[tuple[Item, list[str], list[Item]]] = []
    owned: set[str] = set()
    for kind in ("sources", "datasets", "runs", "results", "exports"):
        for item in app.workspace.items(kind):
            more = [path.relative_to(app.workspace.root).as_posix() for path in attached_paths(app, item)]
            owned.update(more)
            rows.append((item, [item.relative_path, *more], references.get(item.relative_path, [])))
    return [row for row in rows if row[1][0] not in owned]
