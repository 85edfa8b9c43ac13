"""References and results beside each other, the worst cases first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from osteon.app.external_results import BESIDE, TAKEN, add_result, strange_names
from osteon.app.frame import action, card, empty, faint, frame, refuse, say, show_error, table
from osteon.app.job_cards import job_list, watch
from osteon.app.jobs import Job
from osteon.app.page_cleanup import redrawn
from osteon.app.result_commands import begin_evaluation, begin_measuring
from osteon.app.results import cases_of, dataset_of, metrics_of, score_rows, told_seen, wanted_result
from osteon.app.scenes import Labels
from osteon.app.state import Studio, open_dataset
from osteon.app.upload_box import UploadBox
from osteon.app.viewer import Pane, Stage
from osteon.app.workspace import ABOUT, Item, about
from osteon.core.errors import OsteonError
from osteon.core.files import write_json
from osteon.core.text import pluralise

MODES = {
    "side": "Side by side",
    "outline": "Outlines over the image",
    "difference": "Difference map",
    "image": "Image beside result",
}


def register(studio: Studio) -> None:
    """Put the pages onto the server."""

    @ui.page("/compare")
    def compare(a: str = "", b: str = "") -> None:
        with frame(studio, "Compare", "/compare"):
            _Choice(studio, a, b).build()

    @ui.page("/compare/{first}/{second}/{case_id}")
    def case(first: str, second: str, case_id: str) -> None:
        a, b = _find(studio, first), studio.workspace.find("results", second)
        back = f"/compare?a={first}&b={second}"
        with frame(studio, "Compare a case", "/compare", back=(back, "All cases")):
            names = [] if b is None else list(cases_of(b))
            name = None if b is None else studio.case_named(b, names, case_id)
            if a is None or b is None or name is None:
                show_error(OsteonError("this case is no longer here", hint="go back to Compare"))
                return
            _Case(studio, a, b, name).build()


def _find(studio: Studio, item_id: str) -> Item | None:
    return studio.workspace.find("datasets", item_id) or studio.workspace.find("results", item_id)


class _Choice:
    """What is compared with what, and the cases sorted by Dice."""

    def __init__(self, studio: Studio, a: str, b: str) -> None:
        self.studio, self.first_id, self.second_id = studio, a, b

    def build(self) -> None:
        """Put it onto the page."""
        results = {item.id: item.title for item in self.studio.workspace.items("results") if cases_of(item)}
        datasets = {item.id: f"{item.title} (reference)" for item in self.studio.datasets()}
        with ui.element("div").classes("osteon-cols"):
            with card("What with what?"):
                if not results:
                    faint("There is no result yet: segment scans, or upload a result of another program.")
                second = self.second_id if self.second_id in results else next(iter(results), None)
                self.second = ui.select(results, value=second, label="Result").classes("full-width")
                first = self.first_id if self.first_id in {**datasets, **results} else self._reference(second)
                self.first = ui.select({**datasets, **results}, value=first, label="Compared with").classes(
                    "full-width"
                )
                self.first.on_value_change(lambda: self.cases.refresh())
                self.second.on_value_change(self._second_chosen)
            self._upload(datasets)
        watch(self.studio, self._jobs, lambda rows: job_list(self.studio, rows))
        self.cases()
        self.seen = self._scored_at()
        ui.timer(1.0, self._look)

    def _reference(self, second: str | None) -> str | None:
        item = None if second is None else self.studio.workspace.find("results", second)
        found = None if item is None else dataset_of(self.studio, item)
        return None if found is None else found[0].id

    def _second_chosen(self) -> None:
        reference = self._reference(str(self.second.value))
        if reference is not None:
            self.first.set_value(reference)
        self.cases.refresh()

    def _pair(self) -> tuple[Item, Item] | None:
        a = _find(self.studio, str(self.first.value or ""))
        b = self.studio.workspace.find("results", str(self.second.value or ""))
        return (a, b) if a is not None and b is not None and a != b else None

    def _jobs(self) -> list[Job]:
        pair = self._pair()
        own = [] if pair is None else self.studio.jobs.about("result", pair[1].name)
        over = ("done", "cancelled")
        return [job for job in own if job.command == "evaluate" and self.studio.jobs.state(job).phase not in over][:1]

    def _scored_at(self) -> Any:
        pair = self._pair()
        return None if pair is None else metrics_of(pair[1], pair[0]).get("overall")

    def _look(self) -> None:
        if self._scored_at() != self.seen:
            self.seen = self._scored_at()
            self.cases.refresh()

    @redrawn
    def cases(self) -> None:
        """The cases, the worst first."""
        pair = self._pair()
        if pair is None:
            with empty("Nothing to compare yet", "Choose a result and what it is compared with."):
                pass
            return
        a, b = pair
        metrics = metrics_of(b, a)
        known = set(cases_of(b))
        rows = [row for row in score_rows(metrics) if row["case"] in known]
        if not rows:
            with card():
                faint("These two have not been compared yet.")
                action("Compare them", lambda: begin_evaluation(self.studio, b, a), icon="compare", weight="main")
            return
        for row in rows:
            row["href"] = f"/compare/{a.id}/{b.id}/{self.studio.case_id(b, row['case'])}"
        with ui.element("div").classes("osteon-cols"):
            with card("Cases, the worst first"):
                names = {"case": "Case", "dice": "Dice", "worst": "Worst structure", "states": "Missed or made up"}
                if told := told_seen(row["seen"] for row in rows):
                    names["seen"] = "By the model"
                    with card(kind="note"):
                        ui.label(told)
                table(rows, names, key="case", link="case")
            with card("Each structure"):
                _structures(metrics)

    def _upload(self, datasets: dict[str, str]) -> None:
        with card("A result of another program"):
            if not datasets:
                faint("Import the dataset that it is of first.")
                return
            faint(
                "NIfTI, .seg.nrrd or .mha files: one for each case, or one for each structure of it, whose names or "
                "folders begin with the case; or a CSV of RLE (image_name, class, rle)."
            )
            chosen = ui.select(datasets, value=next(iter(datasets)), label="Of which dataset").classes("full-width")
            place = ui.column().classes("full-width gap-2")

            async def take(source: Item) -> None:
                dataset = self.studio.workspace.find("datasets", str(chosen.value))
                if dataset is None:
                    return
                try:
                    strange = await self.studio.reader.ask(strange_names, source.path, dataset.path)
                except OsteonError as error:
                    refuse(error)
                    return
                place.clear()
                with place:
                    if strange:
                        _meanings(self.studio, source, dataset, strange)
                    else:
                        await add_upload(self.studio, source, dataset)

            UploadBox(self.studio, "Upload a result", take, accept=",".join((*TAKEN, *BESIDE)))


def _meanings(studio: Studio, source: Item, dataset: Item, strange: list[str]) -> None:
    """Ask which of the dataset's structures the names of another program mean."""
    opened = open_dataset(dataset)
    known = [structure.name for structure in opened.structures] if opened is not None else []
    ui.label(f"{len(strange)} structures are called otherwise than in the dataset. Which are they?")
    boxes = {
        name: ui.select({"": "none of them: left out", **{k: k for k in known}}, value="", label=name).classes(
            "full-width"
        )
        for name in strange
    }

    async def go_on() -> None:
        await add_upload(studio, source, dataset, {name: str(box.value or "") for name, box in boxes.items()})

    action("Take the result", go_on, icon="download_done", weight="main")


