"""One result: its cases with reasons to review them, volumes, downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nicegui import ui

from osteon.app.archive_card import archive_card
from osteon.app.downloads import DOWNLOADS, SERIES_FORMS, available_forms, series_options
from osteon.app.elements import action, caption, card, note, refresh_on_change, table
from osteon.app.job_cards import watch_jobs
from osteon.app.notes import show_notes
from osteon.app.page_cleanup import refreshable
from osteon.app.result_commands import measurement_job, start_evaluation, start_export, start_measurement, volumes_table
from osteon.app.results import (
    describe_confidence,
    describe_maker,
    describe_seen,
    find_dataset,
    find_modality,
    is_calibrated,
    prediction_records,
    read_metrics,
    read_volumes,
    result_files,
    round_figure,
    score_rows,
    shows_pictures,
)
from osteon.app.state import AppState
from osteon.app.workspace import Item, read_about
from osteon.predicting.level_choices import describe_levels
from osteon.predicting.training_cases import KEY

LENGTH = (
    "Length is measured along the structure's own longest axis, from the first voxel's outer face to the last's. "
    "What has no longest axis, such as a cube, may be measured along its diagonal."
)


class ResultPage:
    """The page of a result."""

    def __init__(self, app: AppState, item: Item) -> None:
        self.app, self.item = app, item
        self.form = "seg-nrrd"
        """Chosen for the download; kept when the page is drawn anew, as it is whenever a job ends."""
        watch_jobs(self.app, self._jobs)
        self.content()
        refresh_on_change(self._state, self.content.refresh)

    def _jobs(self) -> list[Any]:
        return self.app.open_jobs("result", self.item.name)

    def _state(self) -> list[object]:
        volumes = self.app.workspace.root / volumes_table(self.item)
        files = [*result_files(self.item).values(), self.item.path / "metrics.json", volumes]
        job = measurement_job(self.app, self.item)
        phase = "" if job is None else self.app.jobs.state(job).phase
        return [phase, *(path.stat().st_mtime if path.is_file() else 0.0 for path in files)]

    @refreshable
    def content(self) -> None:
        """Cases, volumes, downloads."""
        cases = result_files(self.item)
        origin = read_about(self.item)
        space, source = self.app.workspace, origin.get("source", "")
        scans = f"the dataset {space.title('datasets', origin['dataset'])}" if origin.get("dataset") else ""
        scans = scans or (space.title("sources", source) if source else "uploaded files")
        caption(f"Made by {describe_maker(self.app, self.item)}, of {scans}.")
        show_notes(self.app, origin.get("notes", "").splitlines(), kind="note", title="Notes")
        if not cases:
            caption("Segmented scans appear here one after the other.")
            return
        record = prediction_records(self.item)
        self._cases(list(cases), record)
        with ui.element("div").classes("osteon-cols"):
            self._volumes(record)
            with ui.column().classes("full-width no-wrap gap-4"):
                self._downloads()
                archive_card(self.app, self.item)

    def _cases(self, names: list[str], record: dict[str, Any]) -> None:
        scores = {row["case"]: row for row in score_rows(read_metrics(self.item))}
        rows = []
        for name in names:
            entry = record.get(name, {})
            confidence = [v for v in (entry.get("confidence") or {}).values() if v is not None]
            review = entry.get("review") or []
            rows.append(
                {
                    "id": name,
                    "href": f"{self.item.url}/{self.app.case_id(self.item, name)}",
                    "confidence": round(min(confidence), 3) if confidence else None,
                    "review": "; ".join(review),
                    "flag": "look at it" if review else "",
                    "levels": describe_levels(entry),
                    "dice": scores.get(name, {}).get("dice"),
                    "seen": entry.get(KEY) or scores.get(name, {}).get("seen", ""),
                    "seconds": round(entry.get("seconds") or 0, 1) or None,
                }
            )
        headings = {
            "id": "Case",
            "flag": "Review",
            "review": "Why",
            "levels": "Names",
            "confidence": "Least confidence" if is_calibrated(record.values()) else "Least confidence, uncalibrated",
            "dice": "Dice",
            "seen": "By the model",
            "seconds": "Seconds",
        }
        always = ("id", "flag", "confidence")
        shown = {n: text for n, text in headings.items() if n in always or any(row[n] for row in rows)}
        flagged = sum(bool(row["review"]) for row in rows)
        with card("Cases"):
            note(f"{flagged} of {len(rows)} should be looked at by a person: see Why." if flagged else "")
            note(describe_seen(row["seen"] for row in rows))
            caption(describe_confidence(record.get(name, {}) for name in names))
            order = sorted(rows, key=lambda row: (not row["review"], row["confidence"] or 0))
            cases = table(order, shown, key="id", link="id")
            flag = '<span v-if="props.value" class="osteon-chip osteon-warn">{{ props.value }}</span>'
            cases.add_slot("body-cell-flag", f'<q-td :props="props">{flag}</q-td>')
            self._score_button(names, bool(scores))

    def _score_button(self, names: Sequence[str], scored: bool) -> None:
        found = find_dataset(self.app, self.item)
        cases = {} if found is None else {case.id: case for case in found[1].manifest.cases}
        labelled = any(cases[name].segmentation for name in names if name in cases)
        with ui.element("div").classes("osteon-row"):
            if scored and found is not None and self._is_outdated(self.item.path / "metrics.json"):
                action("Score again", lambda: start_evaluation(self.app, self.item, found[0]), icon="rule")
            if scored:
                action(
                    "Compare with the reference",
                    f"/compare?a={found[0].id if found else ''}&b={self.item.id}",
                    icon="compare",
                )
            elif found is not None and labelled:
                action(
                    "Score against the reference", lambda: start_evaluation(self.app, self.item, found[0]), icon="rule"
                )

    def _volumes(self, record: dict[str, Any]) -> None:
        rows, measured = [], read_volumes(self.app, self.item)
        for number, row in enumerate(measured):
            case, structure, volume = row.get("case", ""), row.get("structure", ""), row.get("volume_cm3")
            confidence = (record.get(case, {}).get("confidence") or {}).get(structure)
            rows.append(
                {
                    "n": number,
                    "case": case,
                    "structure": structure,
                    "volume": _number(volume, 2) if volume else _number(row.get("voxels")),
                    "length": _number(row.get("length_mm"), 1),
                    "fragments": _number(row.get("fragments")),
                    "confidence": round_figure(confidence),
                }
            )
        flat = shows_pictures(measured, find_modality(self.app, self.item))
        with card("Volumes"):
            if not rows:
                self._explain_no_volumes()
                return
            headings = {
                "case": "Case",
                "structure": "Structure",
                "volume": "Pixels" if flat else "Volume, cm³",
                "length": "Length, mm",
                "fragments": "Pieces",
                "confidence": "Confidence" if is_calibrated(record.values()) else "Confidence, uncalibrated",
            }
            table(rows, headings, key="n", page_size=15)
            if not flat:
                caption(LENGTH)
            if self._is_outdated(self.app.workspace.root / volumes_table(self.item)):
                caption("A case was segmented again, or its pieces were corrected, after these were measured.")
                action("Measure again", self._measure, icon="straighten").mark("measure")

    def _is_outdated(self, made: Path) -> bool:
        """Whether a case has changed since a file was made of the result."""
        return any(path.stat().st_mtime > made.stat().st_mtime for path in result_files(self.item).values())

    def _explain_no_volumes(self) -> None:
        """Why there are no volumes yet, and what to do about it."""
        job = measurement_job(self.app, self.item)
        phase = "" if job is None else self.app.jobs.state(job).phase
        if phase in ("queued", "running", "paused"):
            caption("They are measured when all scans are segmented.")
            return
        if phase in ("done", "partly"):
            caption("There is nothing to measure: no structure was found in any case.")
        else:
            caption("They have not been measured." if job is None else "Measuring them failed: see Jobs.")
        action("Measure them", self._measure, icon="straighten").mark("measure")

    def _measure(self) -> None:
        start_measurement(self.app, self.item)
        self.content.refresh()

    def _downloads(self) -> None:
        with card("Downloads"):
            caption("The files are made, then a link appears.")
            offered = {form: DOWNLOADS[form] for form in available_forms(self.app, self.item)}
            self.form = self.form if self.form in offered else "seg-nrrd"
            form = ui.select(offered, value=self.form, label="Form").classes("full-width").mark("form")
            form.on_value_change(lambda event: setattr(self, "form", str(event.value)))
            if not SERIES_FORMS.intersection(offered):
                caption("For a PACS (DICOM SEG, RTSTRUCT) the scans must have come as DICOM series.")
            action("Make the files", lambda: self._export(self.form), icon="build", style="main").mark("export")
            self.links()
            refresh_on_change(self._exports, self.links.refresh)

    def _exports(self) -> list[tuple[Any, str]]:
        jobs = [job for job in self.app.jobs.about("result", self.item.name) if "form" in job.about]
        return [(job, self.app.jobs.state(job).phase) for job in jobs[:6]]

    @refreshable
    def links(self) -> None:
        """Links to what was exported."""
        shown = set()
        for job, phase in self._exports():
            export = self.app.workspace.item("exports", job.about["export"])
            if phase in ("done", "partly") and export.path.is_dir() and export.name not in shown:
                shown.add(export.name)
                with ui.element("a").classes("osteon-download") as link:
                    ui.label(f"Download: {DOWNLOADS.get(job.about['form'], job.about['form'])}")
                link.props["href"] = export.url
                link.props["download"] = True
            elif phase not in ("done", "partly", "cancelled", "failed"):
                caption(f"{DOWNLOADS.get(job.about['form'], '')}: being made …")

    def _export(self, form: str) -> None:
        more = series_options(self.app, self.item) if form in SERIES_FORMS else []
        start_export(self.app, self.item, form, options=["--overwrite", *more])


def _number(text: str | None, digits: int | None = None) -> float | None:
    try:
        return round(float(text or ""), digits)
    except ValueError:
        return None
