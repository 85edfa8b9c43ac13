"""Names along a sequence of look-alike structures (vertebrae): each body gets one name, and the names follow in order.

A network names voxels; where it is unsure of the level, one vertebra may come out half L2 and half L3, or two may
share a name. Here the bodies are found first, whatever their names, and put in order along the sequence; then that run
of names is chosen which the network's own probabilities support best, all bodies taken together.
"""

from __future__ import annotations

from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from osteon.plan.schema import Plan, StructureSequence
from osteon.predicting.probabilities import Probabilities

MIN_VOLUME = 0.3
"""A piece of less than this part of the usual volume is no body of its own."""
MERGED_VOLUME = 1.6
"""A piece of more than this many times the median piece of its scan is several bodies that touch."""
MAX_MERGED = 4
"""More bodies in one piece are not cut apart: such a piece is no row of bodies, and nothing is named."""
MAX_ROUNDS = 20
"""Of moving a cut between bodies that touch to where it halves the way between their centres."""
MIN_PROBABILITY = 1e-3
"""No probability counts as less: one voxel must not outvote a body."""
REACH = 2
"""Voxels around a body that take its name with it: the border, where the background is still ahead."""

Floats = npt.NDArray[np.floating[Any]]


def name_sequence(probabilities: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Give every body of the plan's sequence one name, in the sequence's order.

    Args:
        probabilities: `[output, i, j, k]` probabilities on the plan's grid, the background first; changed in place.
        plan: With a sequence; without one nothing is changed.

    Returns:
        The same tensor. Within a body all of the sequence's probability lies on one name, or on the background where
        the body lies beyond the sequence. Nothing is changed where there are fewer than two bodies, or
        more than `MAX_MERGED` in one piece.
    """
    sequence = plan.sequence
    if sequence is None or plan.overlapping:
        return probabilities
    positions = [1 + [s.name for s in plan.structures].index(name) for name in sequence.names]
    array = probabilities.numpy()
    total = array[positions].sum(0, dtype=np.float32)
    pieces, bodies = _find_bodies(array, total, positions, plan, sequence)
    if len(bodies) < 2:
        return probabilities
    centres = np.array(ndimage.center_of_mass(pieces > 0, pieces, bodies)) * plan.grid.spacing_mm
    order = np.argsort(centres[:, sequence.axis])
    numbers = _positions_in_row(centres[order], sequence)
    evidence = np.stack([_log_evidence(array, positions, pieces == bodies[n]) for n in order])
    names = _best_names(evidence, numbers)
    around = _nearest_body(pieces, bodies)
    for body, name in zip(order, names, strict=True):
        where = around == bodies[body]
        for number, position in enumerate(positions):
            array[position][where] = total[where] if number == name else 0
        if name is None:
            array[0][where] += total[where]
    return probabilities


def order_names(probabilities: Probabilities, plan: Plan) -> Probabilities:
    """With the names of the plan's sequence in order: changed in place; as they are where the plan has none."""
    if plan.sequence is None:
        return probabilities
    name_sequence(probabilities.values, plan)
    return probabilities.with_new_argmax()


def _find_bodies(
    array: Floats, total: Floats, positions: list[int], plan: Plan, sequence: StructureSequence
) -> tuple[npt.NDArray[np.int32], list[int]]:
    """Pieces of the sequence, whatever the name, and the numbers of those that are a body.

    Bodies that have grown together are cut apart. How large a body is tells the scan itself: people differ, and so do
    the parts of a body that a scan holds.
    """
    others = np.zeros(total.shape, dtype=array.dtype)
    for number, share in enumerate(array):
        if number not in positions:
            np.maximum(others, share, out=others)
    pieces, count = ndimage.label(total > others)
    voxel = float(np.prod(plan.grid.spacing_mm))
    volumes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * voxel
    large = [n + 1 for n, volume in enumerate(volumes) if volume >= MIN_VOLUME * sequence.volume_mm3]
    if not large:
        return pieces, []
    usual = min(sequence.volume_mm3, median_low([float(volumes[n - 1]) for n in large]))
    bodies = []
    for number in large:
        parts = 1
        if volumes[number - 1] > MERGED_VOLUME * usual:
            parts = max(2, round(volumes[number - 1] / usual))
            if parts > MAX_MERGED:
                return pieces, []
            _split_piece(pieces, number, parts, count, plan, sequence)
        bodies += [number, *range(count + 1, count + parts)]
        count += parts - 1
    return pieces, bodies


def _split_piece(
    pieces: npt.NDArray[np.int32], number: int, parts: int, count: int, plan: Plan, sequence: StructureSequence
) -> None:
    """Cut a piece into parts of about equal length along the sequence, in place; new ones get numbers after `count`.

    Each voxel goes to the nearest of the parts' centres, and these follow their voxels (Lloyd, IEEE Trans. Inf. Theory
    28, 1982): bodies of like size that touch are parted half-way between their centres, however the row bends.
    """
    where = np.argwhere(pieces == number)
    places = where * np.array(plan.grid.spacing_mm)
    order = np.argsort(places[:, sequence.axis], kind="stable")
    centres = np.array([places[part].mean(0) for part in np.array_split(order, parts)])
    nearest = np.zeros(len(places), dtype=np.intp)
    for _ in range(MAX_ROUNDS):
        nearest = np.linalg.norm(places[:, None] - centres[None], axis=2).argmin(1)
        moved = np.array([places[nearest == n].mean(0) if (nearest == n).any() else centres[n] for n in range(parts)])
        if np.allclose(moved, centres):
            break
        centres = moved
    for n in range(1, parts):
        i, j, k = where[nearest == n].T
        pieces[i, j, k] = count + n


def _positions_in_row(centres: npt.NDArray[np.float64], sequence: StructureSequence) -> list[int]:
    """The place of each body in the row, from 0: a gap of two usual distances leaves one place free."""
    places = [0]
    for distance in np.linalg.norm(np.diff(centres, axis=0), axis=1):
        places.append(places[-1] + max(1, round(float(distance) / sequence.distance_mm)))
    return places


def _log_evidence(array: Floats, positions: list[int], where: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Sum of logarithms of each name's probability over a body; the last is the background's."""
    chances = np.stack([array[n][where] for n in (*positions, 0)]).astype(np.float32)
    return np.log(np.maximum(chances, MIN_PROBABILITY)).sum(1, dtype=np.float64)


def _best_names(evidence: npt.NDArray[np.float64], places: list[int]) -> list[int | None]:
    """The name of each body, None beyond the sequence, for the offset with the most evidence."""
    count = evidence.shape[1] - 1
    best: tuple[float, list[int | None]] = (-np.inf, [])
    for offset in range(-places[-1], count):
        names = [place + offset if 0 <= place + offset < count else None for place in places]
        total = sum(evidence[n, count if name is None else name] for n, name in enumerate(names))
        best = max(best, (float(total), names), key=lambda run: run[0])
    return best[1]


def _nearest_body(pieces: npt.NDArray[np.int32], bodies: list[int]) -> npt.NDArray[np.int32]:
    """For each voxel within REACH of a body the nearest body's number, 0 elsewhere."""
    found = np.where(np.isin(pieces, bodies), pieces, 0)
    first, last = np.array([(w.min(), w.max()) for w in np.nonzero(found)]).T
    box = tuple(slice(max(0, a - REACH), b + REACH + 1) for a, b in zip(first, last, strict=True))
    distance, nearest = ndimage.distance_transform_edt(found[box] == 0, return_indices=True)
    found[box] = np.where(distance <= REACH, found[box][tuple(nearest)], 0)
    return found
