"""Buttons that make the report of a case and hand it to the browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from osteon.app.elements import action

FORMS = {"pdf": ("Report (PDF)", "application/pdf"), "html": ("Report (HTML)", "text/html")}


def report_buttons(case: str, make: Callable[[str], Awaitable[bytes]]) -> None:
    """A button for each form.

    Args:
        case: Its id.
        make: From `pdf` or `html` to the file's content; raises OsteonError.
    """

    async def download(form: str) -> None:
        ui.download.content(await make(form), f"{case}.{form}", FORMS[form][1])

    for form, (text, _) in FORMS.items():
        action(text, partial(download, form), icon="description", style="quiet")
