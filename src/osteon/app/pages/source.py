"""One source: what form it has, its cases, and the choices before it is imported."""

from __future__ import annotations

import shutil
from pathlib import Path

from nicegui import ui

from osteon.app.commands import ImportChoices, begin_import, begin_model
from osteon.app.frame import card, faint, frame, refuse, show_error, table
from osteon.app.item_actions import keeper
from osteon.app.model_import import Brought, take
from osteon.app.notes import tell_notes
from osteon.app.pages.data import source_path
from osteon.app.pages.pairing import PairByHand
from osteon.app.source_inspection import Inspected, inspect_source
from osteon.app.state import Studio
from osteon.app.wording import CHOICES, FLAGS, TEXTS
from osteon.app.workspace import about
from osteon.core.errors import OsteonError
from osteon.core.text import counted
from osteon.dataset.modality import MODALITIES
from osteon.importing.recognition import source_forms

HOLD_OUT = {
    "": "none",
    "0.2": "a fifth, drawn at random",
    "0.1": "a tenth",
    "last:1": "the last one",
    "last:6": "the last six",
}
SURE = ("--repair-geometry", "--allow-empty")
"""Ticks that mean something for every form."""
SHOWN = 6
"""Notes of each kind before the rest is folded."""


def register(studio: Studio) -> None:
    """Put the page onto the server."""

    @ui.page("/source/{source_id}")
    def source(source_id: str) -> None:
        found = find_source(studio, source_id)
        with frame(studio, "Import", "/data", back=("/data", "Data")):
            if found is None:
                show_error(OsteonError("this source is no longer here", hint="go back to Data"))
                return
            name, path = found
            if item := studio.workspace.find("sources", source_id):
                keeper(studio, item, "/data")
                tell_notes(studio, about(item).get("notes", "").splitlines(), kind="note", title="Names of files")
            _Page(studio, item.title if item else name, path).build()


def find_source(studio: Studio, source_id: str) -> tuple[str, Path] | None:
    """Name and path of what an id stands for: an upload, or a folder of --data."""
    item = studio.workspace.find("sources", source_id)
    if item is not None:
        return item.name, source_path(item)
    for folder in studio.workspace.data:
        for path in (folder, *(p for p in folder.iterdir() if p.is_dir())):
            if studio.workspace.keyed("data", str(path)) == source_id and studio.workspace.may_read(path):
                return path.name, path
    return None


