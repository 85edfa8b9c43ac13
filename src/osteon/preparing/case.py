"""One case on the plan's grid: its image, and its labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.core.errors import PlanError
from osteon.core.label_values import remap_values
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.formats.labelmap import smallest_uint
from osteon.plan.outputs import encode_pieces
from osteon.plan.schema import Plan
from osteon.preparing.resample import resample_index_map, resample_multi_hot
from osteon.preparing.strategies import grid_strategy

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def prepare_image(volume: Volume, plan: Plan) -> npt.NDArray[np.float32]:
    """`[channel, i, j, k]` float32 on the plan's grid, normalised as the plan says."""
    return grid_strategy(plan).prepare(volume)[0]


def prepare_labels(segmentation: Segmentation, plan: Plan) -> Labels:
    """As `encode_labels`, on the plan's grid."""
    shape = grid_strategy(plan).transform(segmentation.geometry).shape
    return resample_labels(encode_labels(segmentation, plan), shape)


def prepare_pieces(
    segmentation: Segmentation, plan: Plan
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer] | None]:
    """Labels and pieces on the plan's grid; both are resampled as one: a voxel has a piece of its own structure.

    Args:
        segmentation: With its pieces, on the scan's own grid.
        plan: Structures and grid.

    Returns:
        As `prepare_labels`; and `[i, j, k]` which piece of its structure each voxel belongs to, from 0: None where no
        structure has numbered pieces.
    """
    merged = segmentation.merged()
    if not any(structure.instances for structure in plan.structures):
        return prepare_labels(merged, plan), None
    numbers = encode_labels(merged, plan)
    codes = numbers.astype(np.uint32)
    named = {structure.name: structure for structure in segmentation.structures}
    permutation = grid_strategy(plan).transform(segmentation.geometry).permutation
    for structure in plan.structures:
        if structure.instances:
            own = permutation.apply(segmentation.pieces(named[structure.name]))
            found = np.unique(own[own > 0])
            pieces = remap_values(own, {int(number): n for n, number in enumerate(found)}, np.uint32)
            codes = encode_pieces(codes, pieces, len(plan.structures))
    base = len(plan.structures) + 1
    shape = grid_strategy(plan).transform(segmentation.geometry).shape
    resampled = resample_labels(codes.astype(smallest_uint(int(codes.max()))), shape)
    several = resampled // base
    return (resampled % base).astype(numbers.dtype), several.astype(smallest_uint(int(several.max())))


def encode_labels(segmentation: Segmentation, plan: Plan) -> Labels:
    """Labels on the scan's own grid with the plan's axes; what the plan does not name is background.

    Returns:
        Index `[i, j, k]`: 0 background, n the n-th structure of the plan; or multi-hot `[structure, i, j, k]`.
        Structures are matched by name.

    Raises:
        PlanError: The plan names a structure that the segmentation does not.
    """
    numbers = {structure.name: n for n, structure in enumerate(segmentation.structures)}
    unknown = [structure.name for structure in plan.structures if structure.name not in numbers]
    if unknown or plan.overlapping != segmentation.overlapping:
        raise PlanError(
            f"structures: the dataset has no {', '.join(unknown)}"
            if unknown
            else f"overlapping: {plan.overlapping} in the plan, {segmentation.overlapping} in the dataset",
            hint="make a new plan with `osteon plan DATASET --force`, or correct the key in plan.yaml",
        )
    positions = [numbers[structure.name] for structure in plan.structures]
    array = grid_strategy(plan).transform(segmentation.geometry).permutation.apply(segmentation.array)
    if plan.overlapping:
        return array[positions]  # type: ignore[return-value]
    values = [structure.value for structure in segmentation.structures]
    kind = np.uint8 if len(positions) < 256 else np.uint16
    return remap_values(array, {values[position]: n for n, position in enumerate(positions, start=1)}, kind)  # type: ignore[return-value]


def resample_labels(labels: Labels, shape: tuple[int, int, int]) -> Labels:
    """An index map `[i, j, k]` or multi-hot `[structure, i, j, k]` on a grid of this shape over the same extent."""
    resampled = resample_multi_hot(labels, shape) if labels.ndim == 4 else resample_index_map(labels, shape)
    return resampled  # type: ignore[return-value]
