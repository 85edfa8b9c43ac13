"""What takes the disk: everything there is with its size and what refers to it, and the bin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nicegui import ui

from osteon.app.bin import WORDS, Thrown, belonging, references, remove, thrown
from osteon.app.folder_sizes import Sizes, sizes_of, told_size
from osteon.app.frame import action, card, empty, faint, frame, refuse, table
from osteon.app.item_actions import ask_delete, goes_with, listed, put_back
from osteon.app.state import Studio
from osteon.app.workspace import BIN, Item, Kind
from osteon.core.errors import OsteonError

SHOWN: dict[Kind, str] = {
    "sources": "Uploads",
    "datasets": "Datasets",
    "runs": "Trainings",
    "results": "Results",
    "exports": "Exports",
}
PAGES: dict[Kind, str] = {
    "sources": "/source/",
    "datasets": "/dataset/",
    "runs": "/train/",
    "results": "/result/",
    "exports": "/d/",
}
HEADS = {"name": "Name", "kind": "What", "told": "On disk", "of": "Refers to it"}


def register(studio: Studio) -> None:
    """Put the page onto the server."""

    @ui.page("/space")
    def space() -> None:
        with frame(studio, "Space", "/space"):
            _Space(studio).build()


class _Space:
    """Sizes, which take a while, and the bin."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def build(self) -> None:
        """Put it onto the page; what has to be counted comes when it is counted."""
        self.place = ui.column().classes("full-width no-wrap gap-4")
        with self.place:
            faint("The files are being counted …")
        ui.timer(0.05, self._count, once=True)

    async def _count(self) -> None:
        sizes, rows, gone = await asyncio.to_thread(
            lambda: (sizes_of(self.studio.workspace), _rows(self.studio), thrown(self.studio))
        )
        self.place.clear()
        with self.place:
            self._sums(sizes)
            self._items(sizes, rows)
            self._bin(sizes, gone)

    def _sums(self, sizes: Sizes) -> None:
        with card("On this disk"):
            ui.label(
                f"The workspace takes {told_size(sizes.whole)}; {told_size(sizes.free)} of the disk are free."
            ).classes("text-weight-medium")
            parts = [f"{word} {told_size(sizes.of(kind))}" for kind, word in SHOWN.items()]
            rest = sizes.whole - sum(sizes.items.values())
            faint(" · ".join([*parts, f"the bin {told_size(sizes.of(BIN))}", f"jobs and previews {told_size(rest)}"]))

    def _items(self, sizes: Sizes, rows: list[tuple[Item, list[str], list[Item]]]) -> None:
        if not rows:
            with empty(
                "Nothing takes any space yet", "What is uploaded, imported, trained and segmented appears here."
            ):
                return
        shown: list[dict[Any, Any]] = []
        for item, places, users in rows:
            size = sum(sizes.items.get(place, 0) for place in places)
            words = {"id": item.id, "name": item.title, "kind": WORDS[item.kind], "told": told_size(size), "size": size}
            shown.append(words | {"href": f"{PAGES[item.kind]}{item.id}", "of": listed(users) if users else ""})
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
            refuse(OsteonError("tick the one that is to be deleted", hint="one at a time: each says what goes with it"))
            return
        await ask_delete(self.studio, ticked[0], "/space")

    def _bin(self, sizes: Sizes, gone: list[Thrown]) -> None:
        with card("The bin"):
            if not gone:
                faint("Nothing is in it. What is deleted comes here first.")
                return
            faint("What was deleted, the newest first. It takes space until it is removed for good.")
            for each in gone:
                size = sizes.items.get(f"{BIN}/{each.path.name}", 0)
                with ui.element("div").classes("osteon-row"):
                    with ui.column().classes("osteon-grow gap-0"):
                        ui.label(each.title).classes("text-weight-medium")
                        more = f" and {goes_with(each)}" if len(each.items) > 1 else ""
                        faint(f"{WORDS[each.kind]}{more} · {told_size(size)} · deleted {each.at}")
                    back = partial(put_back, self.studio, each)
                    action("Restore", back, icon="undo", name=f"Restore {each.title}").mark(f"restore-{each.path.name}")
                    self._remover("Remove", f"Remove {each.title} for good?", [each], f"Remove {each.title} for good")
            total = told_size(sizes.of(BIN))
            self._remover(f"Empty the bin ({total})", f"Empty the bin? {total} are freed.", gone, "")

    def _remover(self, text: str, question: str, gone: Sequence[Thrown], name: str) -> None:
        async def go() -> None:
            try:
                await asyncio.to_thread(remove, self.studio, gone)
            except OsteonError as error:
                refuse(error)
                return
            self.studio.undo = None
            ui.navigate.reload()

        action(text, lambda: ask(question, "This cannot be undone.", "Remove for good", go), weight="danger", name=name)


def ask(title: str, text: str, verb: str, then: Callable[[], object]) -> None:
    """A dialog before what cannot be undone."""
    with ui.context.client.content, ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label(title).classes("text-weight-bold")
        ui.label(text)
        with ui.row():
            ui.button("Keep", on_click=dialog.close).props("flat no-caps")
            ui.button(verb, on_click=then).props("no-caps color=negative")
    dialog.on("hide", dialog.delete)


def _rows(studio: Studio) -> list[tuple[Item, list[str], list[Item]]]:
    """Each item with the folders that are counted for it and what refers to it; exports of results are the results'."""
    of = references(studio)
    rows: list[tuple[Item, list[str], list[Item]]] = []
    owned: set[str] = set()
    for kind in ("sources", "datasets", "runs", "results", "exports"):
        for item in studio.workspace.items(kind):
            more = [path.relative_to(studio.workspace.root).as_posix() for path in belonging(studio, item)]
            owned.update(more)
            rows.append((item, [item.place, *more], of.get(item.place, [])))
    return [row for row in rows if row[1][0] not in owned]
