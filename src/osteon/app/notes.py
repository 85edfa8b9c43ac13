"""What is told of a source or a job: what is alike on one line, with its count."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from osteon.app.frame import card, long_text
from osteon.app.state import Studio
from osteon.app.wording import alike, plain_paths, plain_words

LISTED = 200
"""Lines of one kind that are unfolded at most; how many more there are is said."""


def tell_notes(
    studio: Studio, lines: Sequence[str], *, kind: str = "", title: str = "", most: int | None = None
) -> None:
    """Put lines onto the page, in its words: what is said of several files once, the files folded.

    Args:
        studio: Whose places are left out.
        lines: As a command says them; those that only name options of the command line are left out.
        kind: Of the card around them, `note` or `error`; none where empty.
        title: Before the count.
        most: Kinds of lines that are shown unfolded; all when None.
    """
    root, data = studio.workspace.root, studio.workspace.data
    said = [text for line in lines if (text := plain_words(plain_paths(line, root, data)))]
    groups = alike(said)
    if not groups:
        return
    if not kind:
        for group in groups:
            _group(group)
        return
    with card(kind=kind):
        ui.label(f"{title}: {len(said)}").classes("text-weight-medium")
        for group in groups[:most]:
            _group(group)
        if most is not None and len(groups) > most:
            with ui.expansion(f"{len(groups) - most} more kinds").classes("full-width"):
                for group in groups[most:]:
                    _group(group)


def _group(lines: Sequence[str]) -> None:
    if len(lines) == 1:
        ui.label(lines[0])
        return
    with ui.expansion(f"{len(lines)} times: {lines[0]}").props("dense").classes("full-width osteon-group"):
        rest = f"\n… and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        long_text("\n".join(lines[:LISTED]) + rest, "All of them")
