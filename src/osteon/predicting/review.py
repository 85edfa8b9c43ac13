"""Whether a person should look at a prediction, and why: what is unlike the scans that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osteon.core.labels import Segmentation
from osteon.dataset.checks import present_structures
from osteon.plan.schema import Plan
from osteon.predicting.level_assignment import Levels
from osteon.predicting.reference_statistics import ReferenceStatistics

MIN_CASES = 5
"""Training scans; with fewer their range says nothing."""
MIN_DICE = 0.7
"""An expected Dice below it is a reason, unless the structure never had a better one."""
MAX_DICE_DROP = 0.1
"""So is one that lies so far below the structure's usual one."""
MIN_LEVEL_PROBABILITY = 0.9
"""Of the names of a sequence, all bodies together."""
MIN_SHARE_OF_CASES = 0.8
"""A structure of at least this part of the training scans, however few, is missed where it is not found."""
VOLUME_FACTOR = 1.5
"""Times the largest volume, or a part of the smallest."""
IMAGE_RANGE = 1.0
"""Widths of the training scans' range beyond it."""
MIN_WIDTH = 0.2
"""Standard deviations of the image; cohorts of few scans, or very alike, vary less than scans of other days."""
EXTENT_FACTOR = 2.0
"""A scan may be shorter than all training scans by this factor."""
SPACING_FACTOR = 2.0
"""Times the largest voxel edge, or a part of the smallest."""
UNUSUAL_IMAGE = "the image is unlike the training scans"
"""How that reason begins."""


@dataclass(frozen=True)
class TrainingFacts:
    """What a model folder says of its training.

    Attributes:
        cases: The training scans.
        usual: Mean validation Dice of each structure, where there is one.
        calibrated: Whether confidences are expected Dice; else they are raw.
    """

    cases: Sequence[ReferenceStatistics]
    usual: Mapping[str, float | None]
    calibrated: bool = True


def reasons_to_review(
    statistics: ReferenceStatistics, expected: Mapping[str, float | None], plan: Plan, facts: TrainingFacts
) -> list[str]:
    """Why a person should look at a prediction; none: nothing stands out.

    Args:
        statistics: Of the scan and of the structures found in it.
        expected: Confidence in each structure; None for one that was not found.
        plan: Structures, unit.
        facts: Of the model's training.
    """
    reasons = (
        _low_expected_dice(expected, facts.usual) if facts.calibrated else _low_raw_confidence(expected, facts.usual)
    )
    reasons += _missing_structures(statistics, plan, facts.cases)
    if len(facts.cases) >= MIN_CASES:
        reasons += _unusual_structures(statistics, plan, facts.cases)
        reasons += _unusual_image(statistics, facts.cases)
        reasons += _unusual_grid(statistics, plan, facts.cases)
    return reasons


def reasons_to_review_levels(levels: Levels | None) -> list[str]:
    """Why a person should look at the names of a sequence: another way to name its bodies is nearly as likely, and no
    person has picked one; or there are several rows of them.
    """
    if levels is None:
        return []
    reasons = []
    if levels.rows > 1:
        reasons.append(f"{levels.rows} rows of bodies side by side, each named by itself: is this one person?")
    if levels.picked is None and levels.assignments[0].probability < MIN_LEVEL_PROBABILITY:
        reasons.append(f"names: {levels.describe()}")
    return reasons


def _low_expected_dice(expected: Mapping[str, float | None], usual: Mapping[str, float | None]) -> list[str]:
    reasons = []
    for name, dice in expected.items():
        known = usual.get(name)
        if dice is None:
            continue
        if dice < (MIN_DICE if known is None else min(MIN_DICE, known - MAX_DICE_DROP / 2)) or (
            known is not None and dice < known - MAX_DICE_DROP
        ):
            beside = "" if known is None else f", usually {known:.2f}"
            reasons.append(f"{name}: a Dice of {dice:.2f} is to be expected{beside}")
    return reasons


def _low_raw_confidence(confidence: Mapping[str, float | None], usual: Mapping[str, float | None]) -> list[str]:
    """Where nothing says which Dice is to be expected, the network's own figure and its usual Dice are looked at."""
    reasons = []
    for name, raw in confidence.items():
        known = usual.get(name)
        if raw is not None and min(raw, raw if known is None else known) < MIN_DICE:
            beside = "" if known is None else f"; its Dice in validation: {known:.2f}"
            reasons.append(f"{name}: confidence {raw:.2f}, uncalibrated{beside}")
    return reasons


