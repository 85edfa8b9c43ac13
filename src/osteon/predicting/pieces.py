"""The pieces of structures whose pieces are numbered (fragments): parted on the plan's grid, numbered on the scan's.

The network finds each structure as a whole, and cores: the part of each piece that keeps away from the others. A core
that falls into several large ones where more probability is asked for is those: one voxel between two pieces that the
network overlooks must not make them one. Where one connected part of a structure has several cores, it is flooded from
them, the cores' likeliest places first, so that pieces meet where the network sees the least of a core (Meyer's
watershed). On the scan's own grid each voxel of the structure gets the number of the nearest piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from osteon.core.boxes import Box, bounding_box
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.formats.labelmap import smallest_uint
from osteon.plan.outputs import OutputLayout, output_layout
from osteon.plan.schema import Plan
from osteon.preparing.strategies import grid_strategy

CORE_PROBABILITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""At which cores are looked for, one after the other."""
MIN_CORE = 100
"""Voxels of the plan's grid: a core of fewer is none."""
MIN_PIECE = 50
"""Likewise: a piece of fewer is no piece of its own, and goes to the nearest."""
AROUND = 2
"""Voxels around a structure that have the number of its nearest piece, too: borders differ on the scan's grid."""

Numbers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class PieceMap:
    """Where the pieces of a structure lie on the plan's grid.

    Attributes:
        structure: Its position in the plan.
        box: Of the grid.
        nearest: `[i, j, k]` in the box: the number, from 1, of the nearest piece, the largest being the first.
    """

    structure: int
    box: Box
    nearest: Numbers


def find_pieces(values: torch.Tensor, plan: Plan) -> tuple[PieceMap, ...]:
    """The pieces of each structure that has some.

    Args:
        values: `[output, i, j, k]` as the network's output is activated.
        plan: Structures, and how many pieces each may have: no more are numbered than it has values.
    """
    layout, array = output_layout(plan), values.numpy()
    found = []
    for number in layout.instances:
        mask = _is_class(array, layout, layout.class_of[number])
        if (box := bounding_box(mask)) is None:
            continue
        box = box.expand((AROUND,) * 3, mask.shape)
        pieces, count = part_pieces(mask[box.slices], array[(layout.core, *box.slices)])
        found.append(PieceMap(number, box, _nearest(pieces, count, len(plan.structures[number].values), plan)))
    return tuple(found)


def _is_class(array: Floats, layout: OutputLayout, place: int) -> npt.NDArray[np.bool_]:
    """`[i, j, k]`: where a class has the greatest probability; of two alike the first has it, as in `argmax_output`."""
    mask = np.ones(array.shape[1:], dtype=bool)
    for other in range(layout.classes):
        if other != place:
            mask &= array[place] > array[other] if other < place else array[place] >= array[other]
    return mask


def part_pieces(mask: npt.NDArray[np.bool_], core: Floats) -> tuple[Numbers, int]:
    """Numbers from 1 of the pieces of a mask `[i, j, k]`, and the last one.

    Args:
        mask: A structure as a whole.
        core: `[i, j, k]`: how likely a voxel is the core of a piece.
    """
    from skimage.segmentation import watershed  # takes long to import

    connected, _ = ndimage.label(mask)
    pieces = np.zeros(mask.shape, np.int32)
    last = 0
    for number, where in enumerate(ndimage.find_objects(connected), start=1):
        own = connected[where] == number
        seeds = np.zeros(own.shape, np.int32)
        several = _mark_cores(own, core[where], seeds, 0)
        if several < 2:
            last += 1
            pieces[where][own] = last
            continue
        flooded = watershed(-core[where].astype(np.float32), seeds, mask=own)
        pieces[where][own] = flooded[own] + last
        last += several
    return pieces, last


def _mark_cores(mask: npt.NDArray[np.bool_], core: Floats, seeds: Numbers, found: int, step: int = 0) -> int:
    """Number the cores in a mask `[i, j, k]` from `found` + 1 on, in `seeds`; the last number."""
    for place in range(step, len(CORE_PROBABILITIES)):
        parts, count = ndimage.label(mask & (core > CORE_PROBABILITIES[place]))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        large = [number for number in range(1, count + 1) if sizes[number] >= MIN_CORE]
        if len(large) > 1:
            boxes = ndimage.find_objects(parts)
            for number in large:
                where = boxes[number - 1]
                found = _mark_cores(parts[where] == number, core[where], seeds[where], found, place + 1)
            return found
        if not large:
            break
    seeds[mask & (core > CORE_PROBABILITIES[0])] = found + 1
    return found + 1


def _nearest(pieces: Numbers, count: int, most: int, plan: Plan) -> Numbers:
    """For each voxel the number of the nearest piece, the largest being the first; small ones are left out."""
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    order = [n for n in np.argsort(-sizes, kind="stable") if sizes[n] >= MIN_PIECE][:most] or [int(np.argmax(sizes))]
    table = np.zeros(count + 1, smallest_uint(len(order)))
    table[np.array(order) + 1] = np.arange(1, len(order) + 1)
    numbered = table[pieces]
    if len(order) == 1:
        return np.ones_like(numbered)
    where = ndimage.distance_transform_edt(
        numbered == 0, plan.grid.spacing_mm, return_distances=False, return_indices=True
    )
    return np.asarray(numbered[tuple(where)])


def number_pieces(segmentation: Segmentation, maps: Sequence[PieceMap], plan: Plan) -> Segmentation:
    """A segmentation on the scan's grid, whose pieces then have values of their own: the largest the structure's."""
    if not maps:
        return segmentation
    highest = max(structure.values[-1] for structure in segmentation.structures)
    array = segmentation.array.astype(smallest_uint(highest))
    transform = grid_strategy(plan).transform(segmentation.geometry)
    labels = transform.permutation.apply(array)  # a view
    for found in maps:
        structure = plan.structures[found.structure]
        i, j, k = (
            ((np.arange(new) + 0.5) * old / new).astype(int).clip(first, stop - 1) - first
            for new, old, first, stop in zip(
                labels.shape, transform.shape, found.box.first, found.box.stop, strict=True
            )
        )
        for plane, position in zip(labels, i, strict=True):
            own = plane == structure.value
            if own.any():
                plane[own] = structure.value - 1 + found.nearest[position][np.ix_(j, k)][own]
    return Segmentation(array, segmentation.geometry, segmentation.structures)


def keep_pieces(changed: Segmentation, before: Segmentation) -> Segmentation:
    """A segmentation whose pieces are merged, with the pieces that it had before it was changed.

    Voxels that were added go to the nearest piece of their structure.
    """
    numbered = [structure for structure in changed.structures if structure.instances]
    if not numbered or changed.overlapping:
        return changed
    array = changed.array.astype(before.array.dtype)
    for structure in numbered:
        mask = changed.mask(structure)
        if (box := bounding_box(mask)) is not None:
            _number_again(array, mask, before, structure, box.expand((AROUND,) * 3, mask.shape), changed.geometry)
    return Segmentation(array, changed.geometry, changed.structures)


def _number_again(
    array: Numbers,
    mask: npt.NDArray[np.bool_],
    before: Segmentation,
    structure: Structure,
    box: Box,
    geometry: Geometry,
) -> None:
    inside = box.slices
    old, here = before.array[inside], mask[inside]
    known = before.mask(structure, inside)
    new = here & ~known
    array[inside][here & known] = old[here & known]
    if new.any() and known.any():
        nearest = ndimage.distance_transform_edt(
            ~known, geometry.spacing_mm, return_distances=False, return_indices=True
        )
        array[inside][new] = old[tuple(axis[new] for axis in nearest)]
