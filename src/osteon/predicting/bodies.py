"""The bodies of a sequence of look-alike structures (vertebrae), whatever their names: found, and parted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.boxes import Box, bounding_box
from osteon.plan.schema import Plan, StructureSequence

MIN_VOLUME = 0.3
"""A piece of less than this part of the usual volume is no body of its own,"""
MIN_EDGE_VOLUME = 0.15
"""or of less than this where the scan's edge cuts it."""
MERGED_VOLUME = 1.6
"""A piece of more than this many times the median piece of its scan is several bodies that touch."""
MAX_MERGED = 4
"""More bodies in one piece are not cut apart: such a piece is no row of bodies, and nothing is named."""
MAX_ROUNDS = 20
"""Of moving a cut between bodies that touch to where it halves the way between their centres."""
MIN_CORE = 0.06
"""A core of less than this part of a body's usual volume is none."""
BESIDE = 0.6
"""Two bodies are of two rows that lie side by side (two people in one scan) where they are farther apart across the
row than this part of the usual distance,"""
STEEPEST = 2.0
"""and than so many times along it: no row leans so much."""
REACH = 2
"""Voxels around a body that take its name with it: the border, where the background is still ahead."""

Floats = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Body:
    """One body.

    Attributes:
        number: In `Bodies.pieces`.
        centre_mm: Along the plan's axes, from the grid's first voxel.
        visible: Part of the usual volume, at most 1; less where the scan's edge cuts it.
        cut: Whether it lies at the scan's edge along the sequence.
    """

    number: int
    centre_mm: tuple[float, float, float]
    visible: float
    cut: bool


@dataclass(frozen=True)
class Bodies:
    """The bodies of a scan, in their order along the sequence's axis.

    Attributes:
        row: The bodies.
        pieces: `[i, j, k]` in `box`: each body's voxels have its number; 0 elsewhere.
        with_border: Likewise, and the voxels around a body have its number, too (`REACH`).
        box: Where in the grid; None where there is no body.
    """

    row: tuple[Body, ...]
    pieces: Numbers
    with_border: Numbers
    box: Box | None

    def rows(self, sequence: StructureSequence) -> list[Bodies]:
        """The same bodies in as many rows as lie side by side: usually one. One body beside a row is none."""
        rows: list[list[Body]] = []
        for body in self.row:
            here = np.array(body.centre_mm)
            steps = [here - row[-1].centre_mm for row in rows]
            along = [step[sequence.axis] for step in steps]
            across = [float(np.linalg.norm(np.delete(step, sequence.axis))) for step in steps]
            free = [n for n in range(len(rows)) if across[n] <= max(BESIDE * sequence.distance_mm, STEEPEST * along[n])]
            if free:
                rows[min(free, key=lambda n: across[n])].append(body)
            else:
                rows.append([body])
        longest = max(map(len, rows), default=0)
        return [replace(self, row=tuple(row)) for row in rows if len(row) > 1 or longest == 1]


_NOTHING = np.zeros((0, 0, 0), np.int32)
NO_BODIES = Bodies((), _NOTHING, _NOTHING, None)


def bodies_by_size(mask: npt.NDArray[np.bool_], plan: Plan, sequence: StructureSequence) -> Bodies:
    """Connected pieces of a mask; those that have grown together are cut by their size.

    How large a body is tells the scan itself: people differ, and so do the parts of a body that a scan holds.

    Args:
        mask: `[i, j, k]` on the plan's grid.
        plan: The grid.
        sequence: Usual sizes.
    """
    box = bounding_box(mask)
    if box is None:
        return NO_BODIES
    box = box.expand((REACH,) * 3, mask.shape)
    pieces, count = ndimage.label(mask[box.slices])
    volumes = _volumes(pieces, count, plan)
    large = _large_pieces(pieces, volumes, box, mask.shape, sequence)
    usual = min(sequence.volume_mm3, median_low([volumes[n] for n in large])) if large else 0
    bodies = []
    for number in large:
        parts = 1
        if volumes[number] > MERGED_VOLUME * usual:
            parts = max(2, round(volumes[number] / usual))
            if parts > MAX_MERGED:
                return NO_BODIES
            _split_piece(pieces, number, parts, count, plan, sequence)
        bodies += [number, *range(count + 1, count + parts)]
        count += parts - 1
    return _in_order(pieces, bodies, box, mask.shape, plan, sequence)


