"""Everything that runs, waits or ended."""

from __future__ import annotations

from nicegui import ui

from osteon.app.elements import action, caption, empty_state, heading, page_frame
from osteon.app.job_cards import job_list, watch_jobs
from osteon.app.jobs import FINISHED, Job, JobState
from osteon.app.state import AppState

MAX_SHOWN = 40


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/jobs")
    def jobs() -> None:
        with page_frame(app, "Jobs", "/jobs"):
            caption("Jobs continue when this page is closed, and when the server is stopped.")
            watch_jobs(app, lambda: app.jobs.all()[:MAX_SHOWN], lambda rows: _show_jobs(app, list(rows)))


def _show_jobs(app: AppState, rows: list[tuple[Job, JobState]]) -> None:
    open_jobs = [row for row in rows if row[1].phase not in FINISHED]
    over = [row for row in rows if row[1].phase in FINISHED]
    if not rows:
        with empty_state("Nothing has been started yet", "Imports, trainings and segmentations are listed here."):
            action("Start", "/", style="main")
    if open_jobs:
        heading("Running and waiting")
        job_list(app, open_jobs[::-1])
    if over:
        heading("Ended")
        job_list(app, over)
