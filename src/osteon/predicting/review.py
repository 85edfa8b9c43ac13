"""Whether a person should look at a prediction, and why: what is unlike the scans that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osteon.core.labels import Segmentation
from osteon.dataset.checks import present_structures
from osteon.plan.schema import Plan
from osteon.predicting.reference_statistics import Looks

FEWEST = 5
"""Training scans; with fewer their range says nothing."""
LOW_DICE = 0.7
"""An expected Dice below it is a reason, unless the structure never had a better one."""
BELOW_USUAL = 0.1
"""So is one that lies so far below the structure's usual one."""
MOSTLY = 0.8
"""A structure of at least this part of the training scans, however few, is missed where it is not found."""
VOLUME = 1.5
"""Times the largest volume, or a part of the smallest."""
IMAGE = 1.0
"""Widths of the training scans' range beyond it."""
LEAST_WIDTH = 0.2
"""Standard deviations of the image; cohorts of few scans, or very alike, vary less than scans of other days."""
EXTENT = 2.0
"""A scan may be shorter than all training scans by this factor."""
SPACING = 2.0
"""Times the largest voxel edge, or a part of the smallest."""


@dataclass(frozen=True)
class Facts:
    """What a model knows of its training.

    Attributes:
        cases: The training scans.
        usual: Mean validation Dice of each structure, where there is one.
        calibrated: Whether confidences are Dice to be expected; else they are the network's own figures.
    """

    cases: Sequence[Looks]
    usual: Mapping[str, float | None]
    calibrated: bool = True


def reasons_to_review(looks: Looks, expected: Mapping[str, float | None], plan: Plan, facts: Facts) -> list[str]:
    """Why a person should look at a prediction; none: nothing stands out.

    Args:
        looks: Of the scan, and what was found in it.
        expected: Confidence in each structure; None for one that was not found.
        plan: Structures, unit.
        facts: Of the model's training.
    """
    said = _unsure(expected, facts.usual) if facts.calibrated else _uncalibrated(expected, facts.usual)
    said += _missing(looks, plan, facts.cases)
    if len(facts.cases) >= FEWEST:
        said += _structures(looks, plan, facts.cases)
        said += _image(looks, facts.cases)
        said += _grid(looks, plan, facts.cases)
    return said


def _unsure(expected: Mapping[str, float | None], usual: Mapping[str, float | None]) -> list[str]:
    said = []
    for name, dice in expected.items():
        known = usual.get(name)
        if dice is None:
            continue
        if dice < (LOW_DICE if known is None else min(LOW_DICE, known - BELOW_USUAL / 2)) or (
            known is not None and dice < known - BELOW_USUAL
        ):
            beside = "" if known is None else f", usually {known:.2f}"
            said.append(f"{name}: a Dice of {dice:.2f} is to be expected{beside}")
    return said


def _uncalibrated(confidence: Mapping[str, float | None], usual: Mapping[str, float | None]) -> list[str]:
    """Where nothing says which Dice is to be expected, the network's own figure and its usual Dice are looked at."""
    said = []
    for name, own in confidence.items():
        known = usual.get(name)
        if own is not None and min(own, own if known is None else known) < LOW_DICE:
            beside = "" if known is None else f"; its Dice in validation: {known:.2f}"
            said.append(f"{name}: confidence {own:.2f}, uncalibrated{beside}")
    return said


def _missing(looks: Looks, plan: Plan, cases: Sequence[Looks]) -> list[str]:
    said = []
    for name in (structure.name for structure in plan.structures if structure.name not in looks.volumes):
        asked = [case for case in cases if case.looked_for is None or name in case.looked_for]
        shown = sum(name in case.volumes for case in asked)
        if shown and shown >= MOSTLY * len(asked):
            said.append(f"{name}: not found; {shown} of {len(asked)} training scans show it")
    return said if said or looks.volumes else ["nothing was found"]


def removed(found: Sequence[str], segmentation: Segmentation) -> list[str]:
    """What is to be said of structures that were found and of which post-processing has left nothing."""
    there = present_structures(segmentation)
    return [f"{name}: found, and removed whole by the post-processing" for name in found if name not in there]


def _structures(looks: Looks, plan: Plan, cases: Sequence[Looks]) -> list[str]:
    said = []
    # A picture is one voxel thin: it has an area.
    depth_mm = [e for e, s in zip(looks.extent_mm, looks.spacing_mm, strict=True) if round(e / s) == 1][:1]
    unit, size = ("1000 px", 1.0) if plan.unit == "px" else ("cm²", depth_mm[0] / 10) if depth_mm else ("cm³", 1.0)
    for name in (structure.name for structure in plan.structures):
        shown = [
            case for case in cases if name in case.volumes and (case.looked_for is None or name in case.looked_for)
        ]
        if len(shown) < FEWEST or name not in looks.volumes:
            continue
        volumes = [case.volumes[name] for case in shown]
        volume = looks.volumes[name]
        if not min(volumes) / VOLUME <= volume <= VOLUME * max(volumes):
            usual = f"{min(volumes) / size:.3g} to {max(volumes) / size:.3g}"
            said.append(f"{name}: {volume / size:.3g} {unit}; in training {usual}")
        if name in looks.touching and not any(name in case.touching for case in shown):
            said.append(f"{name}: reaches the edge of the scan, which it does in no training scan: cut off?")
    return said


def _image(looks: Looks, cases: Sequence[Looks]) -> list[str]:
    worst: tuple[float, str] = (IMAGE, "")
    for name, value in looks.image.items():
        known = np.array([case.image[name] for case in cases if name in case.image])
        if len(known) < FEWEST:
            continue
        width = max(float(np.ptp(known)), LEAST_WIDTH)
        beyond = max(float(known.min()) - value, value - float(known.max())) / width
        usual = f"{known.min():.3g} to {known.max():.3g}"
        told = f"the image is unlike the training scans: {name} {value:.3g}, there {usual}"
        worst = max(worst, (beyond, told))
    return [worst[1]] if worst[1] else []


def _grid(looks: Looks, plan: Plan, cases: Sequence[Looks]) -> list[str]:
    said = []
    for axis, letter in enumerate(plan.grid.axes[: len(looks.spacing_mm)]):
        known = [case.spacing_mm[axis] for case in cases]
        spacing = looks.spacing_mm[axis]
        if not min(known) / SPACING <= spacing <= SPACING * max(known):
            said.append(
                f"voxels of {spacing:.3g} {plan.unit} along {letter}; in training {min(known):.3g} to {max(known):.3g}"
            )
        least, extent = min(case.extent_mm[axis] for case in cases), looks.extent_mm[axis]
        if extent < least / EXTENT:
            said.append(f"reaches over {extent:.3g} {plan.unit} along {letter}; in training at least {least:.3g}")
    return said
