"""Who sits at the browser: a name that is typed once and kept by the browser, so that others read who did what."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import quote, unquote

from nicegui import ui

from osteon.core.errors import UsageError

COOKIE = "osteon-name"
"""In it the name, percent-encoded."""
COOKIE_S = 365 * 24 * 3600
MAX_NAME = 80
STORED = "osteon-author"
"""In the browser's storage the name, as the drawing page has it."""
_NAME = "reader name"
"""In a client's storage: what was typed since the page was opened."""


def reader_name() -> str:
    """The name at this page's browser; empty where none was typed."""
    client = ui.context.client
    sent = client.request.cookies.get(COOKIE, "") if client.request else ""
    return str(client.storage.get(_NAME, _clean(unquote(sent, errors="replace"))))


def require_name() -> str:
    """The name at this page's browser. Raises UsageError where none was typed."""
    if name := reader_name():
        return name
    raise UsageError("your name is missing", hint="type it at the top of the work list or of a case: histories keep it")


def name_field() -> ui.input:
    """A field for the name."""

    def take() -> None:
        ui.context.client.storage[_NAME] = _clean(str(field.value or ""))

    def keep() -> None:
        name = reader_name()
        cookie = f"{COOKIE}={quote(name)}; Path=/; Max-Age={COOKIE_S}; SameSite=Strict"
        stored = f"localStorage.setItem({json.dumps(STORED)}, {json.dumps(name)})"
        ui.run_javascript(f"document.cookie = {json.dumps(cookie)}; {stored}")

    async def take_stored() -> None:
        """What was typed on the drawing page."""
        with suppress(TimeoutError):
            stored = await ui.run_javascript(f"localStorage.getItem({json.dumps(STORED)})", timeout=10)
            if isinstance(stored, str) and not field.value:
                field.set_value(stored)
                keep()

    field = ui.input("Your name", value=reader_name(), on_change=take).props(
        f"dense maxlength={MAX_NAME} autocomplete=name"
    )
    field.on("blur", keep).on("keydown.enter", keep)
    if not field.value:
        ui.timer(0.1, take_stored, once=True)
    return field.classes("osteon-name").mark("reader-name")


def _clean(name: str) -> str:
    """As histories have it: one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in name).strip()[:MAX_NAME]
