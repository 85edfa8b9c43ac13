"""How much a network's levels are to be believed: from validation scans, whole and cropped at either end.

A network that names whole validation scans right would seem to know everything; cropped, they show how sure it may be
where the ends are missing that names hang on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel

from osteon.core.labels import Segmentation
from osteon.plan.schema import Plan, StructureSequence
from osteon.predicting.level_assignment import Levels, log_posterior, make_slots
from osteon.predicting.level_trust import LevelTrust, measure_misfit
from osteon.predicting.model import Model
from osteon.predicting.prepared_scan import PreparedScan
from osteon.preparing.case import prepare_labels

MIN_VIEWS = 10
"""With fewer the usual trust stays."""
SHARPNESSES = tuple(float(value) for value in np.geomspace(0.25, 32, 29))
MISFITS = tuple(float(value) for value in np.geomspace(0.05, 3.2, 7))
CROPS = (1.0, 2.0)
"""Usual distances of neighbours that are cut off at either end."""
MISLABELLED = 0.01
"""Part of the views whose reference is taken to be wrong, so that none decides alone."""
MIN_SHARE = 0.5
"""A body has the name that so many of its voxels have in the reference; else it is none that anybody named."""


class LevelView(BaseModel):
    """What a network said of the bodies in a scan, or in a part of it, and what they are.

    Attributes:
        evidence: `[body][slot]`, as `level_assignment.Levels` has it.
        steps: From each body to the next, in mm.
        names: Of each body; None where the reference has none.
    """

    evidence: list[list[float]]
    steps: list[float]
    names: list[str | None]


def view_levels(
    model: Model, prepared: PreparedScan, levels: Levels | None, reference: Segmentation
) -> list[LevelView]:
    """The views of a validation scan.

    Args:
        model: Of a plan whose sequence has bodies; of another there are none.
        prepared: The scan.
        levels: What the whole scan came to.
        reference: On the scan's own grid.
    """
    sequence = model.plan.sequence
    if sequence is None or not sequence.bodies:
        return []
    labels = prepare_labels(reference, model.plan)
    views = [] if levels is None else [_view(levels, labels, model.plan, sequence)]
    length, axis = labels.shape[sequence.axis], sequence.axis
    distance = sequence.distance_mm / model.plan.grid.spacing_mm[axis]
    for part in _parts(length, distance):
        place = tuple(part if a == axis else slice(None) for a in range(3))
        image = np.ascontiguousarray(prepared.image[(slice(None), *place)])
        found = model.infer(replace(prepared, image=image, scan=None)).levels
        if found is not None:
            views.append(_view(found, labels[place], model.plan, sequence))
    return views


def _parts(length: int, distance: float) -> Iterator[slice]:
    for times in CROPS:
        cut = round(times * distance)
        if 2 * cut <= length:
            yield slice(cut, length)
            yield slice(0, length - cut)


def _view(levels: Levels, labels: np.ndarray, plan: Plan, sequence: StructureSequence) -> LevelView:
    names: list[str | None] = []
    for body in levels.bodies.row:
        here = labels[levels.bodies.box.slices if levels.bodies.box else ...][levels.bodies.pieces == body.number]
        counts = np.bincount(here, minlength=len(plan.structures) + 1)
        counts[0] = 0
        name = plan.structures[int(counts.argmax()) - 1].name if counts.max() >= MIN_SHARE * len(here) else None
        names.append(name if name in sequence.names else None)
    return LevelView(evidence=levels.evidence.tolist(), steps=list(levels.steps), names=names)


def fit_trust(views: Sequence[LevelView], sequence: StructureSequence) -> LevelTrust | None:
    """The trust that makes the true names likeliest; None with fewer than `MIN_VIEWS`."""
    if len(views) < MIN_VIEWS:
        return None
    known = []
    for view in views:
        slots = make_slots(sequence.names, len(view.names), sequence.neighbour_distances)
        evidence = np.array(view.evidence)
        known.append((view, slots, evidence, measure_misfit(evidence, view.steps, slots)))
    best, most = None, -math.inf
    for sharpness in SHARPNESSES:
        chances = [
            (math.exp(log_posterior(sharpness * evidence, view.steps, slots, view.names)), misfit)
            for view, slots, evidence, misfit in known
        ]
        for trust in (LevelTrust(sharpness=round(sharpness, 3), misfit=round(misfit, 3)) for misfit in MISFITS):
            softened = (trust.soften(*each) for each in chances)
            goodness = sum(math.log(MISLABELLED + (1 - MISLABELLED) * chance) for chance in softened)
            if goodness > most:
                best, most = trust, goodness
    return best