async def add_upload(studio: Studio, source: Item, dataset: Item, names: Mapping[str, str] | None = None) -> None:
    """Make a result of what was uploaded, score it and measure it."""
    import shutil

    result, sent = studio.workspace.new("results", source.name), about(source).get("notes", "").splitlines()
    try:
        added, notes = await studio.reader.ask(add_result, source.path, dataset.path, result.path, names)
    except OsteonError as error:
        refuse(error)
        await asyncio.to_thread(shutil.rmtree, result.path, ignore_errors=True)
        return
    finally:
        await asyncio.to_thread(shutil.rmtree, source.path, ignore_errors=True)
    notes += sent
    write_json(result.path / ABOUT, {"dataset": dataset.name, **({"notes": "\n".join(notes)} if notes else {})})
    say(
        f"{pluralise(len(added), 'case')} taken"
        + (f"; {pluralise(len(notes), 'note')}, such as: {notes[0]}" if notes else "")
    )
    begin_evaluation(studio, result, dataset)
    begin_measuring(studio, result)
    ui.navigate.to(f"/compare?a={dataset.id}&b={result.id}")


FIGURES = {"hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm", "volume_error_percent": "Volume error, %"}
"""Figures of an evaluation that are shown beside Dice, where they were measured."""


def _structures(metrics: dict[str, Any]) -> None:
    lines = metrics.get("structures", {})
    shown = {
        f: t for f, t in FIGURES.items() if any((line.get(f) or {}).get("mean") is not None for line in lines.values())
    }
    rows = []
    for name, line in lines.items():
        dice = line["dice"]
        row = {"name": name, "dice": _rounded(dice["mean"], 3), "sd": _rounded(dice["sd"], 3), "n": dice["n"]}
        rows.append(row | {figure: _rounded((line.get(figure) or {}).get("mean"), 2) for figure in shown})
    heads = {"name": "Structure", "dice": "Dice", "sd": "SD", **shown, "n": "Cases"}
    table(rows, heads, key="name", page=15)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


