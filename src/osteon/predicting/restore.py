"""From probabilities on the plan's grid to a segmentation on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.boxes import Box, bounding_box
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.formats.labelmap import smallest_uint
from osteon.formats.voxel_stream import copy_into
from osteon.plan.schema import Plan
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.sparse_resampling import (
    above_threshold,
    argmax_output,
    best_classes,
    interpolate_box,
    taps_from_weights,
)
from osteon.predicting.zoom import RefinedCrop
from osteon.preparing.nonzero import pad_segmentation
from osteon.preparing.strategies import grid_strategy

OutputSink = Callable[[npt.NDArray[np.float32]], None]
"""Takes each output on the scan's grid `[i, j, k]`, one after the other."""


def restore_outputs(
    probabilities: Probabilities, geometry: Geometry, plan: Plan, crops: Sequence[RefinedCrop] = ()
) -> Iterator[npt.NDArray[np.float32]]:
    """Each output's probabilities on the scan's own grid and in its orientation `[i, j, k]`, one after the other."""
    strategy = grid_strategy(plan)
    transform = strategy.transform(geometry)
    shape, weights = transform.reoriented.shape, strategy.restore_weights(transform)
    whole, count = Box((0, 0, 0), shape), len(probabilities.values)

    def interpolate(output: int) -> torch.Tensor:
        return interpolate_box(probabilities.values[output : output + 1], whole, shape, weights)[0]

    normaliser = strategy.log_normaliser(map(interpolate, range(count)))
    for output in range(count):
        values = interpolate(output)
        values = strategy.to_probability(values if normaliser is None else values - normaliser)
        for crop in crops:
            crop.blend(values[crop.box.slices], output)
        yield np.ascontiguousarray(transform.permutation.undo(values.numpy())).astype(np.float32, copy=False)
        del values  # before there is another one


def restore(
    probabilities: Probabilities, geometry: Geometry, plan: Plan, crops: Sequence[RefinedCrop] = ()
) -> Segmentation:
    """Interpolate onto the scan's grid and decide there: as if all outputs were interpolated everywhere.

    Of the scan's size only the result is held.

    Args:
        probabilities: On the plan's grid.
        geometry: The scan's own grid.
        plan: Structures and grid.
        crops: Refined parts of the scan, blended in one after the other.

    Returns:
        An index map, or multi-hot where structures overlap (probability above a half), in the scan's orientation.
    """
    strategy = grid_strategy(plan)
    transform = strategy.transform(geometry)
    shape, weights = transform.reoriented.shape, strategy.restore_weights(transform)
    along = None if weights is None else [taps_from_weights(one) for one in weights]
    structures = tuple(plan.structures)
    if probabilities.argmax is None:
        masks = np.zeros((len(structures), *shape), dtype=np.uint8)
        for mask, value in zip(masks, probabilities.values, strict=True):
            for start, part in above_threshold(value, shape, along, threshold=strategy.threshold):
                mask[start : start + len(part)] = part.numpy()
            probabilities.release_pages()
        for box in _merge_boxes(crops):
            masks[(slice(None), *box.slices)] = (_blend(probabilities.values, box, shape, crops) > 0.5).numpy()
        return Segmentation(_in_c_order(transform.permutation.undo(masks)), geometry, structures)
    dtype = smallest_uint(max(s.value for s in structures))
    values = np.array([0, *(s.value for s in structures)], dtype=dtype)
    labels: npt.NDArray[np.integer] = np.zeros(shape, dtype=dtype)
    for start, part in best_classes(probabilities.values, probabilities.argmax, shape, along):
        labels[start : start + len(part)] = values[part.numpy()]
        probabilities.release_pages()
    for box in _merge_boxes(crops):
        labels[box.slices] = values[argmax_output(_blend(probabilities.values, box, shape, crops)).numpy()]
    return Segmentation(_in_c_order(transform.permutation.undo(labels)[None])[0], geometry, structures)


def restore_scan(
    prepared: PreparedScan, probabilities: Probabilities, plan: Plan, crops: Sequence[RefinedCrop] = ()
) -> Segmentation:
    """The segmentation on the scan's own grid, before post-processing steps."""
    segmentation = restore(probabilities, prepared.geometry, plan, crops)
    return segmentation if prepared.part is None else pad_segmentation(segmentation, *prepared.part)


def _in_c_order(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`[channel, i, j, k]` contiguous, a copy only where it must be."""
    if array.flags.c_contiguous:
        return array
    made = np.zeros(array.shape, array.dtype)
    for labels, own in zip(made, array, strict=True):
        if box := bounding_box(own):
            copy_into(own[box.slices], labels[box.slices])
    return made


def _merge_boxes(crops: Sequence[RefinedCrop]) -> list[Box]:
    """The boxes of the scan that refined crops decide; those that overlap are merged."""
    boxes: list[Box] = []
    for crop in crops:
        box = crop.box
        while overlapping := [other for other in boxes if other.intersects(box)]:
            for other in overlapping:
                boxes.remove(other)
                box = box.union(other)
        boxes.append(box)
    return boxes


def _blend(values: torch.Tensor, box: Box, shape: Sequence[int], crops: Sequence[RefinedCrop]) -> torch.Tensor:
    """`[output, i, j, k]` in a box of the scan: interpolated, and the refined crops in it blended in."""
    part = interpolate_box(values, box, shape)
    for crop in crops:
        if not box.intersects(crop.box):
            continue
        ends = zip(crop.box.first, crop.box.stop, box.first, strict=True)
        inside = tuple(slice(a - first, b - first) for a, b, first in ends)
        for output, whole in enumerate(part):
            crop.blend(whole[inside], output)
    return part
