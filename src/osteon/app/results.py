"""Results read from their folders: cases, records of predicting, scores, volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from osteon.app.result_commands import volumes_table
from osteon.app.scenes import LabelSource, SceneRequest
from osteon.app.state import AppState, open_dataset
from osteon.app.workspace import Item, read_about
from osteon.core.errors import OsteonError
from osteon.core.records import read_record
from osteon.core.spreadsheets import read_rows
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.dataset.modality import Modality
from osteon.evaluating.record import JSON_NAME
from osteon.formats.label_folders import find_label_files
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import read_plan
from osteon.predicting.records import read_predictions
from osteon.predicting.training_cases import KEY, TRAINED, VALIDATED


def result_files(item: Item) -> dict[str, Path]:
    """Label files by case; empty where there are none yet."""
    try:
        return find_label_files(item.path, "the result")
    except OsteonError:
        return {}


def describe_maker(app: AppState, item: Item) -> str:
    """What made a result: a model, the members of a vote, or another program."""
    origin, space = read_about(item), app.workspace
    if run := origin.get("run"):
        return f"the model {space.title('runs', run)}"
    members = [space.title("results", name) for name in origin.get("members", "").split(", ") if name]
    return ", ".join(members) or "another program"


def prediction_records(item: Item) -> dict[str, Any]:
    """predictions.json by case; empty where the result was uploaded, or it is damaged."""
    try:
        return read_predictions(item.path)
    except OsteonError:
        return {}


def read_metrics(item: Item, against: Item | None = None) -> dict[str, Any]:
    """metrics.json against a dataset or another result; empty where nothing was scored, or it is damaged."""
    folder = item.path if against is None or against.kind == "datasets" else item.path / "against" / against.name
    try:
        return read_record(folder / JSON_NAME, "the scores", _Metrics, "score it again")
    except OsteonError:
        return {}


class _Figures(BaseModel):
    dice: dict[str, float | None] = {}


class _Metrics(BaseModel):
    overall: _Figures = _Figures()
    structures: dict[str, _Figures] = {}
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    seen: dict[str, str] = {}


def read_volumes(app: AppState, item: Item) -> list[dict[str, str]]:
    """The rows of the volumes table (`exporting.table`); empty where nothing was measured yet."""
    path = app.workspace.root / volumes_table(item)
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(read_rows(stream))


def shows_pictures(rows: Iterable[Mapping[str, str]], modality: Modality) -> bool:
    """Whether rows of the volumes table are of pictures, which have pixels and no volume.

    Args:
        rows: As of `read_volumes`; one of a structure that was not found tells nothing.
        modality: What is segmented, which counts where nothing was found at all.
    """
    found = [row for row in rows if float(row.get("voxels") or 0)]
    return not any(row.get("volume_cm3") for row in found) if found else modality == "xray"


def find_dataset(app: AppState, item: Item) -> tuple[Item, Dataset] | None:
    """The dataset whose cases a result has, where it is known and there."""
    name = read_about(item).get("dataset", "")
    found = app.workspace.item("datasets", name) if name else None
    dataset = None if found is None or not found.path.is_dir() else open_dataset(found)
    return None if found is None or dataset is None else (found, dataset)


def find_modality(app: AppState, item: Item) -> Modality:
    """Of the model that predicted it."""
    run = read_about(item).get("run", "")
    try:
        return read_plan(app.workspace.root / "runs" / run / "model" / PLAN).channels[0].modality if run else "other"
    except OsteonError:
        return "other"


def case_scene(
    dataset: Dataset,
    case: Case,
    reference: LabelSource | None = None,
    result: LabelSource | None = None,
    *,
    full_resolution: bool = False,
    channel: int = 0,
) -> SceneRequest:
    """A dataset's case with a reference, the dataset's own when None, and a result where one is given."""
    if reference is None and case.segmentation is not None:
        reference = LabelSource(dataset.resolve(case.segmentation), dataset.structures)
    images, modality = tuple(map(dataset.resolve, case.images)), dataset.manifest.channels[channel].modality
    return SceneRequest(case.id, images, modality, reference, result, channel, full_resolution, dataset.folder)


def result_scene(
    app: AppState, item: Item, case: str, *, reference: LabelSource | None = None, full_resolution: bool = False
) -> SceneRequest:
    """A case of a result over its scan, beside its reference where there is one.

    Raises:
        OsteonError: It is not recorded which scan it was made from.
    """
    path = result_files(item).get(case)
    if path is None:
        raise OsteonError("this case is no longer here", hint="go back to the result")
    found = find_dataset(app, item)
    if found is not None and case in {c.id for c in found[1].manifest.cases}:
        entry = found[1].case(case)
        return case_scene(found[1], entry, reference, LabelSource(path), full_resolution=full_resolution)
    inputs = [Path(entry[0]) for entry in prediction_records(item).get(case, {}).get("input", [])]
    if not inputs:
        raise OsteonError("it is not recorded which scan this was made from", hint="upload it beside its dataset")
    return SceneRequest(case, tuple(inputs), find_modality(app, item), reference, LabelSource(path), 0, full_resolution)


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


def round_figure(value: float | None, digits: int = 3) -> float | None:
    """A figure as tables show it; None stays None."""
    return None if value is None else round(value, digits)


def is_calibrated(records: Iterable[Mapping[str, Any]]) -> bool:
    """Whether confidences are expected Dice."""
    return all(record.get("calibrated", True) for record in records)


def describe_confidence(records: Iterable[Mapping[str, Any]]) -> str:
    """A sentence on what the confidences of a result mean."""
    if is_calibrated(records):
        return "Confidence is the Dice that the model expects of itself, for the structure it is least sure of."
    return (
        "Confidence is uncalibrated: the network's own figure, for the structure it is least sure of. The model was "
        "validated on too few structures to give an expected Dice."
    )


def describe_seen(uses: Iterable[str]) -> str:
    """Sentences on scans that the model was trained or validated on; empty where there are none."""
    count = Counter(uses)
    parts = []
    if known := count[TRAINED]:
        parts.append(
            f"The model was trained on {known} of these {count.total()} scans: what it finds there says nothing of new "
            "scans, and is in no mean."
        )
    if validated := count[VALIDATED]:
        which = validated if parts else f"{validated} of these {count.total()} scans"
        parts.append(f"{which} chose the model's settings (validation): a final test needs others.")
    return " ".join(parts)
