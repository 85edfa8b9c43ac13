"""What results say of themselves: their cases, the record of predicting, scores, volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from osteon.app.result_commands import volumes_table
from osteon.app.scenes import Labels, Wanted
from osteon.app.state import Studio, files_of_case, open_dataset
from osteon.app.workspace import Item, about
from osteon.core.errors import OsteonError
from osteon.core.records import read_record
from osteon.core.spreadsheets import read_rows
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Modality
from osteon.evaluating.pairing import find_label_files
from osteon.evaluating.record import JSON_NAME
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import read_plan
from osteon.predicting.records import read_predictions
from osteon.predicting.training_cases import KEY, TRAINED, VALIDATED


@dataclass(frozen=True)
class Volume:
    """A row of the volumes table: a structure of a case."""

    case: str
    structure: str
    voxels: str
    fragments: str
    volume_cm3: str
    length_mm: str


def cases_of(item: Item) -> dict[str, Path]:
    """Label files by case; empty where there are none yet."""
    try:
        return find_label_files(item.path, "the result")
    except OsteonError:
        return {}


def maker(studio: Studio, item: Item) -> str:
    """Who made a result, as people call it: a model, the members of a vote, or another program."""
    told, space = about(item), studio.workspace
    if run := told.get("run"):
        return f"the model {space.title('runs', run)}"
    members = [space.title("results", name) for name in told.get("members", "").split(", ") if name]
    return ", ".join(members) or "another program"


def record_of(item: Item) -> dict[str, Any]:
    """predictions.json by case; empty where the result was uploaded, or it is damaged."""
    try:
        return read_predictions(item.path)
    except OsteonError:
        return {}


def metrics_of(item: Item, against: Item | None = None) -> dict[str, Any]:
    """metrics.json against a dataset, or against another result; empty where nothing was scored, or it is damaged."""
    folder = item.path if against is None or against.kind == "datasets" else item.path / "against" / against.name
    try:
        found: dict[str, Any] = read_record(folder / JSON_NAME, "the scores", _Metrics, "score it again")
    except OsteonError:
        return {}
    return found


class _Line(BaseModel):
    dice: dict[str, float | None] = {}


class _Metrics(BaseModel):
    overall: _Line = _Line()
    structures: dict[str, _Line] = {}
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    seen: dict[str, str] = {}


def volumes_of(studio: Studio, item: Item) -> list[Volume]:
    """The volumes table, once it was measured."""
    path = studio.workspace.root / volumes_table(item)
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        names = list(Volume.__dataclass_fields__)
        return [Volume(**{name: row.get(name) or "" for name in names}) for row in read_rows(stream)]


def dataset_of(studio: Studio, item: Item) -> tuple[Item, Dataset] | None:
    """The dataset whose cases a result has, where it is known and there."""
    name = about(item).get("dataset", "")
    found = studio.workspace.item("datasets", name) if name else None
    dataset = None if found is None or not found.path.is_dir() else open_dataset(found)
    return None if found is None or dataset is None else (found, dataset)


def modality_of(studio: Studio, item: Item) -> Modality:
    """Of the model that predicted it."""
    run = about(item).get("run", "")
    try:
        return read_plan(studio.workspace.root / "runs" / run / "model" / PLAN).channels[0].modality if run else "other"
    except OsteonError:
        return "other"


def wanted_result(
    studio: Studio, item: Item, case: str, *, reference: Labels | None = None, whole: bool = False
) -> Wanted:
    """A case of a result over its scan, beside its reference where there is one.

    Raises:
        OsteonError: Nobody wrote down which scan it was made from.
    """
    path = cases_of(item).get(case)
    if path is None:
        raise OsteonError("this case is no longer here", hint="go back to the result")
    found = dataset_of(studio, item)
    if found is not None and case in {c.id for c in found[1].manifest.cases}:
        dataset = found[1]
        entry = dataset.case(case)
        if reference is None and entry.segmentation is not None:
            reference = Labels(dataset.resolve(entry.segmentation), dataset.structures)
        channel = dataset.manifest.channels[0]
        images = files_of_case(dataset, entry)
        return Wanted(case, images, channel.modality, reference, Labels(path), 0, whole, dataset.folder)
    inputs = [Path(entry[0]) for entry in record_of(item).get(case, {}).get("input", [])]
    if not inputs:
        raise OsteonError("nobody wrote down which scan this was made from", hint="upload it beside its dataset")
    return Wanted(case, tuple(inputs), modality_of(studio, item), reference, Labels(path), 0, whole)


def score_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each case: its mean Dice, its worst structure, and what was missed or made up. The worst first."""
    rows, seen = [], metrics.get(KEY, {})
    for case, structures in metrics.get("cases", {}).items():
        known = {name: s["dice"] for name, s in structures.items() if s.get("dice") is not None}
        worst = min(known, key=lambda name: known[name]) if known else ""
        states = [f"{name} {s['state']}" for name, s in structures.items() if s.get("state") in ("missed", "invented")]
        rows.append(
            {
                "case": case,
                "dice": round(sum(known.values()) / len(known), 4) if known else None,
                "worst": f"{worst} {known[worst]:.3f}" if worst else "",
                "states": ", ".join(states),
                "seen": seen.get(case, ""),
            }
        )
    return sorted(rows, key=lambda row: (row["dice"] is None, row["dice"] or 0.0, row["case"]))


def is_calibrated(records: Iterable[Mapping[str, Any]]) -> bool:
    """Whether confidences are Dice to be expected."""
    return all(record.get("calibrated", True) for record in records)


def told_confidence(records: Iterable[Mapping[str, Any]]) -> str:
    """What the confidences of a result mean."""
    if is_calibrated(records):
        return "Confidence is the Dice that the model expects of itself, for the structure it is least sure of."
    return (
        "Confidence is uncalibrated: the network's own figure, for the structure it is least sure of. The model was "
        "validated on too few structures to say which Dice is to be expected."
    )


def told_seen(sights: Iterable[str]) -> str:
    """What is to be said of scans that the model had to do with before; empty where it had not."""
    count = Counter(sights)
    parts = []
    if known := count[TRAINED]:
        parts.append(
            f"The model was trained on {known} of these {count.total()} scans: what it finds there says nothing of new "
            "scans, and is in no mean."
        )
    if validated := count[VALIDATED]:
        who = validated if parts else f"{validated} of these {count.total()} scans"
        parts.append(f"{who} chose the model's settings (validation): a final test needs others.")
    return " ".join(parts)
