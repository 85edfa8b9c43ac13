"""Post-processing chosen by evidence: on scans that were not trained on, only what helps and harms no case."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from osteon.core.labels import Segmentation
from osteon.core.progress import track
from osteon.core.text import significant
from osteon.plan.schema import Plan
from osteon.predicting.postprocessing import Postprocessing, PostprocessingStep, apply_postprocessing, change_of_step
from osteon.predicting.postprocessing_steps import Mask, components, voxel_size

MIN_CASES = 5
"""Cases that show a structure; on fewer nothing is chosen for it."""
MIN_GAIN = 1e-3
"""Mean Dice that a step has to gain."""
MAX_LOSS = 1e-3
"""Dice that a single case may lose."""
MAX_ROUNDS = 3
"""Steps for one structure at most."""
SIZES = (0.01, 0.05, 0.2)
"""`least_size`: parts of the structure's median volume."""
WIDTHS = (1.0, 2.0)
"""`close`: times the grid's finest spacing; half of it for `smooth`."""
DIGITS = 3
"""Of amounts."""
MARGIN = 1.5
"""`keep_near`: times the radius of a ball of the structure's median volume."""


@dataclass(frozen=True)
class JudgedCase:
    """A case to choose on.

    Attributes:
        prediction: By networks that had not seen it.
        reference: On the same grid, with the same structures.
        annotated: Names of the structures that were looked for.
    """

    prediction: Segmentation
    reference: Segmentation
    annotated: frozenset[str]


LoadCase = Callable[[str], JudgedCase]


def choose_steps(plan: Plan, cases: Sequence[str], load: LoadCase, until: float = math.inf) -> Postprocessing:
    """The steps that raise the mean Dice of a structure and lower it in no case.

    A step changes one structure alone and takes no voxels of others, so no other structure can fall.

    Args:
        plan: Structures and grid.
        cases: Ids.
        load: Reads one of them.
        until: When to stop, by `time.monotonic`: a round that is not done by then decides nothing.
    """
    if len(cases) < MIN_CASES:
        return Postprocessing(why=[f"nothing was tried: {len(cases)} validation cases are fewer than {MIN_CASES}"])
    candidates = _candidates(plan, _read_references(plan, cases, load))
    chosen: list[PostprocessingStep] = []
    why = (
        f"tried on {len(cases)} cases that were not trained on: a step has to raise its structure's mean Dice by "
        f"{MIN_GAIN:g} and may lower no case's by more than {MAX_LOSS:g}"
    )
    for round_ in range(MAX_ROUNDS):
        gains = _measure_gains(candidates, cases, load, Postprocessing(steps=chosen), until)
        if gains is None:
            why += f"; the time for choosing was over after {round_} of up to {MAX_ROUNDS} rounds"
            break
        best = _best_steps(gains)
        chosen += best
        ahead = {step.structure for step in best}
        done = {(step.structure, step.step) for step in chosen}
        candidates = [c for c in candidates if c.structure in ahead and (c.structure, c.step) not in done]
        if not candidates:
            break
    return Postprocessing(steps=chosen, why=[why])


@dataclass(frozen=True)
class _ReferenceFacts:
    """What the references show of a structure: its volumes in cm³ (1000 px), and the structure that lies nearest."""

    volumes: list[float]
    near: str | None


def _read_references(plan: Plan, cases: Sequence[str], load: LoadCase) -> dict[str, _ReferenceFacts]:
    volumes: dict[str, list[float]] = defaultdict(list)
    distances: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        reference = load(case).reference
        spacing = reference.geometry.spacing_mm
        centres = {}
        for structure in reference.structures:
            mask = reference.mask(structure)
            if mask.any():
                volumes[structure.name].append(np.count_nonzero(mask) * voxel_size(spacing))
                centres[structure.name] = np.array([line.mean() for line in np.nonzero(mask)]) * spacing
        for name, centre in centres.items():
            for other, there in centres.items():
                if other != name:
                    distances[name][other].append(float(np.linalg.norm(centre - there)))
    facts = {}
    for name in (structure.name for structure in plan.structures):
        near = {other: median(d) for other, d in distances[name].items() if len(d) >= MIN_CASES}
        facts[name] = _ReferenceFacts(volumes[name], min(near, key=lambda other: near[other]) if near else None)
    return facts