class _Case:
    """One case in the viewer, in several ways."""

    def __init__(self, studio: Studio, a: Item, b: Item, name: str) -> None:
        self.studio, self.a, self.b, self.name = studio, a, b, name
        metrics = metrics_of(b, a)
        self.scores = metrics.get("cases", {}).get(name, {})
        known = set(cases_of(b))
        self.order = [row["case"] for row in score_rows(metrics) if row["case"] in known] or sorted(known)

    def build(self) -> None:
        """Put it onto the page."""
        number = self.order.index(self.name) if self.name in self.order else 0
        told = f"case {number + 1} of {len(self.order)}, the worst first"
        with ui.element("div").classes("osteon-row"):
            action("", lambda: self._step(-1), icon="chevron_left", weight="quiet", name="Previous case")
            ui.label(self.name).classes("text-weight-bold text-h6")
            faint(told)
            action("", lambda: self._step(1), icon="chevron_right", weight="quiet", name="Next case")
            mode = ui.select(MODES, value="side", label="How").classes("osteon-grow").style("max-width: 320px")
            mode.mark("mode")
        known = {name: s["dice"] for name, s in self.scores.items() if s.get("dice") is not None}
        if known:
            faint(" · ".join(f"{name} {value:.3f}" for name, value in sorted(known.items(), key=lambda p: p[1])[:8]))
        self.stage = Stage(self._scene, self._panes("side"), self._step)
        self.stage.build()
        mode.on_value_change(lambda e: self.stage.change(self._panes(str(e.value))))

    def _panes(self, mode: str) -> list[Pane]:
        first, second = self.a.title, self.b.title
        if self.a.kind == "datasets":
            first = "Reference"
        if mode == "outline":
            return [Pane(f"{first} filled, {second} outlined", ("a", "b"), ("b",))]
        if mode == "difference":
            return [Pane(f"Where {first} and {second} differ", ("d",))]
        if mode == "image":
            return [Pane("Image", ()), Pane(second, ("b",))]
        return [Pane(first, ("a",)), Pane(second, ("b",))]

    def _step(self, by: int) -> None:
        number = self.order.index(self.name) if self.name in self.order else 0
        other = self.order[(number + by) % len(self.order)]
        ui.navigate.to(f"/compare/{self.a.id}/{self.b.id}/{self.studio.case_id(self.b, other)}")

    async def _scene(self, whole: bool) -> tuple[str, dict[str, Any]]:
        reference = None
        if self.a.kind == "results":
            path = cases_of(self.a).get(self.name)
            if path is None:
                raise OsteonError(f"{self.a.title} has no such case", hint="choose another one")
            reference = Labels(path)
        return await self.studio.scene(wanted_result(self.studio, self.b, self.name, reference=reference, whole=whole))
