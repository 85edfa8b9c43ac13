"""What nnU-Net found on the scans that a fold was not trained on: fold_*/validation/summary.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from osteon.converting.plans_files import DatasetFile
from osteon.core.errors import FileError
from osteon.core.files import is_file, read_json
from osteon.plan.schema import Plan

SUMMARY = "validation/summary.json"
"""In a fold's folder."""


def read_validation_dice(summaries: Iterable[Path], dataset: DatasetFile, plan: Plan) -> dict[str, Any]:
    """The mean Dice of each structure over all scans of these folds; None where nnU-Net has not measured it.

    Args:
        summaries: Those of the folds that were taken; some may not be there.
        dataset: Labels, by which the summaries name structures.
        plan: Its structures.
    """
    keys = {structure.name: _key(dataset.labels[structure.name]) for structure in plan.structures}
    scores: dict[str, list[float]] = {name: [] for name in keys}
    count = 0
    for path in summaries:
        for case in _cases(path):
            count += 1
            for name, key in keys.items():
                dice = case.get("metrics", {}).get(key, {}).get("Dice")
                if isinstance(dice, float | int) and dice == dice:  # a NaN: neither here nor there
                    scores[name].append(float(dice))
    means = {name: round(fmean(values), 4) if values else None for name, values in scores.items()}
    known = [mean for mean in means.values() if mean is not None]
    return {"structures": means, "dice": round(fmean(known), 4) if known else None, "scans": count}


def _cases(path: Path) -> list[dict[str, Any]]:
    if not is_file(path):
        return []
    try:
        data = read_json(path, "nnU-Net's validation")
    except FileError:  # the model does not depend on it
        return []
    cases = data.get("metric_per_case") if isinstance(data, dict) else None
    return [case for case in cases if isinstance(case, dict)] if isinstance(cases, list) else []


def _key(label: int | list[int]) -> str:
    """As a summary writes a label, or a region: `1`, `(1, 2)`."""
    return str(tuple(label)) if isinstance(label, list) else str(label)