def _candidates(plan: Plan, shown: Mapping[str, _ReferenceFacts]) -> list[PostprocessingStep]:
    width = min(plan.grid.spacing_mm[: plan.grid.dimensions])
    numbered = {structure.name for structure in plan.structures if structure.instances}
    steps = []
    for name, facts in shown.items():
        if len(facts.volumes) < MIN_CASES:
            continue
        if name in numbered:  # a piece that is taken away, or grown together with another, counts for little in Dice
            steps.append(PostprocessingStep(structure=name, step="fill_holes"))
            continue
        median_volume = median(facts.volumes)
        steps.append(PostprocessingStep(structure=name, step="largest"))
        steps += [
            PostprocessingStep(structure=name, step="least_size", amount=significant(part * median_volume, DIGITS))
            for part in SIZES
        ]
        steps.append(PostprocessingStep(structure=name, step="fill_holes"))
        steps += [
            PostprocessingStep(structure=name, step="close", amount=significant(times * width, DIGITS))
            for times in WIDTHS
        ]
        steps += [
            PostprocessingStep(structure=name, step="smooth", amount=significant(times * width / 2, DIGITS))
            for times in WIDTHS
        ]
        if facts.near is not None:
            reach = significant(MARGIN * (3 * median_volume * 1000 / (4 * np.pi)) ** (1 / 3), DIGITS)
            steps.append(PostprocessingStep(structure=name, step="keep_near", amount=reach, near=facts.near))
    return steps


def _measure_gains(
    candidates: Sequence[PostprocessingStep], cases: Sequence[str], load: LoadCase, before: Postprocessing, until: float
) -> list[tuple[PostprocessingStep, list[float]]] | None:
    """For each candidate the change of its structure's Dice in each case that counts; None: the time was over."""
    changes: list[list[float]] = [[] for _ in candidates]
    for case_id in track(cases, "choosing post-processing"):
        if time.monotonic() > until:
            return None
        case = load(case_id)
        prediction = apply_postprocessing(case.prediction, before)
        masks: dict[str, tuple[Mask, Mask, int]] = {}
        for structure in prediction.structures:
            mask, reference = prediction.mask(structure), case.reference.mask(structure)
            if structure.name in case.annotated and (mask.any() or reference.any()):
                pieces = len(components(mask)[1])
                masks[structure.name] = mask, reference, pieces
        for number, step in enumerate(candidates):
            if step.structure not in masks:
                continue
            mask, reference, count = masks[step.structure]
            useless = count < 2 and step.step in ("largest", "keep_near")
            changes[number].append(0.0 if useless else _dice_change(step, prediction, mask, reference))
    return list(zip(candidates, changes, strict=True))


def _dice_change(step: PostprocessingStep, prediction: Segmentation, mask: Mask, reference: Mask) -> float:
    """What a step does to the Dice of its structure; one that is rightly absent afterwards counts as 1."""
    inside, part = change_of_step(prediction, step)
    shared, size = np.count_nonzero(mask & reference), np.count_nonzero(mask) + np.count_nonzero(reference)
    before = 2 * shared / size
    shared += np.count_nonzero(part & reference[inside]) - np.count_nonzero(mask[inside] & reference[inside])
    size += np.count_nonzero(part) - np.count_nonzero(mask[inside])
    return float((2 * shared / size if size else 1.0) - before)


def _best_steps(gains: Sequence[tuple[PostprocessingStep, list[float]]]) -> list[PostprocessingStep]:
    """For each structure the step that gains most, among those that harm no case."""
    best: dict[str, PostprocessingStep] = {}
    for step, changes in gains:
        if len(changes) < MIN_CASES or min(changes) < -MAX_LOSS or fmean(changes) < MIN_GAIN:
            continue
        facts = {"gain": round(fmean(changes), 5), "least": round(min(changes), 5), "cases": len(changes)}
        best_so_far = best.get(step.structure)
        if best_so_far is None or facts["gain"] > (
            best_so_far.gain or 0.0
        ):  # of those that gain the same, the first of STEPS
            best[step.structure] = step.model_copy(update=facts)
    return list(best.values())
