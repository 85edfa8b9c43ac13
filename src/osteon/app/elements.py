"""What every page has: its head, the way to the others, the theme, and how things are said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nicegui import ui

from osteon.app.notifications import JobNotifier
from osteon.app.page_cleanup import PageLeave
from osteon.app.state import AppState
from osteon.app.wording import translate_error
from osteon.core.errors import OsteonError

STYLE_SHEET = Path(__file__).parent / "static/style.css"
NAVIGATION = (
    ("/", "Start", "home"),
    ("/data", "Data", "folder_open"),
    ("/train", "Train", "model_training"),
    ("/segment", "Segment", "content_cut"),
    ("/compare", "Compare", "compare"),
    ("/runs", "Runs", "leaderboard"),
    ("/jobs", "Jobs", "list_alt"),
    ("/space", "Space", "storage"),
)
UNDO_S = 120.0
"""So long pages offer to take back what was done last; what was deleted lies in the bin afterwards, too."""
THEMES = {"light": False, "dark": True, "auto": None}
THEME_ICONS = {"light": "light_mode", "dark": "dark_mode", "auto": "brightness_auto"}


_FOLDERS = "places"
"""In a client's storage: the workspace and the folders of --data, whose places errors do not show."""


@cache
def style_sheet() -> str:
    """The one style sheet."""
    return STYLE_SHEET.read_text(encoding="utf-8")


@contextmanager
def page_frame(app: AppState, title: str, place: str, *, back: tuple[str, str] | None = None) -> Iterator[None]:
    """A page's frame; what is made in the block stands in it.

    Args:
        app: Whose theme is taken.
        title: The page's heading. The browser's history keeps a title, so it names no case.
        place: URL of which of `NAVIGATION` it belongs to.
        back: URL and name of the page above.
    """
    ui.context.client.storage[_FOLDERS] = (app.workspace.root, app.workspace.data_folders)
    ui.page_title(f"{title} · osteon")
    ui.add_head_html(f"<style>{style_sheet()}</style>")  # `add_css` brings a script along
    ui.colors(primary="#1a63d2", positive="#1a7f4b", negative="#b3261e", warning="#9a5b00", dark="#1a2029")
    with ui.header().classes("osteon-head items-center row no-wrap q-px-md q-py-xs"):
        ui.link("Skip to the content", "#content").classes("osteon-skip")
        menu = ui.button(icon="menu").props('flat round dense color=inherit aria-label="Show or hide the menu"')
        ui.label("osteon").classes("text-weight-bold text-h6")
        ui.label("research software, no medical device").classes("osteon-faint gt-xs")
        ui.space()
        JobNotifier()
        PageLeave()
        _theme_button(app)
    with (
        ui.left_drawer(value=True, bordered=False)
        .props("width=190 breakpoint=800")
        .classes("osteon-nav q-pa-none") as drawer
    ):
        menu.on_click(drawer.toggle)
        with ui.element("nav").props('aria-label="Pages"').classes("q-pt-md"):
            for url, name, icon in NAVIGATION:
                link = ui.link(target=url)
                with link:
                    ui.icon(icon, size="20px").props("aria-hidden=true")
                    ui.label(name)
                if url == place:
                    link.props("aria-current=page")
    with ui.element("div").props("id=content tabindex=-1").classes("osteon-page column no-wrap"):  # in NiceGUI's main
        with ui.element("div"):
            if back is not None:
                ui.link(f"← {back[1]}", back[0])
            heading(title, 1)
        _undo_card(app)
        yield


def _undo_card(app: AppState) -> None:
    """What was deleted or renamed just now, on whatever page one is then, to be taken back."""
    undo = app.undo
    if undo is None or time.monotonic() - undo.at > UNDO_S:
        return

    async def back() -> None:
        app.undo = None
        try:
            await asyncio.to_thread(undo.back)
        except OsteonError as error:
            notify_error(error)
            return
        ui.navigate.reload()

    def close() -> None:
        app.undo = None
        bar.delete()

    with card() as bar, ui.element("div").classes("osteon-row"):
        bar.props("role=status")
        ui.label(undo.text).classes("osteon-grow")
        action("Undo", back, icon="undo", weight="main")
        action("", close, icon="close", weight="quiet", name="Close this notice")


def _theme_button(app: AppState) -> None:
    chosen = app.workspace.read_settings().get("theme", "auto")
    current = str(chosen) if chosen in THEMES else "auto"
    dark = ui.dark_mode(THEMES[current])
    names = list(THEMES)

    def turn() -> None:
        nonlocal current
        current = names[(names.index(current) + 1) % len(names)]
        dark.set_value(THEMES[current])
        app.workspace.save_settings(theme=current)
        button.props(f'icon={THEME_ICONS[current]} aria-label="Theme: {current}; change it"')
        hint.set_text(f"Theme: {current}")

    button = ui.button(on_click=turn).props(
        f'flat round dense color=inherit icon={THEME_ICONS[current]} aria-label="Theme: {current}; change it"'
    )
    with button:
        hint = ui.tooltip(f"Theme: {current}")
    button.mark("theme")