class _Page:
    """The page in progress."""

    def __init__(self, studio: Studio, name: str, path: Path) -> None:
        self.studio, self.name, self.path = studio, name, path
        self.form: str | None = None
        self.given: dict[str, str] = {}
        self.boxes: dict[str, ui.input | ui.select] = {}

    def build(self) -> None:
        """Look at the source, then show what was found."""
        self.place = ui.column().classes("full-width no-wrap gap-4")
        ui.timer(0.01, self._look, once=True)

    async def _look(self) -> None:
        self.place.clear()
        with self.place, ui.row().classes("items-center"):
            ui.icon("hourglass_empty", size="22px").props("aria-hidden=true")
            faint(f"Looking at {self.name} …")
        allowed = (self.studio.workspace.root, *self.studio.workspace.data)
        try:
            found = await self.studio.reader.ask(inspect_source, self.path, allowed, self.form, self.given)
        except OsteonError as error:
            self.place.clear()
            with self.place:
                show_error(error)
            return
        self.place.clear()
        with self.place:
            self._show(found)

    def _show(self, found: Inspected) -> None:
        self.found = found
        self.boxes = {}
        if found.model is not None:
            self._model(found.model)
            return
        if found.error:
            show_error(OsteonError(found.error, hint=found.hint), "It was not understood")
            if found.heeds:
                with card("What to tell it"):
                    self._told(found)
            if not found.files or any(not file.lower().endswith(".seg.nrrd") for file in found.files):
                _only_predict(self.studio, self.path, self.name)
            self._forms(found)
            if found.files:
                PairByHand(self.studio, self.path, self.name, found.files).build()
            return
        with ui.element("div").classes("osteon-cols"):
            with ui.column().classes("full-width no-wrap gap-4"):
                with card(f"Recognised: {found.what}"):
                    tell_notes(self.studio, found.understood)
                    tell_notes(self.studio, found.lost, kind="error", title="Not taken")
                    tell_notes(self.studio, found.warnings, kind="note", title="To know", most=SHOWN)
                    self._forms(found)
                self._cases(found)
            with ui.column().classes("full-width no-wrap gap-4"):
                if not self._labelled(found):
                    _only_predict(self.studio, self.path, self.name)
                self._choices(found)
                if self._labelled(found):
                    _only_predict(self.studio, self.path, self.name)
        if found.files:
            PairByHand(self.studio, self.path, self.name, found.files).build()

    def _model(self, model: Brought) -> None:
        whose = {"osteon": "a model of osteon's", "nnunet": "a trained model of nnU-Net v2"}[model.kind]
        with card(f"Recognised: {whose}"):
            faint(f"It finds {', '.join(model.finds)}.")
            faint("Nothing in its files is run; what it finds is as good as its training was.")
            wanted = ui.input("Name of the model", value=model.name).classes("full-width")

            async def take_in() -> None:
                button.props("loading").disable()  # or a second press takes it again
                item = None
                try:
                    item, job = begin_model(self.studio, model, str(wanted.value or model.name))
                    if job is None:
                        await self.studio.reader.ask(take, model.folder, item.path / "model")
                except OsteonError as error:
                    if item is not None:
                        shutil.rmtree(item.path, ignore_errors=True)
                    refuse(error)
                    button.props(remove="loading").enable()
                    return
                ui.navigate.to(f"/train/{item.id}")

            button = ui.button("Take it in", icon="download_done", on_click=take_in).props("no-caps").mark("take")

    def _labelled(self, found: Inspected) -> bool:
        return any(case["labelled"] for case in found.cases)

    def _forms(self, found: Inspected) -> None:
        names = {form.name: f"{form.name}: {form.what}" for form in source_forms().values()}

        async def chosen(event: object) -> None:
            self.form = getattr(event, "value", None)
            await self._look()

        with ui.expansion("It is something else", icon="help_outline").classes("full-width"):
            ui.select(names, value=found.form or None, label="Form", on_change=chosen).classes("full-width")

    def _told(self, found: Inspected) -> None:
        """What changes how the source is read; it is looked at again with it."""
        for option, text in TEXTS.items():
            if option in found.heeds:
                self.boxes[option] = ui.input(text, value=self.given.get(option, "")).classes("full-width")
        for option, (text, values) in CHOICES.items():
            if option in found.heeds:
                choices = {"": "as it is found out", **values}
                chosen = ui.select(choices, value=self.given.get(option, ""), label=text)
                self.boxes[option] = chosen.classes("full-width")
        if "--case-pattern" in found.heeds:
            faint("A part of a path is a regular expression; what stands in its first brackets is the case: (p\\d+)")

        async def again() -> None:
            self.given = self._asked()
            await self._look()

        ui.button("Look again", icon="refresh", on_click=again).props("flat no-caps")

    def _asked(self) -> dict[str, str]:
        """What the boxes of how it is read say now."""
        return {option: text for option, box in self.boxes.items() if (text := str(box.value or "").strip())}

    def _choices(self, found: Inspected) -> None:
        labelled = self._labelled(found)
        with card("Import for training" if labelled else "Bring in, to look at and segment"):
            self.wanted = ui.input("Name of the dataset", value=self.name).classes("full-width")
            with ui.element("div").classes("osteon-row"):
                self.modality = ui.select(
                    {
                        "": f"as recognised ({found.modality or 'unknown'})",
                        **{m: m.upper() if m != "xray" else "X-ray" for m in MODALITIES},
                    },
                    value="",
                    label="Modality",
                ).classes("osteon-grow")
                self.hold_out = ui.select(
                    HOLD_OUT if labelled else {"": "none"},
                    value="0.2" if labelled and len(found.cases) >= 5 else "",
                    label="Keep for the final test",
                ).classes("osteon-grow")
                self.hold_out.set_visibility(labelled)
            if labelled:
                faint("What is kept for the final test is never trained on: the model is judged by it.")
            else:
                faint("None of the cases has labels: nothing can be learned from them, until somebody labels them.")
            self._names(found)
            with ui.expansion("Where a case is refused").classes("full-width"):
                ticks = [flag for flag in FLAGS if flag in (*SURE, *found.heeds) and (labelled or flag not in SURE)]
                self.flags = {flag: ui.checkbox(FLAGS[flag]) for flag in ticks}
            if any(option in found.heeds for option in (*TEXTS, *CHOICES)):
                with ui.expansion("How it is read", value=bool(self.given)).classes("full-width"):
                    self._told(found)
            text = "Import" if labelled else "Bring in"
            ui.button(text, icon="download_done", on_click=self._import).props("no-caps").mark("import")

    def _names(self, found: Inspected) -> None:
        """Names of the structures, where label files say them by numbers."""
        self.names: dict[int, ui.input] = {}
        if not found.structures:
            return
        with ui.expansion("Structures", value=True).classes("full-width"):
            if not found.maps:
                listed = ", ".join(name for name, _ in found.structures)
                faint(f"{listed}. They can be renamed on the dataset's page.")
                return
            if found.looked_into:
                faint(f"Nothing names the values that {found.looked_into} label files hold: say what they mean.")
            else:
                faint("What the values of the label files mean.")
            for name, value in found.structures:
                self.names[value] = ui.input(f"Value {value}", value=name).props("dense").classes("full-width")

    def _cases(self, found: Inspected) -> None:
        rows = [{"id": c["id"], "images": ", ".join(c["images"]), "label": c["label"] or "none"} for c in found.cases]
        with card(f"{counted(len(found.cases), 'case')}"):
            faint("Take the tick away from cases that are not to be imported.")
            self.table = table(rows, {"id": "Case", "images": "Image", "label": "Label"}, key="id", tick=True)
            self.table.selected = list(rows)

    def _import(self) -> None:
        chosen = [row["id"] for row in self.table.selected]
        listed = [case["id"] for case in self.found.cases]
        if not chosen:
            refuse(OsteonError("no case is chosen", hint="tick the cases to import"))
            return
        if self._asked() != {option: value for option, value in self.given.items() if option in self.boxes}:
            refuse(OsteonError("how it is read was changed", hint="press “Look again” first: cases may differ"))
            return
        before = {value: name for name, value in self.found.structures}
        renamed = {value: str(box.value or "").strip() for value, box in self.names.items()}
        if not all(renamed.values()) or len(set(renamed.values())) < len(renamed):
            refuse(OsteonError("two values have the same name, or one has none", hint="name each under “Structures”"))
            return
        if strange := next((name for name in renamed.values() if "," in name or "=" in name), None):
            refuse(OsteonError(f"{strange}: a name holds no comma and no =", hint="name it under “Structures”"))
            return
        told = [part for option, value in self.given.items() if option in self.found.heeds for part in (option, value)]
        choices = ImportChoices(
            form=self.form,
            modality=str(self.modality.value) or None,
            hold_out=str(self.hold_out.value) or None,
            only=None if set(chosen) == set(listed) else chosen,
            labels={name: value for value, name in renamed.items()} if self.names and renamed != before else None,
            flags=(*told, *(flag for flag, box in self.flags.items() if box.value)),
        )
        item, _ = begin_import(self.studio, self.path, str(self.wanted.value or self.name), choices)
        ui.navigate.to(f"/dataset/{item.id}")


def _only_predict(studio: Studio, path: Path, name: str) -> None:
    with card("Only to be segmented"):
        faint("To segment scans they need not be imported: give them to a model.")
        to = next(
            (i.id for i in studio.workspace.items("sources") if path.is_relative_to(i.path)), ""
        ) or studio.workspace.keyed("data", str(path))
        ui.button(
            f"Segment {name}", icon="content_cut", on_click=lambda: ui.navigate.to(f"/segment?source={to}")
        ).props("outline no-caps")
