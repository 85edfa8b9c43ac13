"""A model without its training's patients: what predicting needs, and nothing that names or describes one person.

Files are built from what is listed here, and never by taking names out of others: a key that a later version adds
stays out until somebody has looked at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from osteon.plan.schema import Forecast, Plan, Pretrained
from osteon.predicting.model import Model
from osteon.predicting.postprocessing import Postprocessing
from osteon.predicting.reference_statistics import ReferenceStatistics

TRAINING_KEYS = ("cases", "iterations", "epochs", "seed", "fold", "folds", "folds_by")
CONFIDENCE_KEYS = ("raw", "dice", "pairs", "rank_correlation")
LEVEL_KEYS = ("views", "sharpness", "misfit")
OWN_FILE = "a file"
"""In the place of the path of the weights that a training started from."""


def without_patients(model: Model, title: str) -> Model:
    """The model for others, under the name `title`; the first of a cascade also.

    Ids, hashes of scans, paths, reasons in words, times and what was measured of single cases are left out. Of the
    training scans' statistics each figure's values stay, but in no row with another figure's
    (`separate_statistics`).
    """
    steps = [step.model_copy(update={"least": None}) for step in model.postprocessing.steps]
    return replace(
        model,
        plan=_plan(model.plan, title),
        validation=_validation(model.validation),
        postprocessing=Postprocessing(steps=steps),
        reference=separate_statistics(model.reference),
        quantised=None,
        first=None if model.first is None else without_patients(model.first, title),
    )


def _plan(plan: Plan, title: str) -> Plan:
    """Decisions without reasons and forecasts, which may name cases, paths and machines."""
    data = plan.model_dump()
    for section in data.values():
        for part in section if isinstance(section, list) else [section]:
            if isinstance(part, dict) and "why" in part:
                part["why"] = []
    network = plan.network
    if isinstance(network, Pretrained) and network.weights not in ("imagenet", "none"):
        data["network"]["weights"] = OWN_FILE
    return Plan.model_validate(data | {"dataset": title, "forecast": Forecast()})


def _validation(validation: dict[str, Any]) -> dict[str, Any]:
    """What predicting reads, and means over cases."""
    confidence, levels = validation.get("confidence"), validation.get("levels")
    return {
        "dice": validation.get("dice"),
        "structures": validation.get("structures", {}),
        "cases": {},
        "confidence": confidence and _pick(confidence, CONFIDENCE_KEYS),
        "speeds": {name: _pick(facts, ("dice",)) for name, facts in validation.get("speeds", {}).items()},
        "training": _pick(validation.get("training", {}), TRAINING_KEYS),
        "versions": validation.get("versions", {}),
        **({"levels": _pick(levels, LEVEL_KEYS)} if levels else {}),
    }


def _pick(data: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: data[key] for key in keys if key in data}


def separate_statistics(cases: Sequence[ReferenceStatistics]) -> list[ReferenceStatistics]:
    """Statistics whose rows are nobody's: each figure's values in rising order, whichever scans they are of.

    A prediction is compared with the range of each figure by itself, which stays as it was.
    """
    count, names = len(cases), sorted({name for case in cases for name in (*case.volumes, *(case.annotated or ()))})
    volumes: list[dict[str, float]] = [{} for _ in range(count)]
    touching: list[list[str]] = [[] for _ in range(count)]
    annotated: list[list[str]] = [[] for _ in range(count)]
    for name in names:
        states = sorted(
            (case.annotated is None or name in case.annotated, case.volumes.get(name, -1.0), name in case.touching)
            for case in cases
        )
        for number, (known, volume, touches) in enumerate(states):
            if known:
                annotated[number].append(name)
            if volume >= 0:
                volumes[number][name] = volume
            if touches:
                touching[number].append(name)
    keys = cases[0].image if cases else {}
    image = {key: sorted(case.image[key] for case in cases if key in case.image) for key in keys}
    spacing, extent = (
        list(zip(*(sorted(axis) for axis in zip(*rows, strict=True)), strict=True))
        for rows in ([case.spacing_mm for case in cases], [case.extent_mm for case in cases])
    )
    everything = all(case.annotated is None for case in cases)
    return [
        ReferenceStatistics(
            volumes=volumes[n],
            touching=touching[n],
            image={key: values[n] for key, values in image.items() if n < len(values)},
            spacing_mm=list(spacing[n]),
            extent_mm=list(extent[n]),
            annotated=None if everything else annotated[n],
        )
        for n in range(count)
    ]


def names_of_cases(model: Model, run: Path) -> set[str]:
    """All words that a published folder must not hold: ids of cases, and the folders that the model lies in."""
    validation = model.validation
    seen = validation.get("seen") or {}
    names = {name for part in seen.values() for name in part} | set(validation.get("cases", {}))
    names |= set((validation.get("confidence") or {}).get("each", {}))
    first = set() if model.first is None else names_of_cases(model.first, run)
    return names | first | {str(run.absolute()), str(Path.home())} - {"/"}