def usual_structures(plan: Plan, cases: Sequence[ReferenceStatistics]) -> dict[str, str]:
    """The structures that (nearly) all training scans show, and in how many of them: `9 of 10`."""
    usual = {}
    for name in (structure.name for structure in plan.structures):
        annotated = [case for case in cases if case.annotated is None or name in case.annotated]
        shown = sum(name in case.volumes for case in annotated)
        if shown and shown >= MIN_SHARE_OF_CASES * len(annotated):
            usual[name] = f"{shown} of {len(annotated)}"
    return usual


def _missing_structures(statistics: ReferenceStatistics, plan: Plan, cases: Sequence[ReferenceStatistics]) -> list[str]:
    reasons = [
        f"{name}: not found; {shown} training scans show it"
        for name, shown in usual_structures(plan, cases).items()
        if name not in statistics.volumes
    ]
    return reasons if reasons or statistics.volumes else ["nothing was found"]


def removed_structures(found: Sequence[str], segmentation: Segmentation) -> list[str]:
    """A line for each structure that was found and that post-processing removed."""
    there = present_structures(segmentation)
    return [f"{name}: found, and removed whole by the post-processing" for name in found if name not in there]


def _unusual_structures(statistics: ReferenceStatistics, plan: Plan, cases: Sequence[ReferenceStatistics]) -> list[str]:
    reasons = []
    # A picture is one voxel thin: it has an area.
    depth_mm = [e for e, s in zip(statistics.extent_mm, statistics.spacing_mm, strict=True) if round(e / s) == 1][:1]
    unit, size = ("1000 px", 1.0) if plan.unit == "px" else ("cm²", depth_mm[0] / 10) if depth_mm else ("cm³", 1.0)
    for name in (structure.name for structure in plan.structures):
        shown = [case for case in cases if name in case.volumes and (case.annotated is None or name in case.annotated)]
        if len(shown) < MIN_CASES or name not in statistics.volumes:
            continue
        volumes = [case.volumes[name] for case in shown]
        volume = statistics.volumes[name]
        if not min(volumes) / VOLUME_FACTOR <= volume <= VOLUME_FACTOR * max(volumes):
            usual = f"{min(volumes) / size:.3g} to {max(volumes) / size:.3g}"
            reasons.append(f"{name}: {volume / size:.3g} {unit}; in training {usual}")
        if name in statistics.touching and not any(name in case.touching for case in shown):
            reasons.append(f"{name}: reaches the edge of the scan, which it does in no training scan: cut off?")
    return reasons


def _unusual_image(statistics: ReferenceStatistics, cases: Sequence[ReferenceStatistics]) -> list[str]:
    worst: tuple[float, str] = (IMAGE_RANGE, "")
    for name, value in statistics.image.items():
        known = np.array([case.image[name] for case in cases if name in case.image])
        if len(known) < MIN_CASES:
            continue
        width = max(float(np.ptp(known)), MIN_WIDTH)
        beyond = max(float(known.min()) - value, value - float(known.max())) / width
        usual = f"{known.min():.3g} to {known.max():.3g}"
        reason = f"{UNUSUAL_IMAGE}: {name} {value:.3g}, there {usual}"
        worst = max(worst, (beyond, reason))
    return [worst[1]] if worst[1] else []


def _unusual_grid(statistics: ReferenceStatistics, plan: Plan, cases: Sequence[ReferenceStatistics]) -> list[str]:
    reasons = []
    for axis, letter in enumerate(plan.grid.axes[: len(statistics.spacing_mm)]):
        known = [case.spacing_mm[axis] for case in cases]
        spacing = statistics.spacing_mm[axis]
        if not min(known) / SPACING_FACTOR <= spacing <= SPACING_FACTOR * max(known):
            reasons.append(
                f"voxels of {spacing:.3g} {plan.unit} along {letter}; in training {min(known):.3g} to {max(known):.3g}"
            )
        least, extent = min(case.extent_mm[axis] for case in cases), statistics.extent_mm[axis]
        if extent < least / EXTENT_FACTOR:
            reasons.append(f"reaches over {extent:.3g} {plan.unit} along {letter}; in training at least {least:.3g}")
    return reasons
