"""Jobs as pages show them: where they stand, what they say, what can be done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from nicegui import ui

from osteon.app.bin import check_present
from osteon.app.failures import error_of, left_out
from osteon.app.frame import action, age, card, faint, long_text, refuse, show_error
from osteon.app.job_words import BETWEEN, PHASES, commanded, part_done
from osteon.app.jobs import MODELS_BY, OVER, RESUMABLE, Job, State
from osteon.app.notes import tell_notes
from osteon.app.state import Studio
from osteon.app.workspace import Kind
from osteon.core.errors import OsteonError

EVERY_S = 1.0


def watch(
    studio: Studio,
    jobs: Callable[[], Sequence[Job]],
    draw: Callable[[Sequence[tuple[Job, State]]], None],
    *,
    every_s: float = EVERY_S,
    more: Callable[[], object] = lambda: None,
) -> None:
    """Draw jobs, and again when the state of one changes, or what `more` says."""
    seen: list[object] = []

    @ui.refreshable
    def drawn() -> None:
        draw([(job, studio.jobs.state(job)) for job in jobs()])

    def look() -> None:
        now: list[object] = [(job.id, studio.jobs.state(job)) for job in jobs()]
        now.append(more())
        if now != seen:
            seen[:] = now
            drawn.refresh()

    seen[:] = [(job.id, studio.jobs.state(job)) for job in jobs()]
    seen.append(more())
    drawn()
    ui.timer(every_s, look)


def job_list(studio: Studio, rows: Sequence[tuple[Job, State]]) -> None:
    """A card for each job."""
    for job, state in rows:
        job_card(studio, job, state)


def chip(state: State) -> None:
    """The state in a word."""
    word, colour = PHASES[state.phase]
    asked = {"pause": "is being paused", "cancel": "is being cancelled"}.get(state.asked)
    ui.label(asked if asked and state.phase == "running" else word).classes(f"osteon-chip {colour}")


def job_card(studio: Studio, job: Job, state: State, *, log: bool = False) -> None:
    """One job with what can be done with it."""
    with card():
        with ui.element("div").classes("osteon-row"):
            with ui.column().classes("osteon-grow gap-0"):
                _title(studio, job)
                _times(studio, job, state)
            chip(state)
            _buttons(studio, job, state)
        said = studio.jobs.log(job)
        if state.phase == "failed":
            show_error(error_of(job, state, said))
        elif state.phase == "partly":
            tell_notes(studio, left_out(said), kind="note", title="Left out")
        elif state.why:
            faint(state.why)
        with ui.expansion("What the command says", value=log).props("dense").classes("full-width osteon-said"):
            _log(studio, job, state)


def page_of(studio: Studio, job: Job) -> str:
    """The URL of what a job makes or changes; empty where it has no page."""
    pages: tuple[tuple[str, Kind, str], ...] = (
        ("run", "runs", "/train/") if job.command in MODELS_BY else ("result", "results", "/result/"),
        ("dataset", "datasets", "/dataset/"),
        ("source", "sources", "/source/"),
        ("report", "exports", "/report/"),
    )
    for about, kind, url in pages:
        if about in job.about:
            item = studio.workspace.item(kind, job.about[about])
            return url + item.id if item.path.is_dir() else ""
    return ""


def _title(studio: Studio, job: Job) -> None:
    page = page_of(studio, job)
    made = ui.link(job.title, page) if page else ui.label(job.title)
    made.classes("text-weight-medium")


def _log(studio: Studio, job: Job, state: State) -> None:
    faint(f"osteon {job.command} {' '.join(job.arguments)}")
    shown = long_text(studio.jobs.log(job) or "nothing yet", "What the command says")
    if state.phase == "running":
        ui.timer(2.0, lambda: shown.set_text(studio.jobs.log(job) or "nothing yet"))


def _times(studio: Studio, job: Job, state: State) -> None:
    if state.phase == "running":
        line = faint("")
        bar = ui.linear_progress(0, show_value=False).props(f'aria-label="How far: {commanded(job)}"')

        def tick() -> None:
            doing = studio.jobs.progress(job)
            line.set_text(f"for {age(time.time() - state.began)} · {doing or BETWEEN}")
            part = part_done(doing)
            bar.set_visibility(part is not None)
            bar.set_value(part or 0)

        tick()
        ui.timer(1.0, tick)
    elif state.ended:
        faint(f"took {age(state.ended - state.began)}, ended {age(time.time() - state.ended)} ago")
    elif state.phase == "queued":
        faint("begins when what stands before it has ended")


def _buttons(studio: Studio, job: Job, state: State) -> None:
    async def cancel() -> None:
        await asyncio.to_thread(studio.jobs.cancel, job)

    def pause() -> None:
        try:
            studio.jobs.pause(job)
        except OsteonError as error:
            refuse(error)

    def forget() -> None:
        studio.jobs.forget(job)

    def resume() -> None:
        try:
            check_present(studio, job)
        except OsteonError as error:
            refuse(error)
            return
        studio.jobs.resume(job)

    flat = "flat dense no-caps"
    if state.phase == "running" and job.command in RESUMABLE and not state.asked:
        ui.button("Pause", icon="pause", on_click=pause).props(flat)
    if state.phase == "paused":
        ui.button("Resume", icon="play_arrow", on_click=resume).props(flat)
    if state.phase in ("failed", "cancelled"):
        name = "Go on" if job.command in RESUMABLE else "Try again"
        ui.button(name, icon="refresh", on_click=resume).props(flat)
    if state.phase not in OVER:
        ui.button("Cancel", icon="stop", on_click=cancel).props(f"{flat} color=negative")
    else:
        action("", forget, icon="close", weight="quiet", name=f"Remove from the list: {job.title}").props("color=grey")
