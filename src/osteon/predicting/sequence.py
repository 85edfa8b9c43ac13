"""Names along a sequence of look-alike structures (vertebrae): bodies first, names second.

A network that names voxels may call one vertebra half L2 and half L3, or two L2; and when it is a level off it is sure
of itself. Here the bodies are found first, whatever their names, and put in order along the sequence; then all of them
are named together (`level_assignment`), by what the network says of each and by their order, which gives a probability
to each way of naming them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.errors import UsageError
from osteon.plan.outputs import OutputLayout, output_layout
from osteon.plan.schema import Plan, StructureSequence
from osteon.predicting.bodies import Bodies, Body, bodies_by_core, bodies_by_size
from osteon.predicting.level_assignment import Levels, Slot, make_slots, rank_assignments
from osteon.predicting.level_trust import USUAL_TRUST, LevelTrust, measure_misfit
from osteon.predicting.pieces import find_pieces
from osteon.predicting.probabilities import Probabilities

MIN_PROBABILITY = 1e-3
"""No probability counts as less: one voxel must not outvote a body."""
HALF_BODY = 0.39
"""How far a body reaches to either side of its centre, in levels."""
CUT_WEIGHT = 0.5
"""What a body counts that the scan's edge cuts; its own part of the usual volume counts besides."""
MAX_BODIES = 12
"""Beyond the sequence: names that a person may give its first body."""

Floats = npt.NDArray[np.floating[Any]]


def check_first_level(plan: Plan, name: str | None) -> None:
    """Raises UsageError where a first body cannot have that name."""
    if name is None:
        return
    if plan.sequence is None:
        raise UsageError(f"--levels FIRST={name}: this model knows no series of structures", hint="leave --levels out")
    names = [slot.name for slot in make_slots(plan.sequence.names, MAX_BODIES) if slot.name]
    if name not in names:
        known = ", ".join(reversed(names) if _first_is_last(plan, plan.sequence) else names)
        raise UsageError(f"--levels FIRST={name}: there is no {name} in the model's series", hint=f"there are {known}")


def _first_is_last(plan: Plan, sequence: StructureSequence) -> bool:
    """Whether the first body, as people count, is the last along the grid's axis: of vertebrae the uppermost."""
    return plan.grid.axes[sequence.axis] == "S"


def name_sequence(
    values: torch.Tensor, plan: Plan, *, first: str | None = None, trust: LevelTrust = USUAL_TRUST
) -> tuple[torch.Tensor, Levels | None]:
    """Give every body of the plan's sequence one name.

    Args:
        values: `[output, i, j, k]` as the network's output is activated, the background first; may be changed.
        plan: With a sequence; without one nothing is changed.
        first: The name of the first body (of vertebrae the uppermost), where a person has said so.
        trust: How much of what the network says is believed, as validation has found it.

    Returns:
        `[1 + structure, i, j, k]` probabilities: within a body all of the sequence's lies on one name, or on the
        background where the body lies beyond the sequence. And how bodies were named: None where there were none
        (where names are classes of the network's: fewer than two, or more than `bodies.MAX_MERGED` in one piece, and
        then nothing is changed).
    """
    sequence, layout = plan.sequence, output_layout(plan)
    if sequence is not None and layout.levels:
        return _name_bodies(values, plan, sequence, layout, first, trust)
    values = values[: layout.classes]
    if sequence is None or plan.overlapping:
        return values, None
    array = values.numpy()
    positions = [1 + [s.name for s in plan.structures].index(name) for name in sequence.names]
    total = array[positions].sum(0, dtype=np.float32)
    others = np.zeros(total.shape, dtype=array.dtype)
    for number, share in enumerate(array):
        if number not in positions:
            np.maximum(others, share, out=others)
    bodies = bodies_by_size(total > others, plan, sequence)
    if len(bodies.row) < 2 or bodies.box is None:
        return values, None
    where = bodies.box.slices
    chances = array[(..., *where)]
    found = _name_rows(
        bodies,
        lambda body, slots: _class_evidence(chances, positions, bodies.pieces == body.number, slots),
        plan,
        sequence,
        first,
        trust,
    )
    for levels in found:
        for body, slot in zip(levels.bodies.row, levels.assignments[0].slots, strict=True):
            mask = bodies.with_border == body.number
            for number, position in enumerate(positions):
                array[(position, *where)][mask] = total[where][mask] if number == slot.number else 0
            if slot.number is None:
                array[(0, *where)][mask] += total[where][mask]
    return values, _least_sure(found)


def decode_outputs(
    probabilities: Probabilities, plan: Plan, *, first: str | None = None, trust: LevelTrust = USUAL_TRUST
) -> Probabilities:
    """Of structures, with the names of the plan's sequence in order, and pieces parted; may be changed in place.

    As they are where the plan has neither. Arguments as for `name_sequence`.
    """
    layout = output_layout(plan)
    if layout.instances and len(probabilities.values) == layout.total:
        probabilities = replace(probabilities, pieces=find_pieces(probabilities.values, plan))
    elif plan.sequence is None or plan.overlapping:
        return probabilities
    values, levels = name_sequence(probabilities.values, plan, first=first, trust=trust)
    return probabilities.with_levels(values, levels)


