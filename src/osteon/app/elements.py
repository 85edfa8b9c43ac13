"""What every page is made of: its frame with navigation and theme, cards, tables, buttons, dialogs and notices."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from nicegui import ui

from osteon.app.notifications import JobNotifier
from osteon.app.page_cleanup import PageLeave
from osteon.app.state import AppState
from osteon.app.theme_button import theme_button
from osteon.app.wording import translate_error
from osteon.core.errors import OsteonError

STYLE_SHEET = (Path(__file__).parent / "static/style.css").read_text(encoding="utf-8")
NAVIGATION = {
    "/": ("Start", "home"),
    "/data": ("Data", "folder_open"),
    "/train": ("Train", "model_training"),
    "/segment": ("Segment", "content_cut"),
    "/compare": ("Compare", "compare"),
    "/runs": ("Runs", "leaderboard"),
    "/jobs": ("Jobs", "list_alt"),
    "/space": ("Space", "storage"),
}
"""Name and icon of each page of the menu, by its URL."""
UNDO_S = 120.0
"""For this long pages offer to undo the last action; what was deleted is in the bin afterwards, too."""
_FOLDERS = "folders"
"""In a client's storage: the workspace and the folders of --data, whose paths are left out of errors."""


@contextmanager
def page_frame(
    app: AppState, title: str, section: str, *, back: tuple[str, str] | None = None, wide: bool = False
) -> Iterator[None]:
    """A page's frame; what is made in the block stands in it, and so does an OsteonError that it raises.

    Args:
        app: Whose theme is used.
        title: The page's heading. The browser's history keeps a title, so it names no case.
        section: URL of the row of `NAVIGATION` that it belongs to.
        back: URL and name of the page above.
        wide: Whether it fills the window, with the menu closed and the heading in one line with what leads back.
    """
    ui.context.client.storage[_FOLDERS] = (app.workspace.root, app.workspace.data_folders)
    ui.page_title(f"{title} · osteon")
    ui.add_head_html(f"<style>{STYLE_SHEET}</style>")  # `add_css` brings a script along
    ui.colors(primary="#1a63d2", positive="#1a7f4b", negative="#b3261e", warning="#9a5b00", dark="#1a2029")
    with ui.header().classes("osteon-head items-center row no-wrap q-px-md q-py-xs"):
        ui.link("Skip to the content", "#content").classes("osteon-skip")
        menu = ui.button(icon="menu").props('flat round dense color=inherit aria-label="Show or hide the menu"')
        ui.label("osteon").classes("text-weight-bold text-h6")
        ui.label("research software, no medical device").classes("osteon-faint gt-xs")
        ui.space()
        JobNotifier()
        PageLeave()
        theme_button(app)
    with (
        ui.left_drawer(value=not wide, bordered=False)
        .props("width=190 breakpoint=800")
        .classes("osteon-nav q-pa-none") as drawer
    ):
        menu.on_click(drawer.toggle)
        with ui.element("nav").props('aria-label="Pages"').classes("q-pt-md"):
            for url, (name, icon) in NAVIGATION.items():
                link = ui.link(target=url)
                with link:
                    ui.icon(icon, size="20px").props("aria-hidden=true")
                    ui.label(name)
                if url == section:
                    link.props("aria-current=page")
    content = ui.element("div").props("id=content tabindex=-1").classes("osteon-page column no-wrap")
    with content.classes("osteon-wide" if wide else ""):  # in NiceGUI's main
        with ui.element("div"):
            if back is not None:
                ui.link(f"← {back[1]}", back[0])
            heading(title, 1)
        _undo_card(app)
        try:
            yield
        except OsteonError as error:
            show_error(error)


def _undo_card(app: AppState) -> None:
    """What was deleted or renamed just now, on whatever page the user is, with a button that undoes it."""
    undo = app.undo
    if undo is None or time.monotonic() - undo.at_s > UNDO_S:
        return

    async def revert() -> None:
        app.undo = None
        await asyncio.to_thread(undo.revert)
        ui.navigate.reload()

    def close() -> None:
        app.undo = None
        bar.delete()

    with card() as bar, ui.element("div").classes("osteon-row"):
        bar.props("role=status")
        ui.label(undo.text).classes("osteon-grow")
        action("Undo", revert, icon="undo", style="main")
        action("", close, icon="close", style="quiet", name="Close this notice")


def heading(text: str, level: int = 2) -> None:
    """A heading that screen readers know as one."""
    with ui.element(f"h{level}"):
        ui.label(text)


@contextmanager
def card(title: str = "", *, kind: str = "") -> Iterator[ui.card]:
    """A part of a page with a border; `kind` is `error`, `note` or `empty`."""
    with ui.card().classes(f"osteon-card {f'osteon-{kind}' if kind else ''}") as element:
        if title:
            heading(title)
        yield element


@contextmanager
def list_card(title: str, text: str, url: str = "") -> Iterator[None]:
    """A card of a list: a title, a link where there is a URL, and a line; what the block makes is on the right."""
    with card(), ui.element("div").classes("osteon-row"):
        with ui.column().classes("osteon-grow gap-0"):
            (ui.link(title, url) if url else ui.label(title)).classes("text-weight-medium")
            caption(text)
        yield


