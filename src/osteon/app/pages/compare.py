"""Results beside references or other results, the worst cases first."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from osteon.app.elements import action, caption, card, empty_state, note, page_frame, refresh_on_change, table
from osteon.app.job_cards import watch_jobs
from osteon.app.jobs import Job
from osteon.app.page_cleanup import refreshable
from osteon.app.pages.result_upload import upload_card
from osteon.app.result_commands import start_evaluation
from osteon.app.results import (
    describe_seen,
    find_dataset,
    read_metrics,
    result_files,
    result_scene,
    round_figure,
    score_rows,
)
from osteon.app.scenes import LabelSource
from osteon.app.state import AppState
from osteon.app.view_group import ViewPane
from osteon.app.viewer import Viewer, case_header
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError

MODES = {
    "side": "Side by side",
    "outline": "Outlines over the image",
    "difference": "Difference map",
    "image": "Image beside result",
}


def register(app: AppState) -> None:
    """Put the pages onto the server."""

    @ui.page("/compare")
    def compare(a: str = "", b: str = "") -> None:
        with page_frame(app, "Compare", "/compare"):
            _ComparisonForm(app, a, b)

    @ui.page("/compare/{first}/{second}/{case_id}")
    def case(first: str, second: str, case_id: str) -> None:
        a, b = _find_item(app, first), app.workspace.find("results", second)
        back = f"/compare?a={first}&b={second}"
        with page_frame(app, "Compare a case", "/compare", back=(back, "All cases")):
            names = [] if b is None else list(result_files(b))
            name = None if b is None else app.find_case(b, names, case_id)
            if a is None or b is None or name is None:
                raise OsteonError("this case is no longer here", hint="go back to Compare")
            _CasePage(app, a, b, name)


def _find_item(app: AppState, item_id: str) -> Item | None:
    return app.workspace.find("datasets", item_id) or app.workspace.find("results", item_id)


class _ComparisonForm:
    """The choice of two, and their cases sorted by Dice."""

    def __init__(self, app: AppState, a: str, b: str) -> None:
        self.app = app
        results = {item.id: item.title for item in self.app.workspace.items("results") if result_files(item)}
        datasets = {item.id: f"{item.title} (reference)" for item in self.app.datasets()}
        with ui.element("div").classes("osteon-cols"):
            with card("What to compare"):
                if not results:
                    caption("There is no result yet: segment scans, or upload a result of another program.")
                second = b if b in results else next(iter(results), None)
                self.second = ui.select(results, value=second, label="Result").classes("full-width")
                first = a if a in {**datasets, **results} else self._reference(second)
                self.first = ui.select({**datasets, **results}, value=first, label="Compared with").classes(
                    "full-width"
                )
                self.first.on_value_change(lambda: self.cases.refresh())
                self.second.on_value_change(self._second_changed)
            upload_card(self.app, datasets)
        watch_jobs(self.app, self._jobs)
        self.cases()
        refresh_on_change(self._overall, self.cases.refresh)

    def _reference(self, second: str | None) -> str | None:
        item = None if second is None else self.app.workspace.find("results", second)
        found = None if item is None else find_dataset(self.app, item)
        return None if found is None else found[0].id

    def _second_changed(self) -> None:
        reference = self._reference(str(self.second.value))
        if reference is not None:
            self.first.set_value(reference)
        self.cases.refresh()

    def _pair(self) -> tuple[Item, Item] | None:
        a = _find_item(self.app, str(self.first.value or ""))
        b = self.app.workspace.find("results", str(self.second.value or ""))
        return (a, b) if a is not None and b is not None and a != b else None

    def _jobs(self) -> list[Job]:
        pair = self._pair()
        jobs = [] if pair is None else self.app.open_jobs("result", pair[1].name)
        return [job for job in jobs if job.command == "evaluate"][:1]

    def _overall(self) -> Any:
        pair = self._pair()
        return None if pair is None else read_metrics(pair[1], pair[0]).get("overall")

    @refreshable
    def cases(self) -> None:
        """The table of cases, the worst first."""
        pair = self._pair()
        if pair is None:
            empty_state("Nothing to compare yet", "Choose a result and what it is compared with.")
            return
        a, b = pair
        metrics = read_metrics(b, a)
        known = set(result_files(b))
        rows = [row for row in score_rows(metrics) if row["case"] in known]
        if not rows:
            with card():
                caption("These two have not been compared yet.")
                action("Compare them", lambda: start_evaluation(self.app, b, a), icon="compare", style="main")
            return
        for row in rows:
            row["href"] = f"/compare/{a.id}/{b.id}/{self.app.case_id(b, row['case'])}"
        with ui.element("div").classes("osteon-cols"):
            with card("Cases, the worst first"):
                names = {"case": "Case", "dice": "Dice", "worst": "Worst structure", "states": "Missed or made up"}
                if text := describe_seen(row["seen"] for row in rows):
                    names["seen"] = "By the model"
                note(text)
                table(rows, names, key="case", link="case")
            with card("Each structure"):
                _structure_table(metrics)


METRICS = {"hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm", "volume_error_percent": "Volume error, %"}
"""Metrics of an evaluation that are shown beside Dice, where they were measured."""


def _structure_table(metrics: dict[str, Any]) -> None:
    metrics_by_name = metrics.get("structures", {})
    shown = {
        f: t
        for f, t in METRICS.items()
        if any((line.get(f) or {}).get("mean") is not None for line in metrics_by_name.values())
    }
    rows = []
    for name, line in metrics_by_name.items():
        dice = line["dice"]
        row = {"name": name, "dice": round_figure(dice["mean"], 3), "sd": round_figure(dice["sd"], 3), "n": dice["n"]}
        rows.append(row | {figure: round_figure((line.get(figure) or {}).get("mean"), 2) for figure in shown})
    headings = {"name": "Structure", "dice": "Dice", "sd": "SD", **shown, "n": "Cases"}
    table(rows, headings, key="name", page_size=15)


class _CasePage:
    """One case in the viewer, in several ways."""

    def __init__(self, app: AppState, a: Item, b: Item, name: str) -> None:
        self.app, self.a, self.b, self.name = app, a, b, name
        metrics = read_metrics(b, a)
        scores = metrics.get("cases", {}).get(name, {})
        known = set(result_files(b))
        self.order = [row["case"] for row in score_rows(metrics) if row["case"] in known] or sorted(known)
        with case_header(self.order, self.name, self._url, ", the worst first") as step:
            mode = ui.select(MODES, value="side", label="How").classes("osteon-grow").style("max-width: 320px")
            mode.mark("mode")
        dice = {name: s["dice"] for name, s in scores.items() if s.get("dice") is not None}
        if dice:
            caption(" · ".join(f"{name} {value:.3f}" for name, value in sorted(dice.items(), key=lambda p: p[1])[:8]))
        viewer = Viewer(self._scene, self._panes("side"), step)
        mode.on_value_change(lambda e: viewer.set_panes(self._panes(str(e.value))))

    def _panes(self, mode: str) -> list[ViewPane]:
        first, second = self.a.title, self.b.title
        if self.a.kind == "datasets":
            first = "Reference"
        if mode == "outline":
            return [ViewPane(f"{first} filled, {second} outlined", ("a", "b"), ("b",))]
        if mode == "difference":
            return [ViewPane(f"Where {first} and {second} differ", ("d",))]
        if mode == "image":
            return [ViewPane("Image", ()), ViewPane(second, ("b",))]
        return [ViewPane(first, ("a",)), ViewPane(second, ("b",))]

    def _url(self, case: str) -> str:
        return f"/compare/{self.a.id}/{self.b.id}/{self.app.case_id(self.b, case)}"

    async def _scene(self, full_resolution: bool) -> tuple[str, dict[str, Any]]:
        reference = None
        if self.a.kind == "results":
            path = result_files(self.a).get(self.name)
            if path is None:
                raise OsteonError(f"{self.a.title} has no such case", hint="choose another one")
            reference = LabelSource(path)
        return await self.app.load_scene(
            result_scene(self.app, self.b, self.name, reference=reference, full_resolution=full_resolution)
        )
