"""Jobs as pages show them: their state, progress, log and buttons."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Callable, Sequence

from nicegui import ui

from osteon.app.bin import check_not_deleted
from osteon.app.elements import action, caption, card, long_text, refresh_on_change, show_error
from osteon.app.job_errors import job_error, list_left_out
from osteon.app.job_texts import PHASE_LABELS, UNKNOWN_STEP, describe_command, format_age, progress_fraction
from osteon.app.jobs import FINISHED, MODEL_COMMANDS, RESUMABLE_COMMANDS, Job, JobState
from osteon.app.notes import show_notes
from osteon.app.state import AppState
from osteon.app.workspace import ItemKind

LONGEST_COMMAND = 1000
"""Letters of a command that are shown."""


def watch_jobs(
    app: AppState,
    jobs: Callable[[], Sequence[Job]],
    draw: Callable[[Sequence[tuple[Job, JobState]]], None] | None = None,
    *,
    more: Callable[[], object] = lambda: None,
) -> None:
    """Draw jobs (as cards when `draw` is None), and again when the state of one changes, or the value of `more`."""

    def rows() -> list[tuple[Job, JobState]]:
        return [(job, app.jobs.state(job)) for job in jobs()]

    @ui.refreshable
    def content() -> None:
        if draw is None:
            job_list(app, rows())
        else:
            draw(rows())

    content()
    refresh_on_change(lambda: ([(job.id, state) for job, state in rows()], more()), content.refresh)


def job_list(app: AppState, rows: Sequence[tuple[Job, JobState]]) -> None:
    """A card for each job."""
    for job, state in rows:
        job_card(app, job, state)


def phase_chip(state: JobState) -> None:
    """The state of a job in a word."""
    word, colour = PHASE_LABELS[state.phase]
    asked = {"pause": "is being paused", "cancel": "is being cancelled"}.get(state.asked)
    ui.label(asked if asked and state.phase == "running" else word).classes(f"osteon-chip {colour}")


def job_card(app: AppState, job: Job, state: JobState, *, log: bool = False) -> None:
    """One job with what can be done with it."""
    with card():
        with ui.element("div").classes("osteon-row"):
            with ui.column().classes("osteon-grow gap-0"):
                page = job_page(app, job)
                (ui.link(job.title, page) if page else ui.label(job.title)).classes("text-weight-medium")
                _times(app, job, state)
            phase_chip(state)
            _buttons(app, job, state)
        text = app.jobs.log(job)
        if state.phase == "failed":
            show_error(job_error(job, state, text))
        elif state.phase == "partly":
            show_notes(app, list_left_out(text), kind="note", title="Left out")
        elif state.why:
            caption(state.why)
        with ui.expansion("Log of the command", value=log).props("dense").classes("full-width osteon-command-log"):
            _show_log(app, job, state)


def job_page(app: AppState, job: Job) -> str:
    """The URL of what a job makes or changes; empty where it has no page."""
    kinds: dict[str, ItemKind] = {"dataset": "datasets", "source": "sources", "report": "exports"}
    first: dict[str, ItemKind] = {"run": "runs"} if job.command in MODEL_COMMANDS else {"result": "results"}
    for about, kind in (first | kinds).items():
        if about in job.about:
            item = app.workspace.item(kind, job.about[about])
            url = f"/report/{item.id}" if about == "report" else item.url
            return url if item.path.is_dir() else ""
    return ""


def _show_log(app: AppState, job: Job, state: JobState) -> None:
    caption(textwrap.shorten(f"osteon {job.command} {' '.join(job.arguments)}", LONGEST_COMMAND, placeholder=" …"))
    shown = long_text(app.jobs.log(job) or "nothing yet", "Log of the command")
    if state.phase == "running":
        ui.timer(2.0, lambda: shown.set_text(app.jobs.log(job) or "nothing yet"))


def _times(app: AppState, job: Job, state: JobState) -> None:
    if state.phase == "running":
        line = caption("")
        bar = ui.linear_progress(0, show_value=False).props(f'aria-label="How far: {describe_command(job)}"')

        def tick() -> None:
            doing = app.jobs.progress(job)
            line.set_text(f"for {format_age(time.time() - state.began)} · {doing or UNKNOWN_STEP}")
            part = progress_fraction(doing)
            bar.set_visibility(part is not None)
            bar.set_value(part or 0)

        tick()
        ui.timer(1.0, tick)
    elif state.ended:
        caption(f"took {format_age(state.ended - state.began)}, ended {format_age(time.time() - state.ended)} ago")
    elif state.phase == "queued":
        caption("starts when the jobs before it have ended")


def _buttons(app: AppState, job: Job, state: JobState) -> None:
    async def cancel() -> None:
        await asyncio.to_thread(app.jobs.cancel, job)

    def resume() -> None:
        check_not_deleted(app, job)
        app.jobs.resume(job)

    if state.phase == "running" and job.command in RESUMABLE_COMMANDS and not state.asked:
        action("Pause", lambda: app.jobs.pause(job), icon="pause", style="quiet")
    if state.phase == "paused":
        action("Resume", resume, icon="play_arrow", style="quiet")
    if state.phase in ("failed", "cancelled"):
        name = "Go on" if job.command in RESUMABLE_COMMANDS else "Try again"
        action(name, resume, icon="refresh", style="quiet")
    if state.phase not in FINISHED:
        action("Cancel", cancel, icon="stop", style="quiet").props("color=negative")
    else:
        action(
            "", lambda: app.jobs.remove(job), icon="close", style="quiet", name=f"Remove from the list: {job.title}"
        ).props("color=grey")