def heading(text: str, level: int = 2) -> None:
    """A heading that screen readers know as one."""
    with ui.element(f"h{level}"):
        ui.label(text)


@contextmanager
def card(title: str = "", *, kind: str = "") -> Iterator[ui.card]:
    """A framed part of a page; `kind` is `error`, `note` or `empty_state`."""
    with ui.card().classes(f"osteon-card {f'osteon-{kind}' if kind else ''}") as made:
        if title:
            heading(title)
        yield made


def table(
    rows: list[dict[Any, Any]],
    names: Mapping[str, str],
    *,
    key: str,
    link: str = "",
    tick: bool = False,
    page: int = 25,
) -> ui.table:
    """A table that can be sorted by every column.

    Args:
        rows: One mapping of each.
        names: Field → heading, in order.
        key: The field that tells one row from the others.
        link: The field that is a link to the row's `href`.
        tick: Whether rows can be ticked.
        page: Rows on a page.
    """
    columns = [{"name": n, "label": t, "field": n, "align": "left", "sortable": True} for n, t in names.items()]
    ticks: Literal["multiple"] | None = "multiple" if tick else None
    with ui.element("div").classes("osteon-scroll") as wide:
        made = ui.table(columns=columns, rows=rows, row_key=key, selection=ticks, pagination=page)
    wide.props["tabindex"], wide.props["role"] = 0, "group"  # scrolled by keys where it is too wide
    wide.props["aria-label"] = f"Table: {', '.join(names.values())}"
    made.classes("osteon-table").props("flat dense wrap-cells")
    if tick:
        box = '<q-checkbox v-model="props.selected" dense {} />'
        made.add_slot("header-selection", box.format('aria-label="Tick all rows"'))
        made.add_slot("body-selection", box.format(f''':aria-label="'Tick ' + props.row.{next(iter(names))}"'''))
    if link:
        cell = '<q-td :props="props"><a :href="props.row.href">{{ props.value }}</a></q-td>'
        made.add_slot(f"body-cell-{link}", cell)
    return made


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
    weight: ButtonStyle = "second",
    name: str = "",
) -> ui.button:
    """A button.

    Args:
        text: On it; an icon alone has none, and then needs a name.
        then: What it does, or the URL that it leads to.
        icon: Of Material's.
        weight: How much it stands out.
        name: For screen readers, where the text does not say it all.
    """
    handler = (lambda: ui.navigate.to(then)) if isinstance(then, str) else then
    button = ui.button(text, icon=icon, on_click=handler).props(BUTTON_STYLES[weight])
    if name:
        button.props["aria-label"] = name
        button.tooltip(name)
    return button


def caption(text: str) -> ui.label:
    """A line of less weight."""
    return ui.label(text).classes("osteon-faint")


def long_text(text: str, name: str) -> ui.label:
    """Lines of a fixed width in a box that is scrolled, by keys too; `name` is for screen readers."""
    made = ui.label(text).classes("osteon-log").props("tabindex=0 role=group")
    made.props["aria-label"] = name
    return made


@contextmanager
def empty_state(title: str, text: str) -> Iterator[None]:
    """What stands where there is nothing yet: it says what to do next."""
    with card(title, kind="empty"):
        caption(text)
        yield


def show_error(error: OsteonError, title: str = "That did not work") -> None:
    """An error in people's words; what only some need is folded."""
    error = translate_error(error, *ui.context.client.storage.get(_FOLDERS, ()))
    with card(kind="error") as shown:
        shown.props("role=alert")
        ui.label(title).classes("text-weight-bold osteon-bad")
        first, *rest = error.message.splitlines()
        ui.label(first)
        if error.hint:
            ui.label(f"What to do: {error.hint}")
        if rest:
            with ui.expansion("Details").classes("full-width"):
                long_text("\n".join(rest), "Details")


def notify(text: str, kind: str = "positive") -> None:
    """A short notice that goes by itself."""
    ui.notify(text, type=kind, position="bottom", multi_line=True)  # type: ignore[arg-type]


def notify_error(error: OsteonError) -> None:
    """A notice of an error, with the way out."""
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


def format_age(seconds: float) -> str:
    """`5 s`, `12 min`, `3 h`, `4 days`."""
    for length, name in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' if name == 'day' and count != 1 else ''}"
    return f"{max(0, int(seconds))} s"