def bodies_by_core(
    mask: npt.NDArray[np.bool_], core: npt.NDArray[np.bool_], plan: Plan, sequence: StructureSequence
) -> Bodies:
    """Each voxel of a mask belongs to the nearest core; a piece without a core is a body where it is as large as one.

    Args:
        mask: `[i, j, k]` on the plan's grid.
        core: Likewise: the inner part of each body, which touches no other's.
        plan: The grid.
        sequence: Usual sizes.
    """
    box = bounding_box(mask)
    if box is None:
        return NO_BODIES
    box = box.expand((REACH,) * 3, mask.shape)
    inside = mask[box.slices]
    pieces, count = ndimage.label(core[box.slices] & inside)
    volumes = _volumes(pieces, count, plan)
    large = [n for n, volume in volumes.items() if volume >= MIN_CORE * sequence.volume_mm3]
    pieces = _grow(np.where(np.isin(pieces, large), pieces, 0), inside, plan, sequence.volume_mm3 ** (1 / 3))
    rest, more = ndimage.label(inside & (pieces == 0))
    pieces = np.where(rest > 0, rest + count, pieces)
    volumes = _volumes(pieces, count + more, plan)
    large = _large_pieces(pieces, volumes, box, mask.shape, sequence)
    return _in_order(pieces, large, box, mask.shape, plan, sequence)


def _volumes(pieces: Numbers, count: int, plan: Plan) -> dict[int, float]:
    """mm³ of each piece that has a voxel."""
    counts = np.bincount(pieces.ravel(), minlength=count + 1) * float(np.prod(plan.grid.spacing_mm))
    return {n: float(counts[n]) for n in range(1, count + 1) if counts[n]}


def _large_pieces(
    pieces: Numbers, volumes: Mapping[int, float], box: Box, shape: Sequence[int], sequence: StructureSequence
) -> list[int]:
    """Pieces that are as large as a body, or as a part of one at the scan's edge."""
    cut = _numbers_at_edge(pieces, box, shape, sequence.axis)
    least = {True: MIN_EDGE_VOLUME * sequence.volume_mm3, False: MIN_VOLUME * sequence.volume_mm3}
    return [number for number, volume in volumes.items() if volume >= least[number in cut]]


def _numbers_at_edge(pieces: Numbers, box: Box, shape: Sequence[int], axis: int) -> set[int]:
    """Numbers of pieces that reach the first or the last plane of the grid along an axis."""
    planes = []
    if box.first[axis] == 0:
        planes.append(pieces.take(0, axis))
    if box.stop[axis] == shape[axis]:
        planes.append(pieces.take(-1, axis))
    return {int(number) for plane in planes for number in np.unique(plane)}


def _grow(cores: Numbers, mask: npt.NDArray[np.bool_], plan: Plan, most_mm: float) -> Numbers:
    """Each voxel of the mask gets the number of the nearest core, out to `most_mm`; 0 elsewhere."""
    if not cores.any():
        return cores
    distance, nearest = ndimage.distance_transform_edt(cores == 0, plan.grid.spacing_mm, return_indices=True)
    return np.where(mask & (distance <= most_mm), cores[tuple(nearest)], 0)


def _split_piece(pieces: Numbers, number: int, parts: int, count: int, plan: Plan, sequence: StructureSequence) -> None:
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


def _in_order(
    pieces: Numbers, numbers: Sequence[int], box: Box, shape: Sequence[int], plan: Plan, sequence: StructureSequence
) -> Bodies:
    """The bodies of these numbers along the sequence's axis, each with the voxels around it."""
    if not numbers:
        return NO_BODIES
    spacing = np.array(plan.grid.spacing_mm)
    volumes = _volumes(pieces, max(numbers), plan)
    cut = _numbers_at_edge(pieces, box, shape, sequence.axis)
    centres = (np.array(ndimage.center_of_mass(pieces > 0, pieces, numbers)) + box.first) * spacing
    row = []
    for position in np.argsort(centres[:, sequence.axis]):
        number, (i, j, k) = numbers[position], centres[position].tolist()
        row.append(Body(number, (i, j, k), min(1.0, volumes[number] / sequence.volume_mm3), number in cut))
    kept = np.where(np.isin(pieces, numbers), pieces, 0)
    distance, nearest = ndimage.distance_transform_edt(kept == 0, return_indices=True)
    around = np.where(distance <= REACH, kept[tuple(nearest)], 0)
    return Bodies(tuple(row), kept.astype(np.int32), around.astype(np.int32), box)
