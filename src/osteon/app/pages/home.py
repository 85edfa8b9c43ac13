"""The first page: what to do next, and the latest jobs."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from osteon.app.commands import start_phantom
from osteon.app.elements import action, caption, card, heading, page_frame
from osteon.app.job_cards import job_list, watch_jobs
from osteon.app.jobs import Job, JobState
from osteon.app.state import AppState
from osteon.core.text import pluralise

PHANTOMS = {
    "limb": "children's legs: MR series (DICOM) with a mask for each bone",
    "humerus": "fractured upper arms: CT with meshes of the fragments",
    "spine": "lumbar spines: MR (NRRD) with label maps",
    "hand": "hand radiographs with 29 overlapping bones",
    "lung": "chest CT with small tumours",
}
RECENT = 3


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/")
    def home() -> None:
        with page_frame(app, "From scans to bones", "/"):
            _show_steps(app)
            with ui.element("div").classes("osteon-cols"):
                _phantom_form(app)
                with ui.column().classes("full-width no-wrap gap-3"):
                    heading("Recent jobs")
                    watch_jobs(app, lambda: app.jobs.all()[:RECENT], lambda rows: _show_recent(app, rows))


def _show_recent(app: AppState, rows: Sequence[tuple[Job, JobState]]) -> None:
    job_list(app, rows)
    if not rows:
        caption("Nothing has been started yet.")


def _show_steps(app: AppState) -> None:
    datasets, models = len(app.datasets()), len(app.models())
    results = len(app.workspace.items("results"))
    bring = "Upload scans, with masks, meshes or label maps to learn from."
    steps = (
        ("Bring data", bring, "/data", datasets, "dataset"),
        ("Train", "Choose a dataset and how long it may take.", "/train", models, "model"),
        ("Segment", "Give new scans to a model; download masks and surfaces.", "/segment", results, "result"),
        ("Compare", "See where a result differs from the reference, the worst cases first.", "/compare", 0, ""),
    )
    done = [bool(count) for *_, count, _ in steps]
    following = done.index(False)
    with ui.element("div").classes("osteon-steps"):
        for number, (name, text, url, count, noun) in enumerate(steps):
            with card(f"{number + 1}. {name}"):
                caption(text)
                if count:
                    ui.label(pluralise(count, noun)).classes("osteon-good text-weight-medium")
                button = action("Do this next", url, style="main") if number == following else action("Open", url)
                button.props["aria-label"] = f"{button.text}: {name}"


def _phantom_form(app: AppState) -> None:
    with card("No data at hand?"):
        caption(
            "Let osteon make up a small cohort, in a form in which hospitals deliver data, and try everything on it."
        )
        kind = ui.select(PHANTOMS, value="limb", label="Kind").classes("full-width")
        cases = ui.number("Cases", value=8, min=6, max=50, precision=0).classes("full-width")

        def make() -> None:
            start_phantom(app, str(kind.value), int(cases.value or 8))
            ui.navigate.to("/data")

        action("Make up data", make, icon="auto_awesome", style="main")