def table(
    rows: list[dict[Any, Any]],
    names: Mapping[str, str],
    *,
    key: str,
    link: str = "",
    selectable: bool = False,
    page_size: int = 25,
) -> ui.table:
    """A table that can be sorted by every column.

    Args:
        rows: By field.
        names: Field → heading, in order.
        key: The field that identifies a row.
        link: The field that is a link to the row's `href`.
        selectable: Whether rows can be ticked.
        page_size: Rows on a page.
    """
    columns = [{"name": n, "label": t, "field": n, "align": "left", "sortable": True} for n, t in names.items()]
    selection: Literal["multiple"] | None = "multiple" if selectable else None
    with ui.element("div").classes("osteon-scroll") as scrolled:
        element = ui.table(columns=columns, rows=rows, row_key=key, selection=selection, pagination=page_size)
    scrolled.props["tabindex"], scrolled.props["role"] = 0, "group"  # scrolled by keys where it is too wide
    scrolled.props["aria-label"] = f"Table: {', '.join(names.values())}"
    element.classes("osteon-table").props("flat dense wrap-cells")
    if selectable:
        box = '<q-checkbox v-model="props.selected" dense {} />'
        element.add_slot("header-selection", box.format('aria-label="Tick all rows"'))
        element.add_slot("body-selection", box.format(f''':aria-label="'Tick ' + props.row.{next(iter(names))}"'''))
    if link:
        cell = '<q-td :props="props"><a :href="props.row.href">{{ props.value }}</a></q-td>'
        element.add_slot(f"body-cell-{link}", cell)
    return element


ButtonStyle = Literal["main", "second", "quiet", "danger"]
BUTTON_STYLES: dict[ButtonStyle, str] = {
    "main": "unelevated no-caps",
    "second": "outline no-caps",
    "quiet": "flat dense no-caps",
    "danger": "outline no-caps color=negative",
}


def action(
    text: str,
    then: Callable[[], object] | str,
    *,
    icon: str | None = None,
    style: ButtonStyle = "second",
    name: str = "",
) -> ui.button:
    """A button.

    Args:
        text: On it; an icon alone has none, and then needs a name.
        then: What it does, or the URL that it leads to; an OsteonError becomes a notice.
        icon: Of Material's.
        style: How much it stands out.
        name: For screen readers, where the text does not say it all.
    """
    handler = (lambda: ui.navigate.to(then)) if isinstance(then, str) else then
    button = ui.button(text, icon=icon, on_click=lambda: attempt(handler)).props(BUTTON_STYLES[style])
    if name:
        button.props["aria-label"] = name
        button.tooltip(name)
    return button


async def attempt(handler: Callable[[], object]) -> None:
    """Do what a user asked for; an OsteonError becomes a notice."""
    try:
        result = handler()
        if inspect.iscoroutine(result):
            await result
    except OsteonError as error:
        notify_error(error)


def caption(text: str) -> ui.label:
    """A line in a fainter colour."""
    return ui.label(text).classes("osteon-faint")


def long_text(text: str, name: str) -> ui.label:
    """Lines of a fixed width in a box that is scrolled, by keys too; `name` is for screen readers."""
    label = ui.label(text).classes("osteon-log").props("tabindex=0 role=group")
    label.props["aria-label"] = name
    return label


def empty_state(title: str, text: str) -> ui.card:
    """A card where there is nothing yet, that says what to do next."""
    with card(title, kind="empty") as element:
        caption(text)
    return element


def note(text: str) -> None:
    """A line in a card that stands out; nothing where it is empty."""
    if text:
        with card(kind="note"):
            ui.label(text)


def show_error(error: OsteonError, title: str = "That did not work") -> None:
    """An error in the pages' words; details are folded."""
    error = translate_error(error, *ui.context.client.storage.get(_FOLDERS, ()))
    with card(kind="error") as alert:
        alert.props("role=alert")
        ui.label(title).classes("text-weight-bold osteon-bad")
        first, *rest = error.message.splitlines()
        ui.label(first)
        if error.hint:
            ui.label(f"What to do: {error.hint}")
        if rest:
            with ui.expansion("Details").classes("full-width"):
                long_text("\n".join(rest), "Details")


def refresh_on_change(state: Callable[[], object], refresh: Callable[[], object]) -> None:
    """Call `refresh` whenever `state` has changed; it is asked each second while the page is open."""
    seen = state()

    def check() -> None:
        nonlocal seen
        now = state()
        if now != seen:
            seen = now
            refresh()

    ui.timer(1.0, check)


def notify(text: str) -> None:
    """A short notice that disappears by itself."""
    ui.notify(text, type="positive", position="bottom", multi_line=True)


def notify_error(error: OsteonError) -> None:
    """A notice of an error, with its hint."""
    error = translate_error(error, *ui.context.client.storage.get(_FOLDERS, ()))
    first = error.message.partition("\n")[0]
    ui.notify(
        f"{first}. {error.hint}" if error.hint else first,
        type="negative",
        position="bottom",
        multi_line=True,
        timeout=12_000,
        close_button="Close",
    )
