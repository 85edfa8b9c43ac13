"""What takes the disk: everything there is with its size and what refers to it, and the bin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nicegui import ui

from osteon.app.bin import KIND_NAMES, Deletion, attached_paths, find_references, list_deletions, purge
from osteon.app.elements import action, caption, card, empty_state, notify_error, page_frame, table
from osteon.app.folder_sizes import FolderSizes, format_size, workspace_sizes
from osteon.app.item_actions import ask_delete, describe_attached, describe_items, restore_item
from osteon.app.state import AppState
from osteon.app.workspace import BIN, Item, ItemKind
from osteon.core.errors import OsteonError

KIND_HEADINGS: dict[ItemKind, str] = {
    "sources": "Uploads",
    "datasets": "Datasets",
    "runs": "Trainings",
    "results": "Results",
    "exports": "Exports",
}
ITEM_PAGES: dict[ItemKind, str] = {
    "sources": "/source/",
    "datasets": "/dataset/",
    "runs": "/train/",
    "results": "/result/",
    "exports": "/d/",
}
HEADS = {"name": "Name", "kind": "What", "told": "On disk", "of": "Refers to it"}


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/space")
    def space() -> None:
        with page_frame(app, "Space", "/space"):
            _Space(app).build()


class _Space:
    """Sizes, which take a while, and the bin."""

    def __init__(self, app: AppState) -> None:
        self.app = app

    def build(self) -> None:
        """Put it onto the page; what has to be counted comes when it is counted."""
        self.place = ui.column().classes("full-width no-wrap gap-4")
        with self.place:
            caption("The files are being counted …")
        ui.timer(0.05, self._count, once=True)

    async def _count(self) -> None:
        sizes, rows, gone = await asyncio.to_thread(
            lambda: (workspace_sizes(self.app.workspace), _rows(self.app), list_deletions(self.app))
        )
        self.place.clear()
        with self.place:
            self._sums(sizes)
            self._items(sizes, rows)
            self._bin(sizes, gone)

    def _sums(self, sizes: FolderSizes) -> None:
        with card("On this disk"):
            ui.label(
                f"The workspace takes {format_size(sizes.whole)}; {format_size(sizes.free)} of the disk are free."
            ).classes("text-weight-medium")
            parts = [f"{word} {format_size(sizes.of(kind))}" for kind, word in KIND_HEADINGS.items()]
            rest = sizes.whole - sum(sizes.items.values())
            caption(
                " · ".join([*parts, f"the bin {format_size(sizes.of(BIN))}", f"jobs and previews {format_size(rest)}"])
            )

    def _items(self, sizes: FolderSizes, rows: list[tuple[Item, list[str], list[Item]]]) -> None:
        if not rows:
            with empty_state(
                "Nothing takes any space yet", "What is uploaded, imported, trained and segmented appears here."
            ):
                return
        shown: list[dict[Any, Any]] = []
        for item, places, users in rows:
            size = sum(sizes.items.get(place, 0) for place in places)
            words = {
                "id": item.id,
                "name": item.title,
                "kind": KIND_NAMES[item.kind],
                "told": format_size(size),
                "size": size,
            }
            shown.append(
                words | {"href": f"{ITEM_PAGES[item.kind]}{item.id}", "of": describe_items(users) if users else ""}
            )
        shown.sort(key=lambda row: -row["size"])
        with card("Everything, the largest first"):
            self.table = table(shown, HEADS, key="id", link="name", tick=True)
            for column in self.table.columns:
                if column["name"] == "told":
                    column[":sort"] = "(a, b, rowA, rowB) => rowA.size - rowB.size"
            items = {item.id: item for item, _, _ in rows}
            action("Delete the ticked one", lambda: self._delete(items), icon="delete", weight="danger")

    async def _delete(self, items: dict[str, Item]) -> None:
        ticked = [items[row["id"]] for row in self.table.selected]
        if len(ticked) != 1:
            notify_error(
                OsteonError("tick the one that is to be deleted", hint="one at a time: each says what goes with it")
            )
            return
        await ask_delete(self.app, ticked[0], "/space")

    def _bin(self, sizes: FolderSizes, gone: list[Deletion]) -> None:
        with card("The bin"):
            if not gone:
                caption("Nothing is in it. What is deleted comes here first.")
                return
            caption("What was deleted, the newest first. It takes space until it is removed for good.")
            for each in gone:
                size = sizes.items.get(f"{BIN}/{each.path.name}", 0)
                with ui.element("div").classes("osteon-row"):
                    with ui.column().classes("osteon-grow gap-0"):
                        ui.label(each.title).classes("text-weight-medium")
                        more = f" and {describe_attached(each)}" if len(each.items) > 1 else ""
                        caption(f"{KIND_NAMES[each.kind]}{more} · {format_size(size)} · deleted {each.at}")
                    back = partial(restore_item, self.app, each)
                    action("Restore", back, icon="undo", name=f"Restore {each.title}").mark(f"restore-{each.path.name}")
                    self._remover("Remove", f"Remove {each.title} for good?", [each], f"Remove {each.title} for good")
            total = format_size(sizes.of(BIN))
            self._remover(f"Empty the bin ({total})", f"Empty the bin? {total} are freed.", gone, "")

    def _remover(self, text: str, question: str, gone: Sequence[Deletion], name: str) -> None:
        async def go() -> None:
            try:
                await asyncio.to_thread(purge, self.app, gone)
            except OsteonError as error:
                notify_error(error)
                return
            self.app.undo = None
            ui.navigate.reload()

        action(
            text, lambda: confirm(question, "This cannot be undone.", "Remove for good", go), weight="danger", name=name
        )


def confirm(title: str, text: str, verb: str, then: Callable[[], object]) -> None:
    """A dialog before what cannot be undone."""
    with ui.context.client.content, ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label(title).classes("text-weight-bold")
        ui.label(text)
        with ui.row():
            ui.button("Keep", on_click=dialog.close).props("flat no-caps")
            ui.button(verb, on_click=then).props("no-caps color=negative")
    dialog.on("hide", dialog.delete)


def _rows(app: AppState) -> list[tuple[Item, list[str], list[Item]]]:
    """Each item with the folders that are counted for it and what refers to it; exports of results are the results'."""
    of = find_references(app)
    rows: list[tuple[Item, list[str], list[Item]]] = []
    owned: set[str] = set()
    for kind in ("sources", "datasets", "runs", "results", "exports"):
        for item in app.workspace.items(kind):
            more = [path.relative_to(app.workspace.root).as_posix() for path in attached_paths(app, item)]
            owned.update(more)
            rows.append((item, [item.relative_path, *more], of.get(item.relative_path, [])))
    return [row for row in rows if row[1][0] not in owned]
