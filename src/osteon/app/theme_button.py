"""The button in every page's header that switches the theme."""

from __future__ import annotations

from nicegui import ui

from osteon.app.state import AppState

THEMES = {"light": False, "dark": True, "auto": None}
THEME_ICONS = {"light": "light_mode", "dark": "dark_mode", "auto": "brightness_auto"}


def theme_button(app: AppState) -> None:
    """Switches between light, dark and the system's theme."""
    chosen = app.workspace.read_settings().get("theme", "auto")
    current = str(chosen) if chosen in THEMES else "auto"
    dark = ui.dark_mode()

    def show() -> None:
        dark.set_value(THEMES[current])
        button.props(f'icon={THEME_ICONS[current]} aria-label="Theme: {current}; change it"')
        hint.set_text(f"Theme: {current}")

    def switch() -> None:
        nonlocal current
        names = list(THEMES)
        current = names[(names.index(current) + 1) % len(names)]
        app.workspace.save_settings(theme=current)
        show()

    with ui.button(on_click=switch).props("flat round dense color=inherit").mark("theme") as button:
        hint = ui.tooltip()
    show()
