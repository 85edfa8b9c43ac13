"""The gate: whether an engine of lower precision is as good on scans that were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
from pydantic import BaseModel, ConfigDict

from osteon.core.dice import count_overlap, dice
from osteon.core.files import write_json
from osteon.core.labels import Segmentation
from osteon.core.records import read_record
from osteon.core.volume import Volume
from osteon.predicting.engines import EngineKind
from osteon.predicting.model import Model

FILE = "engines.json"
MAX_DICE_DROP = 0.002
"""Dice."""
MAX_VOLUME_CHANGE = 0.5
"""Of a structure's volume, in percent."""


class GateResult(BaseModel):
    """What an engine of lower precision costs, by structure.

    Attributes:
        engine: Its name.
        dice_drop: Mean Dice that is lost; negative where it is gained.
        volume_change: Mean change of the predicted volume, in percent of what fp32 finds, without its sign.
        cases: On how many scans.
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    dice_drop: dict[str, float]
    volume_change: dict[str, float]
    cases: int

    @property
    def passed(self) -> bool:
        """Whether every structure loses at most `MAX_DICE_DROP` Dice and `MAX_VOLUME_CHANGE` percent of volume."""
        drops, changes = self.dice_drop.values(), self.volume_change.values()
        return (
            bool(self.cases)
            and max(drops, default=0.0) <= MAX_DICE_DROP
            and max(changes, default=0.0) <= MAX_VOLUME_CHANGE
        )


def judge_engine(model: Model, kind: EngineKind, cases: Iterable[tuple[Volume, Segmentation]]) -> GateResult:
    """Predict scans with torch and with the engine, and compare.

    Args:
        model: With its own network.
        kind: The engine.
        cases: Scans that the model was not trained on, with references that have the plan's structures.
    """
    fast = model.with_engine(kind)
    drops: dict[str, list[float]] = {}
    changes: dict[str, list[float]] = {}
    count = 0
    for volume, reference in cases:
        predictions = [m.segment(volume).segmentation.merged().array for m in (model, fast)]
        overlaps = [count_overlap(array, reference.array, reference.structures) for array in predictions]
        for structure in reference.structures:
            before, after = (counts[structure.name] for counts in overlaps)
            first, second = dice(before), dice(after)
            if first is not None or second is not None:
                drops.setdefault(structure.name, []).append((1.0 if first is None else first) - (second or 0.0))
            if before.prediction:
                change = 100 * abs(after.prediction - before.prediction) / before.prediction
                changes.setdefault(structure.name, []).append(change)
        count += 1
    return GateResult(engine=kind.name, dice_drop=_means(drops), volume_change=_means(changes), cases=count)


def _means(figures: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: round(float(np.float64(fmean(values))), 5) for name, values in figures.items()}


def write_gates(folder: Path, sha256: str, gates: Iterable[GateResult]) -> None:
    """Keep the figures in a model's folder, with the hash of its weights. Raises FileError."""
    data = {gate.engine: {**gate.model_dump(), "passed": gate.passed} for gate in gates}
    write_json(folder / FILE, {"model": sha256, "engines": data})


class _GatesFile(BaseModel):
    model: str
    engines: dict[str, GateResult]


def read_gates(folder: Path, sha256: str) -> dict[str, GateResult]:
    """The figures of a model's folder; none where the gate was never tried with these weights."""
    path = folder / FILE
    hint = "remove it, and measure again with `osteon doctor MODEL DATASET`"
    data = read_record(path, "what engines cost", _GatesFile, hint) if path.is_file() else {}
    if data.get("model") != sha256:
        return {}
    return {name: GateResult.model_validate(facts) for name, facts in data["engines"].items()}