def _name_bodies(
    values: torch.Tensor,
    plan: Plan,
    sequence: StructureSequence,
    layout: OutputLayout,
    first: str | None,
    trust: LevelTrust,
) -> tuple[torch.Tensor, Levels | None]:
    """As `name_sequence`, of a network that finds bodies, cores and levels."""
    array = values.numpy()
    classes = array[: layout.classes].copy()
    body = classes[layout.body]
    others = np.delete(classes, layout.body, 0).max(0)
    bodies = bodies_by_core(body > others, array[layout.core] > 0.5, plan, sequence)
    where = (slice(None),) * 3 if bodies.box is None else bodies.box.slices
    chances = array[(slice(layout.first_level, None), *where)]
    found = _name_rows(
        bodies,
        lambda body, slots: _level_evidence(chances, bodies.pieces == body.number, body, slots),
        plan,
        sequence,
        first,
        trust,
    )
    result = array[: 1 + len(plan.structures)]
    result[0] = classes[0] + body  # of which a body that has a name takes its own again
    for structure, place in enumerate(layout.class_of):
        result[1 + structure] = 0 if place == layout.body else classes[place]
    for levels in found:
        for one, slot in zip(levels.bodies.row, levels.assignments[0].slots, strict=True):
            if slot.number is not None:
                mask = bodies.with_border == one.number
                result[(1 + layout.members[slot.number], *where)][mask] = body[where][mask]
                result[(0, *where)][mask] -= body[where][mask]
    return values[: len(result)], _least_sure(found)


def _name_rows(
    bodies: Bodies,
    evidence_of: Callable[[Body, list[Slot]], Floats],
    plan: Plan,
    sequence: StructureSequence,
    first: str | None,
    trust: LevelTrust,
) -> list[Levels]:
    """The names of each row of bodies, of which there are several where two people lie in one scan."""
    named = []
    rows, first_is_last = bodies.rows(sequence), _first_is_last(plan, sequence)
    for own in rows:
        slots = make_slots(sequence.names, len(own.row), sequence.neighbour_distances)
        evidence = np.stack([evidence_of(body, slots) for body in own.row])
        centres = np.array([body.centre_mm for body in own.row])
        steps = tuple(np.linalg.norm(np.diff(centres, axis=0), axis=1).tolist())
        misfit = measure_misfit(evidence, steps, slots) if output_layout(plan).levels else 0.0
        ranked = rank_assignments(trust.sharpness * evidence, steps, slots)
        if first is not None:
            fixed = len(centres) - 1 if first_is_last else 0, first
            picked = rank_assignments(trust.sharpness * evidence, steps, slots, fixed=fixed)[:1]
            ranked = picked and [*picked, *(other for other in ranked if other.slots != picked[0].slots)][:3]
        ranked = [replace(each, probability=trust.soften(each.probability, misfit)) for each in ranked]
        if ranked:
            named.append(Levels(tuple(ranked), own, evidence, steps, len(rows), first_is_last, first))
    return named


def _least_sure(rows: list[Levels]) -> Levels | None:
    return min(rows, key=lambda levels: levels.margin, default=None)


def _class_evidence(array: Floats, positions: list[int], mask: npt.NDArray[np.bool_], slots: list[Slot]) -> Floats:
    """Log-likelihood of each slot by the classes' probabilities; slots without a number are background."""
    chances = np.stack([array[n][mask] for n in (*positions, 0)]).astype(np.float32)
    means = np.log(np.maximum(chances, MIN_PROBABILITY)).mean(1, dtype=np.float64)
    return np.array([means[-1 if slot.number is None else slot.number] for slot in slots])


def _level_evidence(chances: Floats, mask: npt.NDArray[np.bool_], body: Body, slots: list[Slot]) -> Floats:
    """Log-likelihood of each slot: how little the levels that a body shows differ from those that it would show there.

    Minus the Kullback–Leibler divergence of the expected levels from the mean of the network's.
    """
    shown = np.maximum(chances[:, mask].mean(1, dtype=np.float64), MIN_PROBABILITY)
    shown /= shown.sum()
    weight = body.visible * (CUT_WEIGHT if body.cut else 1.0)
    result = []
    for slot in slots:
        expected = _expected_levels(slot.level, len(shown))
        known = expected > 0
        result.append(-weight * float((expected[known] * np.log(expected[known] / shown[known])).sum()))
    return np.array(result)


def _expected_levels(level: float, count: int) -> Floats:
    """The mean of a body's targets, whose centre has this level: each place's lies between two neighbours."""
    places = np.clip(level + np.linspace(-HALF_BODY, HALF_BODY, 9), -1, count - 2) + 1
    below = np.minimum(places.astype(int), count - 2)
    expected = np.zeros(count)
    np.add.at(expected, below, 1 - (places - below))
    np.add.at(expected, below + 1, places - below)
    return np.asarray(expected / len(places))
