"""Everything that runs, waits or ended."""

from __future__ import annotations

from nicegui import ui

from osteon.app.frame import action, empty, faint, frame, heading
from osteon.app.job_cards import job_card, watch
from osteon.app.jobs import OVER, Job, State
from osteon.app.state import Studio

SHOWN = 40


def register(studio: Studio) -> None:
    """Put the page onto the server."""

    @ui.page("/jobs")
    def jobs() -> None:
        with frame(studio, "Jobs", "/jobs"):
            faint("Jobs go on when this page is closed, and when the server is stopped.")
            watch(studio, lambda: studio.jobs.all()[:SHOWN], lambda rows: _all(studio, list(rows)))


def _all(studio: Studio, rows: list[tuple[Job, State]]) -> None:
    going_on = [row for row in rows if row[1].phase not in OVER]
    over = [row for row in rows if row[1].phase in OVER]
    if not rows:
        with empty("Nothing has been started yet", "Imports, trainings and segmentations are listed here."):
            action("Start", "/", weight="main")
    if going_on:
        heading("Going on")
        for row in reversed(going_on):
            job_card(studio, *row)
    if over:
        heading("Ended")
        for row in over:
            job_card(studio, *row)
