"""One training while it runs: its state, curves, Dice of each structure, and samples of what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from osteon.app.commands import source_name
from osteon.app.curves import chart_options, read_curves
from osteon.app.elements import action, caption, card
from osteon.app.job_cards import job_card, watch_jobs
from osteon.app.job_texts import format_age
from osteon.app.jobs import MODEL_COMMANDS, Job, JobState
from osteon.app.pages.run_updates import UpdateCards
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError
from osteon.core.labels import Structure
from osteon.core.quantities import parse_seconds
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import read_plan

SETUP_STEPS = {"comparing files": 1, "measuring": 1, "trying out": 2, "preparing": 3}
"""Progress lines of `osteon train` before its time counts, with the number of their step; finished work is left out."""
STEP_NAMES = {1: "the scans are measured", 2: "this machine's speed is measured", 3: "the scans are prepared"}


def describe_setup(doing: str, budget: str) -> str:
    """The step of a training that has recorded nothing yet, its progress line, and what follows."""
    step = next((number for start, number in SETUP_STEPS.items() if start in doing), None)
    rest = f"None of it counts: then the training takes {budget}, and curves appear here."
    if step is None:
        return f"Setting up{f' · {doing}' if doing else ''}. {rest}"
    return f"Setting up, step {step} of {len(STEP_NAMES)}, {STEP_NAMES[step]} · {doing}. {rest}"


class RunPage:
    """One training: state, curves, Dice of each structure, samples, log."""

    def __init__(self, app: AppState, item: Item) -> None:
        self.app, self.item = app, item
        watch_jobs(self.app, self._jobs, self._show_state)
        UpdateCards(app, item)
        if read_about(self.item).get("brought"):
            return
        self.bar = ui.linear_progress(0, show_value=False).props('aria-label="How much of the time is over"')
        self.progress = caption("")
        with ui.element("div").classes("osteon-cols"):
            with card("Loss"):
                self.loss = ui.echart({}).classes("full-width").style("height: 280px")
            with card("Dice of the validation scans"):
                self.dice = ui.echart({}).classes("full-width").style("height: 280px")
        with ui.element("div").classes("osteon-cols"):
            with card("Each structure"):
                self.table = ui.column().classes("full-width")
            with card("What it finds now"):
                caption("Scans that it is not trained on: what it finds is filled, the reference outlined.")
                self.samples = ui.element("div").classes("osteon-pictures")
        self.seen: object = None
        self._refresh()
        ui.timer(2.0, self._refresh)

    def _jobs(self) -> list[Job]:
        return [job for job in self.app.jobs.about("run", self.item.name) if job.command in MODEL_COMMANDS][:1]

    def _show_state(self, rows: Sequence[tuple[Job, JobState]]) -> None:
        for job, state in rows:
            job_card(self.app, job, state)
        upload, structures = read_about(self.item).get("brought"), self._model_structures()
        if upload and structures:
            source = self.app.workspace.title("sources", source_name(upload))
            caption(f"A model added from {source}. It finds {', '.join(structures)}.")
        elif not rows and not upload:
            caption("It is not recorded how this run was started; its files are here.")
        if structures and (not rows or rows[0][1].phase == "done"):
            with ui.element("div").classes("osteon-row"):
                action("Segment scans with it", f"/segment?model={self.item.id}", icon="content_cut", style="main")

    def _refresh(self) -> None:
        pictures = sorted((self.item.path / "samples").glob("*.jpg"))
        metrics = self.item.path / "metrics.csv"
        now = [path.stat().st_mtime for path in (*pictures, metrics) if path.is_file()]
        self._update_progress()
        if now == self.seen:
            return
        self.seen = now
        curves = read_curves(self.item.path)
        loss, dice = chart_options(curves, {s.name: s.colour for s in _structures(self.item.path / PLAN)})
        for element, options in ((self.loss, loss), (self.dice, dice)):
            element.options.clear()
            element.options.update(options)
            element.update()
        self.table.clear()
        with self.table:
            if not curves.latest_dice:
                caption("The first validation comes after a tenth of the time.")
            for name, value in sorted(curves.latest_dice.items(), key=lambda pair: (pair[0] != "mean", pair[0])):
                with ui.element("div").classes("osteon-score"):
                    ui.label(name)
                    ui.linear_progress(value, show_value=False).props(f'aria-label="Dice {value:.3f}"')
                    ui.label(f"{value:.3f}")
        self.samples.clear()
        with self.samples:
            for picture in pictures:
                image = ui.element("img")
                image.props["src"] = f"/s/{self.item.id}/{picture.stem}?{picture.stat().st_mtime_ns}"
                image.props["alt"] = f"Validation scan {picture.stem} with what the model finds in it"
            if not pictures:
                caption("Pictures come with the first validation.")

    def _update_progress(self) -> None:
        curves = read_curves(self.item.path)
        job = next(iter(self._jobs()), None)
        state = None if job is None else self.app.jobs.state(job)
        running = state is not None and state.phase == "running"
        doing = self.app.jobs.progress(job) if job is not None and running else ""
        budget = parse_seconds(job.about.get("budget", "1min")) if job is not None else 0.0
        if not curves.seconds or job is None or state is None:
            self.progress.set_text(describe_setup(doing, format_age(budget)) if running else "")
            self.bar.set_visibility(False)
            return
        done = min(budget, curves.seconds[-1])
        self.bar.set_visibility(state.phase in ("running", "paused"))
        self.bar.set_value(done / budget)
        pace = f"iteration {curves.iteration}, {curves.seconds_per_iteration:.2g} s each"
        text = f"{format_age(done)} of {format_age(budget)} · {pace}"
        self.progress.set_text(f"{text} · {doing}" if doing else text)

    def _model_structures(self) -> list[str]:
        """The structures that the model finds; none where there is no model yet."""
        return [s.name for s in _structures(self.item.path / "model" / PLAN)]


def _structures(plan: Path) -> Sequence[Structure]:
    try:
        return read_plan(plan).structures
    except OsteonError:
        return ()
