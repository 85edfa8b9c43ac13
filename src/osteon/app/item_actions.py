"""What every dataset, run, result and upload has on pages: its size, Rename and Delete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nicegui import ui

from osteon.app.bin import WORDS, Thrown, belonging, delete, lacking, mentioning, needing, rename, restore, user_of
from osteon.app.folder_sizes import size_of, told_size
from osteon.app.frame import action, faint, refuse
from osteon.app.state import Studio, Undo
from osteon.app.workspace import LONGEST_NAME, Item
from osteon.core.errors import OsteonError, UsageError
from osteon.core.text import shorten_list

NAMED = 4
"""Names in a sentence before the others are counted."""


def keeper(studio: Studio, item: Item, back: str) -> None:
    """Size, Rename and Delete, on an item's own page."""
    with ui.element("div").classes("osteon-row"):
        size = faint("")
        folder = "" if item.title == item.name else f" · its folder is called {item.name}"

        async def measure() -> None:
            size.set_text(f"takes {told_size(await asyncio.to_thread(whole_size, studio, item))} of the disk{folder}")

        ui.timer(0.05, measure, once=True)
        action("Rename", lambda: ask_name(studio, item), icon="edit", weight="quiet")
        action("Delete", lambda: ask_delete(studio, item, back), icon="delete", weight="quiet")


def keys(studio: Studio, item: Item, back: str) -> None:
    """Rename and Delete, in a list: icons."""
    with ui.row().classes("no-wrap gap-0"):
        action("", lambda: ask_name(studio, item), icon="edit", weight="quiet", name=f"Rename {item.title}").mark(
            f"rename-{item.kind}-{item.name}"
        )
        action(
            "", lambda: ask_delete(studio, item, back), icon="delete", weight="quiet", name=f"Delete {item.title}"
        ).mark(f"delete-{item.kind}-{item.name}")


def whole_size(studio: Studio, item: Item) -> int:
    """Bytes that an item takes with what belongs to it."""
    seen: set[tuple[int, int]] = set()
    return sum(size_of(path, seen) for path in (item.path, *belonging(studio, item)))


def ask_name(studio: Studio, item: Item) -> None:
    """A dialog for another name."""

    async def go() -> None:
        try:
            before = await asyncio.to_thread(rename, studio, item, str(box.value or ""))
        except OsteonError as error:
            refuse(error)
            return
        studio.undo = Undo(f"{before} is now called {item.title}.", lambda: rename(studio, item, before))
        dialog.close()
        ui.navigate.reload()

    with ui.context.client.content, ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label(f"Rename {item.title}").classes("text-weight-bold")
        box = ui.input("New name", value=item.title).props(f"autofocus maxlength={LONGEST_NAME}").classes("full-width")
        box.on("keydown.enter", go)
        faint("Pages show the new name. The folder keeps its own, so that commands and jobs find it as before.")
        with ui.row():
            ui.button("Keep", on_click=dialog.close).props("flat no-caps")
            ui.button("Save the name", on_click=go).props("unelevated no-caps")
    dialog.on("hide", dialog.delete)


async def ask_delete(studio: Studio, item: Item, back: str) -> None:
    """A dialog that says what goes along, and what stays without it."""
    job, needed, stays = await asyncio.to_thread(_looked_up, studio, item)
    if job:
        hint = "let it end, or cancel it on the page Jobs"
        refuse(UsageError(f"{item.title}: the job “{job}” uses it", hint=hint))
        return

    async def go() -> None:
        try:
            gone = await asyncio.to_thread(delete, studio, item)
        except OsteonError as error:
            refuse(error)
            return
        more = goes_with(gone)
        studio.undo = Undo(
            f"{gone.title} is in the bin{f', with {more}' if more else ''}.",
            lambda: restore(studio, gone),
        )
        dialog.close()
        ui.navigate.to(back)

    with ui.context.client.content, ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label(f"Delete {item.title}?").classes("text-weight-bold")
        if needed:
            ui.label(f"{listed(needed)}: the files are in this upload, so they go together.")
        if stays:
            ui.label(f"{listed(stays)}: made of it and kept, but without what is shown of it or needs it.")
        faint("It goes into the bin, from where it can be restored until the bin is emptied.")
        with ui.row():
            ui.button("Keep", on_click=dialog.close).props("flat no-caps")
            ui.button(("Delete both" if len(needed) == 1 else "Delete all") if needed else "Delete", on_click=go).props(
                "no-caps color=negative"
            ).mark("go")
    dialog.on("hide", dialog.delete)


def listed(items: Sequence[Item]) -> str:
    """`Dataset knees, result mine and 3 more`."""
    text = shorten_list([f"{WORDS[item.kind]} {item.title}" for item in items], NAMED)
    return text[:1].upper() + text[1:]


def goes_with(gone: Thrown) -> str:
    """`2 more that go with it`; empty where nothing does."""
    more = len(gone.items) - 1
    return f"{more} more that go{'es' * (more == 1)} with it" if more else ""


async def put_back(studio: Studio, gone: Thrown) -> None:
    """Restore a deletion, and say what is still missing."""
    try:
        await asyncio.to_thread(restore, studio, gone)
        missing = await asyncio.to_thread(lacking, studio, gone)
    except OsteonError as error:
        refuse(error)
        return
    also = f" Its upload {missing[0].title} is still in the bin: restore it, too." if missing else ""
    item = studio.workspace.item(gone.kind, gone.name)
    studio.undo = Undo(f"{gone.title} is back.{also}", lambda: delete(studio, item))
    ui.navigate.reload()


def _looked_up(studio: Studio, item: Item) -> tuple[str, list[Item], list[Item]]:
    """The title of a job that uses an item, the datasets that go with it, and what stays."""
    needed = needing(studio, item)
    job = user_of(studio, [*needed, item])
    return (job.title if job is not None else ""), needed, mentioning(studio, item, needed)
