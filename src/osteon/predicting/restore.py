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
from osteon.predicting.probabilities import Shares, half_of, probability
from osteon.predicting.sparse_resampling import above_half, best_classes, greatest, interpolate_box, taps_of
from osteon.predicting.zoom import Detail
from osteon.preparing.case import Passage, passage
from osteon.preparing.nnunet_grid import Splines

Keep = Callable[[npt.NDArray[np.float32]], None]
"""Takes each output on the scan's grid `[i, j, k]`, one after the other."""


def restored_outputs(
    shares: Shares, geometry: Geometry, plan: Plan, details: Sequence[Detail] = ()
) -> Iterator[npt.NDArray[np.float32]]:
    """Each output's probabilities on the scan's own grid and in its orientation `[i, j, k]`, one after the other."""
    way = passage(geometry, plan.grid)
    whole, shape, weights = Box((0, 0, 0), way.turned.shape), way.turned.shape, _weights(way, plan)

    def interpolated(output: int) -> torch.Tensor:
        return interpolate_box(shares.values[output : output + 1], whole, shape, weights)[0]

    total = None
    if plan.grid.nnunet is not None and not plan.overlapping:  # of logarithms, so that they sum to 1 no longer
        total = interpolated(0)
        for output in range(1, len(shares.values)):
            total = torch.logaddexp(total, interpolated(output))
    for output in range(len(shares.values)):
        values = interpolated(output)
        values = probability(values if total is None else values - total, plan)
        for detail in details:
            detail.blend(values[detail.box.slices], output)
        yield np.ascontiguousarray(way.turn.undo(values.numpy())).astype(np.float32, copy=False)
        del values  # before there is another one


def restore(shares: Shares, geometry: Geometry, plan: Plan, details: Sequence[Detail] = ()) -> Segmentation:
    """Interpolate linearly onto the scan's grid and decide there: as if all outputs were interpolated everywhere.

    Of the scan's size only the result is held. A model of nnU-Net's has its own interpolation, of logits.

    Args:
        shares: Probabilities on the plan's grid.
        geometry: The scan's own grid.
        plan: Structures and grid.
        details: Closer looks at parts of the scan, blended in one after the other.

    Returns:
        An index map, or multi-hot where structures overlap (share above a half), in the scan's orientation.
    """
    way = passage(geometry, plan.grid)
    shape, weights = way.turned.shape, _weights(way, plan)
    along = None if weights is None else [taps_of(one) for one in weights]
    structures = tuple(plan.structures)
    if shares.best is None:
        masks = np.zeros((len(structures), *shape), dtype=np.uint8)
        for number, share in enumerate(shares.values):
            for start, part in above_half(share, shape, along, half=half_of(plan)):
                masks[number, start : start + len(part)] = part.numpy()
            shares.release()
        for box in _parts(details):
            masks[(slice(None), *box.slices)] = (_blended(shares.values, box, shape, details) > 0.5).numpy()
        return Segmentation(_as_files(way.turn.undo(masks)), geometry, structures)
    kind = smallest_uint(max(s.value for s in structures))
    values = np.array([0, *(s.value for s in structures)], dtype=kind)
    labels: npt.NDArray[np.integer] = np.zeros(shape, dtype=kind)
    for start, part in best_classes(shares.values, shares.best, shape, along):
        labels[start : start + len(part)] = values[part.numpy()]
        shares.release()
    for box in _parts(details):
        labels[box.slices] = values[greatest(_blended(shares.values, box, shape, details)).numpy()]
    return Segmentation(_as_files(way.turn.undo(labels)[None])[0], geometry, structures)


def _as_files(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`[channel, i, j, k]` contiguous, a copy only where it must be."""
    if array.flags.c_contiguous:
        return array
    made = np.zeros(array.shape, array.dtype)
    for labels, own in zip(made, array, strict=True):
        if box := bounding_box(own):
            copy_into(own[box.slices], labels[box.slices])
    return made


def _weights(way: Passage, plan: Plan) -> list[torch.Tensor] | None:
    """`[new, old]` of the plan's own interpolation along each axis; None: the usual one."""
    if plan.grid.nnunet is None:
        return None
    return Splines.back(way.turned, plan.grid).weights(way.shape)


def _parts(details: Sequence[Detail]) -> list[Box]:
    """The boxes of the scan that closer looks decide: those of details that do not overlap are apart."""
    boxes: list[Box] = []
    for detail in details:
        box = detail.box
        while met := [other for other in boxes if other.intersects(box)]:
            for other in met:
                boxes.remove(other)
                box = box.union(other)
        boxes.append(box)
    return boxes


def _blended(shares: torch.Tensor, box: Box, shape: Sequence[int], details: Sequence[Detail]) -> torch.Tensor:
    """`[output, i, j, k]` in a box of the scan: interpolated, and the details in it blended in."""
    values = interpolate_box(shares, box, shape)
    for detail in details:
        if not box.intersects(detail.box):
            continue
        ends = zip(detail.box.first, detail.box.stop, box.first, strict=True)
        inside = tuple(slice(a - first, b - first) for a, b, first in ends)
        for output, whole in enumerate(values):
            detail.blend(whole[inside], output)
    return values
