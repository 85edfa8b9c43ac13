"""All models and results by their scores; several results are voted over."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from osteon.app.commands import about, begin_vote, known_commands
from osteon.app.frame import action, card, empty, faint, frame, refuse, show_error
from osteon.app.job_cards import job_card, watch
from osteon.app.results import cases_of, metrics_of
from osteon.app.studio import Studio
from osteon.core.errors import OsteonError
from osteon.core.files import read_json

METHODS = {"hard": "more than half of the votes", "staple": "STAPLE: how good each member is, found out"}


def register(studio: Studio) -> None:
    """Put the page onto the server."""

    @ui.page("/runs")
    def runs() -> None:
        with frame(studio, "Runs", "/runs"):
            watch(
                studio,
                lambda: [j for j in studio.jobs.all() if j.command == "vote" and _is_open(studio, j)],
                lambda rows: [job_card(studio, *row) for row in rows],
            )
            _Runs(studio).build()


def _is_open(studio: Studio, job: Any) -> bool:
    return studio.jobs.state(job).phase not in ("done", "cancelled")


class _Runs:
    """The table, its filters, and the vote."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def build(self) -> None:
        """Put it onto the page."""
        rows = self._rows()
        if not rows:
            with empty(
                "Nothing to compare yet", "Segment a dataset's held-out cases: results are scored and listed here."
            ):
                action("Segment", "/segment", weight="main")
            return
        datasets = sorted({row["dataset"] for row in rows if row["dataset"]})
        structures = sorted({name for row in rows for name in row["each"]})
        with card():
            faint("Sort by a column; tick results to vote over them.")
            with ui.element("div").classes("osteon-row"):
                self.dataset = ui.select({"": "all", **{d: d for d in datasets}}, value="", label="Dataset")
                self.dataset.classes("osteon-grow").on_value_change(self._filter)
                self.structure = ui.select(
                    {"": "mean of all", **{s: s for s in structures}}, value="", label="Structure"
                )
                self.structure.classes("osteon-grow").on_value_change(self._filter)
                self.text = ui.input("Name contains").classes("osteon-grow")
                self.text.on_value_change(self._filter)
            names = (
                ("name", "Result"), ("run", "Model"), ("dataset", "Dataset"), ("dice", "Dice"), ("sd", "SD"),
                ("n", "Scores"), ("missed", "Missed"), ("invented", "Made up"), ("validation", "Validation Dice"),
                ("review", "To look at"),
            )  # fmt: skip
            columns = [{"name": n, "label": t, "field": n, "align": "left", "sortable": True} for n, t in names]
            self.all = rows
            self.table = ui.table(columns=columns, rows=rows, row_key="id", selection="multiple", pagination=25)
            self.table.classes("osteon-table").props("flat dense")
            slot = '<q-td :props="props"><a :href="props.row.href">{{ props.value }}</a></q-td>'
            self.table.add_slot("body-cell-name", slot)
            self._filter()
        self._vote()

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for item in self.studio.workspace.items("results"):
            if not cases_of(item):
                continue
            metrics, told = metrics_of(item), about(item)
            run = told.get("run", "")
            overall = metrics.get("overall", {})
            rows.append(
                {
                    "id": item.id,
                    "name": item.name,
                    "href": f"/result/{item.id}",
                    "run": run or told.get("members", ""),
                    "dataset": told.get("dataset", ""),
                    "overall": overall.get("dice", {}),
                    "each": {n: s["dice"] for n, s in metrics.get("structures", {}).items()},
                    "missed": overall.get("missed"),
                    "invented": overall.get("invented"),
                    "validation": self._validation(run),
                    "review": sum(bool(r.get("review")) for r in _records(item)),
                }
            )
        return rows

    def _validation(self, run: str) -> float | None:
        path = self.studio.workspace.root / "runs" / run / "model/validation.json"
        try:
            value = read_json(path, "the validation").get("dice") if run else None
        except OsteonError:
            return None
        return None if value is None else round(float(value), 3)

    def _filter(self) -> None:
        structure, dataset, text = (str(box.value or "") for box in (self.structure, self.dataset, self.text))
        shown = []
        for row in self.all:
            dice = row["each"].get(structure, {}) if structure else row["overall"]
            if (dataset and row["dataset"] != dataset) or text.lower() not in f"{row['name']} {row['run']}".lower():
                continue
            mean, sd = dice.get("mean"), dice.get("sd")
            figures = {"dice": _rounded(mean), "sd": _rounded(sd), "n": dice.get("n")}
            shown.append({k: v for k, v in row.items() if k not in ("each", "overall")} | figures)
        self.table.rows = sorted(shown, key=lambda row: -(row["dice"] or 0))
        self.table.update()

    def _vote(self) -> None:
        with card("Vote"):
            if "vote" not in known_commands():
                show_error(
                    OsteonError("this osteon has no command `vote`", hint="install a newer osteon"), "Not available"
                )
                return
            faint("One answer of several results: ticked above, of the same cases.")
            with ui.element("div").classes("osteon-row"):
                self.method = ui.select(METHODS, value="hard", label="How").classes("osteon-grow")
                self.name = ui.input("Name", placeholder="vote").classes("osteon-grow")
                action("Vote over the ticked results", self._begin, icon="how_to_vote", weight="main")

    def _begin(self) -> None:
        members = [self.studio.workspace.find("results", row["id"]) for row in self.table.selected]
        found = [item for item in members if item is not None]
        if len(found) < 2:
            refuse(OsteonError("a vote needs two results", hint="tick two or more in the table"))
            return
        result, _ = begin_vote(self.studio, found, str(self.name.value or "vote"), str(self.method.value))
        ui.navigate.to(f"/result/{result.id}")


def _records(item: Any) -> list[dict[str, Any]]:
    from osteon.app.results import record_of

    return [record for record in record_of(item).values() if isinstance(record, dict)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
