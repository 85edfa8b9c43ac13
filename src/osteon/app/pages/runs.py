"""All results by their scores, with votes and reports on several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from osteon.app.elements import action, caption, card, empty_state, notify, page_frame, table
from osteon.app.item_actions import item_buttons
from osteon.app.job_cards import watch_jobs
from osteon.app.jobs import Job, JobState
from osteon.app.result_commands import common_dataset, start_comparison, start_vote
from osteon.app.results import describe_maker, prediction_records, read_metrics, result_files, round_figure
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError, UsageError
from osteon.predicting.records import read_validation
from osteon.predicting.training_cases import KEY, trained_on

REPORTS = 5
"""Newest comparisons that are looked at for one that is going on."""
METHODS = {
    "hard": "more than half of the votes",
    "staple": "STAPLE: how good each member is, estimated",
    "soft": "mean of probabilities, where they were kept",
}

HEADINGS = {
    "name": "Result",
    "run": "Model",
    "dataset": "Dataset",
    "dice": "Dice",
    "sd": "SD",
    "n": "Scores",
    "missed": "Missed",
    "invented": "Made up",
    "trained_on": "Cases trained on",
    "validation": "Validation Dice",
    "review": "To look at",
}


def register(app: AppState) -> None:
    """Put the page onto the server."""

    @ui.page("/runs")
    def runs() -> None:
        with page_frame(app, "Runs", "/runs"):
            watch_jobs(app, lambda: [j for j in app.jobs.all() if j.command in ("vote", "compare") and app.is_open(j)])
            _ResultTable(app)


class _ResultTable:
    """The table of results with its filters, and the cards for reports and votes."""

    def __init__(self, app: AppState) -> None:
        self.app = app
        rows = self._rows()
        if not rows:
            with empty_state(
                "Nothing to compare yet", "Segment a dataset's held-out cases: results are scored and listed here."
            ):
                action("Segment", "/segment", style="main")
            return
        datasets = sorted({row["dataset"] for row in rows if row["dataset"]})
        structures = sorted({name for row in rows for name in row["each"]})
        with card():
            caption("Sort by a column; tick results to vote over them.")
            with ui.element("div").classes("osteon-row"):
                self.dataset = ui.select({"": "all", **{d: d for d in datasets}}, value="", label="Dataset")
                self.structure = ui.select(
                    {"": "mean of all", **{s: s for s in structures}}, value="", label="Structure"
                )
                self.text = ui.input("Name contains")
                for box in (self.dataset, self.structure, self.text):
                    box.classes("osteon-grow").on_value_change(self._filter)
            self.all = rows
            self.table = table(rows, HEADINGS, key="id", link="name", selectable=True)
            self._filter()
        with ui.element("div").classes("osteon-cols"):
            self._report_card()
            self._vote_card()

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for item in self.app.workspace.items("results"):
            if not result_files(item):
                continue
            metrics, origin = read_metrics(item), read_about(item)
            run = origin.get("run", "")
            overall = metrics.get("overall", {})
            rows.append(
                {
                    "id": item.id,
                    "name": item.title,
                    "href": item.url,
                    "run": describe_maker(self.app, item).removeprefix("the model ").replace("another program", ""),
                    "dataset": self.app.workspace.title("datasets", origin["dataset"]) if origin.get("dataset") else "",
                    "overall": overall.get("dice", {}),
                    "each": {n: s["dice"] for n, s in metrics.get("structures", {}).items()},
                    "missed": overall.get("missed"),
                    "invented": overall.get("invented"),
                    "trained_on": len(trained_on(metrics.get(KEY, {}))) or None,
                    "validation": self._validation(run),
                    "review": sum(bool(r.get("review")) for r in prediction_records(item).values()),
                }
            )
        return rows

    def _validation(self, run: str) -> float | None:
        folder = self.app.workspace.root / "runs" / run / "model"
        try:
            value = read_validation(folder).get("dice") if run else None
        except OsteonError:
            return None
        return round_figure(value)

    def _filter(self) -> None:
        structure, dataset, text = (str(box.value or "") for box in (self.structure, self.dataset, self.text))
        shown = []
        for row in self.all:
            dice = row["each"].get(structure, {}) if structure else row["overall"]
            if (dataset and row["dataset"] != dataset) or text.lower() not in f"{row['name']} {row['run']}".lower():
                continue
            mean, sd = dice.get("mean"), dice.get("sd")
            figures = {"dice": round_figure(mean), "sd": round_figure(sd), "n": dice.get("n")}
            shown.append({k: v for k, v in row.items() if k not in ("each", "overall")} | figures)
        self.table.rows = sorted(shown, key=lambda row: -(row["dice"] or 0))
        self.table.update()

    def _report_card(self) -> None:
        with card("Comparison report"):
            caption("Ranking, tests, charts and pictures of the ticked results, on one page.")
            action("Make the report", self._compare, icon="summarize", style="main")
            watch_jobs(
                self.app,
                lambda: [job for job in self.app.jobs.all() if job.command == "compare"][:REPORTS],
                self._show_reports,
                more=lambda: [item.title for item in self._report_items()],
            )

    def _report_items(self) -> list[Item]:
        return [item for item in self.app.workspace.items("exports") if (item.path / "report.html").is_file()]

    def _show_reports(self, rows: Sequence[tuple[Job, JobState]]) -> None:
        """Links to the reports, also to those that are being made, as soon as they are there."""
        for job, state in rows:
            if state.phase in ("queued", "running"):
                caption(f"{job.about.get('report', 'A report')} is being made; a link appears here.")
        for item in self._report_items():
            with ui.element("div").classes("osteon-row"):
                ui.link(item.title, f"/report/{item.id}", new_tab=True).classes("osteon-grow")
                item_buttons(self.app, item, "/runs")

    def _selected(self, minimum: int) -> list[Item]:
        members = [self.app.workspace.find("results", row["id"]) for row in self.table.selected]
        selected = [item for item in members if item is not None]
        if len(selected) < minimum:
            words = {1: "no result is ticked", 2: "two results are needed"}
            raise UsageError(words[minimum], hint="tick them in the table")
        return selected

    def _compare(self) -> None:
        selected = self._selected(1)
        dataset = common_dataset(self.app, selected)
        if dataset is None:
            raise UsageError("no dataset is there that these are of", hint="tick results of a dataset that is there")
        start_comparison(self.app, selected, dataset)
        notify("The report is being made; a link to it appears below the button")

    def _vote_card(self) -> None:
        with card("Vote"):
            caption("One answer of several results: ticked above, of the same cases.")
            with ui.element("div").classes("osteon-row"):
                self.method = ui.select(METHODS, value="hard", label="How").classes("osteon-grow")
                self.name = ui.input("Name", placeholder="vote").classes("osteon-grow")
                action("Vote over the ticked results", self._start_vote, icon="how_to_vote", style="main")

    def _start_vote(self) -> None:
        selected = self._selected(2)
        result, _ = start_vote(self.app, selected, str(self.name.value or "vote"), str(self.method.value))
        ui.navigate.to(result.url)
