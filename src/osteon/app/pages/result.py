"""One result: its cases with reasons to look at them, volumes, downloads; and one case of it in the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from osteon.app.commands import source_of
from osteon.app.downloads import DOWNLOADS, OF_SERIES, forms_for
from osteon.app.frame import action, card, faint, frame, refuse, show_error, table
from osteon.app.job_cards import job_list, watch
from osteon.app.notes import tell_notes
from osteon.app.page_cleanup import redrawn
from osteon.app.result_commands import begin_evaluation, begin_export, begin_measuring, measuring, volumes_table
from osteon.app.results import (
    cases_of,
    dataset_of,
    is_calibrated,
    maker,
    metrics_of,
    record_of,
    score_rows,
    told_confidence,
    told_seen,
    volumes_of,
    wanted_result,
)
from osteon.app.state import Studio
from osteon.app.viewer import Pane, Stage
from osteon.app.workspace import Item, about
from osteon.core.errors import OsteonError
from osteon.predicting.training_cases import KEY

LENGTH = (
    "Length is measured along the structure's own longest axis, from the first voxel's outer face to the last's. "
    "What has no longest axis, such as a cube, may be measured along its diagonal."
)


class ResultPage:
    """The page of a result."""

    def __init__(self, studio: Studio, item: Item) -> None:
        self.studio, self.item = studio, item
        self.form = "seg-nrrd"
        """Chosen for the download; kept when the page is drawn anew, as it is whenever a job ends."""

    def build(self) -> None:
        """Put it onto the page; what comes later appears when it is there."""
        watch(self.studio, self._jobs, lambda rows: job_list(self.studio, rows))
        self.seen = self._state()
        self.drawn()
        ui.timer(1.0, self._look)

    def _jobs(self) -> list[Any]:
        own = self.studio.jobs.about("result", self.item.name)
        return [job for job in own if self.studio.jobs.state(job).phase not in ("done", "cancelled")]

    def _state(self) -> list[object]:
        volumes = self.studio.workspace.root / volumes_table(self.item)
        files = [*cases_of(self.item).values(), self.item.path / "metrics.json", volumes]
        job = measuring(self.studio, self.item)
        phase = "" if job is None else self.studio.jobs.state(job).phase
        return [phase, *(path.stat().st_mtime if path.is_file() else 0.0 for path in files)]

    def _look(self) -> None:
        if self._state() != self.seen:
            self.seen = self._state()
            self.drawn.refresh()

    @redrawn
    def drawn(self) -> None:
        """Cases, volumes, downloads."""
        cases = cases_of(self.item)
        told = about(self.item)
        space, source = self.studio.workspace, told.get("source", "")
        scans = f"the dataset {space.title('datasets', told['dataset'])}" if told.get("dataset") else ""
        scans = scans or (space.title("sources", source) if source else "uploaded files")
        faint(f"Made by {maker(self.studio, self.item)}, of {scans}.")
        tell_notes(self.studio, told.get("notes", "").splitlines(), kind="note", title="To know")
        if not cases:
            faint("Segmented scans appear here one after the other.")
            return
        record = record_of(self.item)
        self._cases(list(cases), record)
        with ui.element("div").classes("osteon-cols"):
            self._volumes(record)
            self._downloads()

    def _cases(self, names: list[str], record: dict[str, Any]) -> None:
        scores = {row["case"]: row for row in score_rows(metrics_of(self.item))}
        rows = []
        for name in names:
            confidence = [v for v in (record.get(name, {}).get("confidence") or {}).values() if v is not None]
            review = record.get(name, {}).get("review") or []
            rows.append(
                {
                    "id": name,
                    "href": f"/result/{self.item.id}/{self.studio.case_id(self.item, name)}",
                    "confidence": round(min(confidence), 3) if confidence else None,
                    "review": "; ".join(review),
                    "flag": "look at it" if review else "",
                    "dice": scores.get(name, {}).get("dice"),
                    "seen": record.get(name, {}).get(KEY) or scores.get(name, {}).get("seen", ""),
                    "seconds": round(record.get(name, {}).get("seconds") or 0, 1) or None,
                }
            )
        heads = {
            "id": "Case",
            "flag": "Review",
            "review": "Why",
            "confidence": "Least confidence" if is_calibrated(record.values()) else "Least confidence, uncalibrated",
            "dice": "Dice",
            "seen": "By the model",
            "seconds": "Seconds",
        }
        always = ("id", "flag", "confidence")
        shown = {n: text for n, text in heads.items() if n in always or any(row[n] for row in rows)}
        flagged = sum(bool(row["review"]) for row in rows)
        with card("Cases"):
            if flagged:
                with card(kind="note"):
                    ui.label(f"{flagged} of {len(rows)} should be looked at by a person: see Why.")
            if told := told_seen(row["seen"] for row in rows):
                with card(kind="note"):
                    ui.label(told)
            faint(told_confidence(record.get(name, {}) for name in names))
            order = sorted(rows, key=lambda row: (not row["review"], row["confidence"] or 0))
            made = table(order, shown, key="id", link="id")
            flag = '<span v-if="props.value" class="osteon-chip osteon-warn">{{ props.value }}</span>'
            made.add_slot("body-cell-flag", f'<q-td :props="props">{flag}</q-td>')
            self._scoring(names, bool(scores))

    def _scoring(self, names: Sequence[str], scored: bool) -> None:
        found = dataset_of(self.studio, self.item)
        cases = {} if found is None else {case.id: case for case in found[1].manifest.cases}
        labelled = any(cases[name].segmentation for name in names if name in cases)
        with ui.element("div").classes("osteon-row"):
            if scored:
                action(
                    "Compare with the reference",
                    f"/compare?a={found[0].id if found else ''}&b={self.item.id}",
                    icon="compare",
                )
            elif found is not None and labelled:
                action(
                    "Score against the reference",
                    lambda: begin_evaluation(self.studio, self.item, found[0]),
                    icon="rule",
                )

    def _volumes(self, record: dict[str, Any]) -> None:
        rows, measured = [], volumes_of(self.studio, self.item)
        for number, row in enumerate(measured):
            confidence = (record.get(row.case, {}).get("confidence") or {}).get(row.structure)
            rows.append(
                {
                    "n": number,
                    "case": row.case,
                    "structure": row.structure,
                    "volume": _number(row.volume_cm3, 2) if row.volume_cm3 else _number(row.voxels),
                    "length": _number(row.length_mm, 1),
                    "fragments": _number(row.fragments),
                    "confidence": None if confidence is None else round(confidence, 3),
                }
            )
        flat = bool(rows) and not any(row.volume_cm3 for row in measured)
        with card("Volumes"):
            if not rows:
                self._unmeasured()
                return
            heads = {
                "case": "Case",
                "structure": "Structure",
                "volume": "Pixels" if flat else "Volume, cm³",
                "length": "Length, mm",
                "fragments": "Pieces",
                "confidence": "Confidence" if is_calibrated(record.values()) else "Confidence, uncalibrated",
            }
            table(rows, heads, key="n", page=15)
            if not flat:
                faint(LENGTH)

    def _unmeasured(self) -> None:
        """Why there are no volumes yet, and what to do about it."""
        job = measuring(self.studio, self.item)
        phase = "" if job is None else self.studio.jobs.state(job).phase
        if phase in ("queued", "running", "paused"):
            faint("They are measured when all scans are segmented.")
            return
        if phase in ("done", "partly"):
            faint("There is nothing to measure: no structure was found in any case.")
        else:
            faint("Nobody has measured them." if job is None else "Measuring them came to nothing: see Jobs.")
        action("Measure them", self._measure, icon="straighten").mark("measure")

    def _measure(self) -> None:
        begin_measuring(self.studio, self.item)
        self.drawn.refresh()

    def _downloads(self) -> None:
        with card("Downloads"):
            faint("The files are made, then a link appears.")
            offered = {form: DOWNLOADS[form] for form in forms_for(self.studio, self.item)}
            self.form = self.form if self.form in offered else "seg-nrrd"
            form = ui.select(offered, value=self.form, label="Form").classes("full-width").mark("form")
            form.on_value_change(lambda event: setattr(self, "form", str(event.value)))
            if not OF_SERIES.intersection(offered):
                faint("For a PACS (DICOM SEG, RTSTRUCT) the scans must have come as DICOM series.")
            action("Make the files", lambda: self._export(self.form), icon="build", weight="main").mark("export")
            self.links()
            ui.timer(1.0, self._links_again)

    def _exports(self) -> list[tuple[Any, str]]:
        own = [j for j in self.studio.jobs.about("result", self.item.name) if "form" in j.about]
        return [(job, self.studio.jobs.state(job).phase) for job in own[:6]]

    def _links_again(self) -> None:
        now = self._exports()
        if now != getattr(self, "exported", now):
            self.links.refresh()
        self.exported = now

    @redrawn
    def links(self) -> None:
        """What was exported, to be fetched."""
        shown = set()
        for job, phase in self._exports():
            export = self.studio.workspace.item("exports", job.about["export"])
            if phase in ("done", "partly") and export.path.is_dir() and export.name not in shown:
                shown.add(export.name)
                with ui.element("a").classes("osteon-download") as link:
                    ui.label(f"Download: {DOWNLOADS.get(job.about['form'], job.about['form'])}")
                link.props["href"] = f"/d/{export.id}"
                link.props["download"] = True
            elif phase not in ("done", "partly", "cancelled", "failed"):
                faint(f"{DOWNLOADS.get(job.about['form'], '')}: being made …")

    def _export(self, form: str) -> None:
        options = ["--overwrite"]
        found = dataset_of(self.studio, self.item)
        source = source_of(self.studio, found[0]) if found is not None else None
        if form in OF_SERIES and source is not None:  # what a dataset converted from DICOM refers to its series
            options += ["--source", str(source)]
        begin_export(self.studio, self.item, form, options=options)


def case_page(studio: Studio, result_id: str, case_id: str) -> None:
    """One case of a result over its scan."""
    item = studio.workspace.find("results", result_id)
    names = [] if item is None else list(cases_of(item))
    name = None if item is None else studio.case_named(item, names, case_id)
    with frame(studio, "Result", "/segment", back=(f"/result/{result_id}", item.title if item else "Result")):
        if item is None or name is None:
            show_error(OsteonError("this case is no longer here", hint="go back to Segment"))
            return
        number = names.index(name)

        def step(by: int) -> None:
            other = names[(number + by) % len(names)]
            ui.navigate.to(f"/result/{item.id}/{studio.case_id(item, other)}")

        with ui.element("div").classes("osteon-row"):
            action("", lambda: step(-1), icon="chevron_left", weight="quiet", name="Previous case")
            ui.label(name).classes("text-weight-bold text-h6")
            faint(f"case {number + 1} of {len(names)}")
            action("", lambda: step(1), icon="chevron_right", weight="quiet", name="Next case")
        reasons = record_of(item).get(name, {}).get("review") or []
        if reasons:
            with card(kind="note"):
                ui.label(f"Look at it: {'; '.join(reasons)}")
        try:
            wanted_result(studio, item, name)
        except OsteonError as error:
            refuse(error)
        Stage(lambda whole: _scene(studio, item, name, whole), [Pane("", ("b",))], step).build()


async def _scene(studio: Studio, item: Item, name: str, whole: bool) -> tuple[str, dict[str, Any]]:
    return await studio.scene(wanted_result(studio, item, name, whole=whole))


def _number(text: str, digits: int | None = 0) -> float | None:
    try:
        return round(float(text), digits or None)
    except ValueError:
        return None
