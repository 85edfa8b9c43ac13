"""What every dataset, run, result and upload has on pages: its size, Rename and Delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nicegui import ui

from osteon.app.bin import Deletion, delete, missing_uploads, rename, restore
from osteon.app.elements import NAVIGATION, action, attempt, caption, page_frame
from osteon.app.folder_sizes import format_size
from osteon.app.item_references import attached_paths, dependent_datasets, find_job_using, remaining_references
from osteon.app.state import AppState, Undo
from osteon.app.workspace import KIND_NAMES, MAX_NAME_LENGTH, Item, ItemKind
from osteon.core.errors import OsteonError, UsageError
from osteon.core.folders import folder_size
from osteon.core.text import shorten_list

MAX_NAMES = 4
"""Names in a sentence before the others are counted."""


@contextmanager
def open_dialog(title: str, button: str, then: Callable[[], object], *, danger: bool = True) -> Iterator[ui.dialog]:
    """A dialog with a title and two buttons, open at once; what is made in the block stands between.

    Args:
        title: Above.
        button: Text of the button that does it; the other one keeps everything as it is.
        then: What the button does.
        danger: Whether it removes something.
    """
    with ui.context.client.content, ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label(title).classes("text-weight-bold")
        yield dialog
        with ui.row():
            ui.button("Keep", on_click=dialog.close).props("flat no-caps")
            go = ui.button(button, on_click=lambda: attempt(then)).mark("go")
            go.props(f"no-caps {'color=negative' if danger else 'unelevated'}")
    dialog.on("hide", dialog.delete)


def item_page(app: AppState, kind: ItemKind, item_id: str, section: str, show: Callable[[Item], object]) -> None:
    """The page of an item, with its size, Rename and Delete above what `show` makes; or that it is gone.

    Args:
        app: Where it lies.
        kind: Of the item.
        item_id: That stands for it in URLs.
        section: URL of the page that lists such items.
        show: Makes the rest.
    """
    item = app.workspace.find(kind, item_id)
    name, above = KIND_NAMES[kind], NAVIGATION[section][0]
    with page_frame(app, name.capitalize() if item is None else item.title, section, back=(section, above)):
        if item is None:
            raise OsteonError(f"this {name} is no longer here", hint=f"go back to {above}")
        item_header(app, item, section)
        show(item)


def item_header(app: AppState, item: Item, back: str) -> None:
    """Size, Rename and Delete, on an item's own page."""
    with ui.element("div").classes("osteon-row"):
        size = caption("")
        folder = "" if item.title == item.name else f" · its folder is called {item.name}"

        async def show_size() -> None:
            size.set_text(f"takes {format_size(await asyncio.to_thread(item_size, app, item))} of the disk{folder}")

        ui.timer(0.05, show_size, once=True)
        action("Rename", lambda: ask_new_name(app, item), icon="edit", style="quiet")
        action("Delete", lambda: ask_delete(app, item, back), icon="delete", style="quiet")


def item_buttons(app: AppState, item: Item, back: str) -> None:
    """Rename and Delete, in a list: icons."""
    with ui.row().classes("no-wrap gap-0"):
        action("", lambda: ask_new_name(app, item), icon="edit", style="quiet", name=f"Rename {item.title}").mark(
            f"rename-{item.kind}-{item.name}"
        )
        action("", lambda: ask_delete(app, item, back), icon="delete", style="quiet", name=f"Delete {item.title}").mark(
            f"delete-{item.kind}-{item.name}"
        )


def item_size(app: AppState, item: Item) -> int:
    """Bytes that an item takes with what belongs to it."""
    seen: set[tuple[int, int]] = set()
    return sum(folder_size(path, seen) for path in (item.path, *attached_paths(app, item)))


def ask_new_name(app: AppState, item: Item) -> None:
    """A dialog for another name."""

    async def save() -> None:
        before = await asyncio.to_thread(rename, app, item, str(box.value or ""))
        app.undo = Undo(f"{before} is now called {item.title}.", lambda: rename(app, item, before))
        dialog.close()
        ui.navigate.reload()

    with open_dialog(f"Rename {item.title}", "Save the name", save, danger=False) as dialog:
        box = (
            ui.input("New name", value=item.title).props(f"autofocus maxlength={MAX_NAME_LENGTH}").classes("full-width")
        )
        box.on("keydown.enter", lambda: attempt(save))
        caption("Pages show the new name. The folder keeps its own, so that commands and jobs find it as before.")


async def ask_delete(app: AppState, item: Item, back: str) -> None:
    """A dialog that says what goes along, and what stays without it."""
    job, needed, stays = await asyncio.to_thread(_deletion_effects, app, item)
    if job:
        hint = "let it end, or cancel it on the page Jobs"
        raise UsageError(f"{item.title}: the job “{job}” uses it", hint=hint)

    async def confirmed() -> None:
        deletion = await asyncio.to_thread(delete, app, item)
        more = describe_attached(deletion)
        app.undo = Undo(
            f"{deletion.title} is in the bin{f', with {more}' if more else ''}.", lambda: restore(app, deletion)
        )
        dialog.close()
        ui.navigate.to(back)

    button = ("Delete both" if len(needed) == 1 else "Delete all") if needed else "Delete"
    with open_dialog(f"Delete {item.title}?", button, confirmed) as dialog:
        if needed:
            ui.label(f"{describe_items(needed)}: the files are in this upload, so they go together.")
        if stays:
            ui.label(f"{describe_items(stays)}: made of it and kept, but without what is shown of it or needs it.")
        caption("It goes into the bin, from where it can be restored until the bin is emptied.")


def describe_items(items: Sequence[Item]) -> str:
    """`Dataset knees, result mine and 3 more`."""
    text = shorten_list([f"{KIND_NAMES[item.kind]} {item.title}" for item in items], MAX_NAMES)
    return text[:1].upper() + text[1:]


def describe_attached(deletion: Deletion) -> str:
    """`2 more that go with it`; empty where nothing does."""
    more = len(deletion.items) - 1
    return f"{more} more that go{'es' * (more == 1)} with it" if more else ""


async def restore_item(app: AppState, deletion: Deletion) -> None:
    """Restore a deletion, and say what is still missing."""
    await asyncio.to_thread(restore, app, deletion)
    missing = await asyncio.to_thread(missing_uploads, app, deletion)
    hint = f" Its upload {missing[0].title} is still in the bin: restore it, too." if missing else ""
    item = app.workspace.item(deletion.kind, deletion.name)
    app.undo = Undo(f"{deletion.title} is back.{hint}", lambda: delete(app, item))
    ui.navigate.reload()


def _deletion_effects(app: AppState, item: Item) -> tuple[str, list[Item], list[Item]]:
    """The title of a job that uses an item, the datasets that go with it, and what stays."""
    needed = dependent_datasets(app, item)
    job = find_job_using(app, [*needed, item])
    return (job.title if job is not None else ""), needed, remaining_references(app, item, needed)
