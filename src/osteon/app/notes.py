"""Notes on a source or a job: similar ones on one line, with their count."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from osteon.app.elements import card, long_text
from osteon.app.state import AppState
from osteon.app.wording import group_similar, strip_folders, translate_text

MAX_LISTED = 200
"""Lines of one kind that are listed; how many more there are is added."""


def show_notes(
    app: AppState, lines: Sequence[str], *, kind: str = "", title: str = "", max_groups: int | None = None
) -> None:
    """Put lines onto the page, in its words: similar ones once, with all of them folded.

    Args:
        app: Whose folders are left out.
        lines: As a command prints them; those that only name options of the command line are left out.
        kind: Of the card around them, `note` or `error`; none where empty.
        title: Before the count.
        max_groups: Groups that are shown unfolded; all when None.
    """
    root, data = app.workspace.root, app.workspace.data_folders
    texts = [text for line in lines if (text := translate_text(strip_folders(line, root, data)))]
    groups = group_similar(texts)
    if not groups:
        return
    if not kind:
        for group in groups:
            _show_group(group)
        return
    with card(kind=kind):
        ui.label(f"{title}: {len(texts)}").classes("text-weight-medium")
        for group in groups[:max_groups]:
            _show_group(group)
        if max_groups is not None and len(groups) > max_groups:
            with ui.expansion(f"{len(groups) - max_groups} more kinds").classes("full-width"):
                for group in groups[max_groups:]:
                    _show_group(group)


def _show_group(lines: Sequence[str]) -> None:
    if len(lines) == 1:
        ui.label(lines[0])
        return
    with ui.expansion(f"{len(lines)} times: {lines[0]}").props("dense").classes("full-width osteon-group"):
        rest = f"\n… and {len(lines) - MAX_LISTED} more" if len(lines) > MAX_LISTED else ""
        long_text("\n".join(lines[:MAX_LISTED]) + rest, "All of them")
