"""A dialog that lists what keys do."""

from __future__ import annotations

from collections.abc import Iterable

from nicegui import ui

from osteon.app.elements import action, caption


def show_keys(title: str, keys: Iterable[tuple[str, str]], text: str = "") -> None:
    """Each key with what it does, and a line of text below."""
    with ui.dialog(value=True) as dialog, ui.card().classes("osteon-card"):
        ui.label(title).classes("text-weight-bold text-h6")
        for key, what in keys:
            with ui.element("div").classes("osteon-row no-wrap"):
                with ui.element("kbd"):
                    ui.label(key)
                ui.label(what)
        if text:
            caption(text)
        action("Close", dialog.close, style="main")
