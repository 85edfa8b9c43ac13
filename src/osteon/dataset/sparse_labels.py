"""On which slices structures were drawn: labels of every second slice or so look like combs to a model.

A structure is sparse along an axis where the usual step between its slices (the most frequent) is more than one, and
it is whole along the other axes. A gap that is longer than its usual step, and one in a structure that is drawn on
every slice, may be anatomy: one bone in two pieces. Such gaps are only reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation, Structure

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Pair = tuple[int, int]
"""Two slices that are drawn, with empty ones between them."""

_LONGEST = 5
"""Empty slices. A longer gap between two parts that face each other is that of two pieces."""
_FEWEST = 4
"""Voxels of a slice that faces another; fewer are a shred."""
_FACING = 0.5
"""Part of the smaller slice that lies over the other one where the two face each other."""


@dataclass(frozen=True)
class SparseStructure:
    """A structure that has empty slices between those that were drawn.

    Attributes:
        structure: Which.
        axis: Of the grid, across the slices.
        box: In which it lies.
        slices: The slices that have a voxel, in order.
        step: The usual distance between them; 1 where it is drawn on every slice.
        short_gaps: The pairs of slices between which lies no more than the usual step.
        long_gaps: The pairs between which lies more.
    """

    structure: Structure
    axis: int
    box: Box
    slices: tuple[int, ...]
    step: int
    short_gaps: tuple[Pair, ...]
    long_gaps: tuple[Pair, ...]

    def describe(self) -> str:
        """On how many slices of how many, such as `femur on 5 of 9`."""
        return f"{self.structure.name} on {len(self.slices)} of {self.slices[-1] - self.slices[0] + 1}"

    def describe_gaps(self) -> str:
        """The empty slices of the gaps, counted from 1, such as `femur in slices 4 to 5 along k`."""
        listed = [f"{a + 2}" if b == a + 2 else f"{a + 2} to {b}" for a, b in self.long_gaps]
        return f"{self.structure.name} in slices {', '.join(listed)} along {'ijk'[self.axis]}"


def describe_step(step: int) -> str:
    """`every 2nd slice` and the like."""
    return f"every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} slice"


def find_sparse_structures(segmentation: Segmentation) -> list[SparseStructure]:
    """The structures that were drawn on some slices only, and those with a gap that is worth a look.

    A structure of two slices shows no usual step: it takes that of the others.
    """
    if min(segmentation.geometry.shape) == 1:
        return []
    boxes = _boxes(segmentation)
    places = [_slice_numbers(box, segmentation.mask(structure, box)) for structure, box in boxes]
    combs = [_sparse_axis(each) for each in places]
    usual = Counter(comb for comb in combs if comb is not None).most_common(1)
    found = []
    for (structure, box), each, comb in zip(boxes, places, combs, strict=True):
        if comb is None and usual:
            (axis, step), _ = usual[0]
            steps = np.diff(each[axis])
            comb = (axis, step) if len(steps) and 1 < steps.min() <= step else None
        if comb is not None:
            axis, step = comb
            pairs = _pairs(each[axis])
            between, gaps = (tuple(p for p in pairs if (p[1] - p[0] <= step) is near) for near in (True, False))
            found.append(SparseStructure(structure, axis, box, tuple(each[axis].tolist()), step, between, gaps))
            continue
        for axis in range(3):
            short = [pair for pair in _pairs(each[axis]) if pair[1] - pair[0] <= _LONGEST + 1]
            if facing := tuple(pair for pair in short if _faces_across(segmentation, structure, box, axis, pair)):
                found.append(SparseStructure(structure, axis, box, tuple(each[axis].tolist()), 1, (), facing))
    return found


def _boxes(segmentation: Segmentation) -> list[tuple[Structure, Box]]:
    """Each structure that has a voxel, and its box."""
    if segmentation.overlapping:
        layers = zip(segmentation.structures, segmentation.array, strict=True)
        return [(s, box) for s, layer in layers for box in ndimage.find_objects((layer > 0).view(np.uint8))]
    boxes = bounding_boxes(segmentation.array, [structure.value for structure in segmentation.structures])
    return [(s, box.slices) for s, box in zip(segmentation.structures, boxes, strict=True) if box is not None]


def _slice_numbers(box: Box, mask: Mask) -> list[npt.NDArray[np.intp]]:
    """Along each axis, the slices that have a voxel."""
    return [
        np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) + box[axis].start for axis in range(3)
    ]


def _sparse_axis(places: Sequence[npt.NDArray[np.intp]]) -> tuple[int, int] | None:
    """The axis along which a structure is drawn on some slices, and the usual step; None where it is on every slice."""
    usual = []
    for each in places:
        steps = np.diff(each).tolist()
        step, times = min(Counter(steps).items(), key=lambda item: (-item[1], item[0])) if steps else (1, 0)
        usual.append((step, times >= 2 and 2 * times >= len(steps)))
    sparse = [axis for axis, (step, _) in enumerate(usual) if step > 1]
    if len(sparse) != 1 or not usual[sparse[0]][1]:
        return None
    return sparse[0], usual[sparse[0]][0]


def _pairs(places: npt.NDArray[np.intp]) -> list[Pair]:
    return [(a, b) for a, b in zip(places[:-1].tolist(), places[1:].tolist(), strict=True) if b - a > 1]


def _faces_across(segmentation: Segmentation, structure: Structure, box: Box, axis: int, pair: Pair) -> bool:
    """Whether the parts on both sides of a gap lie over each other, so that a slice may have been forgotten."""
    planes = ([slice(n, n + 1) if a == axis else part for a, part in enumerate(box)] for n in pair)
    one, other = (segmentation.mask(structure, tuple(part)) for part in planes)
    smaller = min(int(np.count_nonzero(one)), int(np.count_nonzero(other)))
    return smaller >= _FEWEST and int(np.count_nonzero(one & other)) >= _FACING * smaller
