"""Who sits at the browser: a name that is typed once and kept by the browser, so that others read who did what."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote, unquote

from nicegui import ui

from osteon.core.errors import UsageError

COOKIE = "osteon-name"
"""In it the name, percent-encoded."""
COOKIE_S = 365 * 24 * 3600
MAX_NAME = 60
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
    raise UsageError("nobody knows who you are", hint="type your name first: at the top of the work list and of a case")


def name_field(on_change: Callable[[], object] = lambda: None) -> ui.input:
    """A field for the name; `on_change` is called when another one was typed."""

    def keep() -> None:
        name = _clean(str(field.value or ""))
        if name == reader_name():
            return
        ui.context.client.storage[_NAME] = name
        cookie = f"{COOKIE}={quote(name)}; Path=/; Max-Age={COOKIE_S}; SameSite=Strict"
        ui.run_javascript(f"document.cookie = {json.dumps(cookie)}")
        on_change()

    field = ui.input("Your name", value=reader_name()).props(f"dense maxlength={MAX_NAME} autocomplete=name")
    field.on("blur", keep).on("keydown.enter", keep)
    return field.classes("osteon-name").mark("reader-name")


def _clean(name: str) -> str:
    """As histories have it: one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in name).strip()[:MAX_NAME]
