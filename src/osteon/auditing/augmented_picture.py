"""The picture of a patch: its slices with the structures outlined, as `picture` shows a whole case."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.drawing.slices import PLANES, Layer, best_slice, encode_picture, paint_slice, side_by_side
from osteon.plan.schema import Plan

LONGEST, LONGEST_FLAT = 190, 320
"""Pixels of the patch's longest edge: in three slices, and in a picture."""
GAP = 6
QUALITY = 82


def patch_picture(
    image: npt.NDArray[np.float32], labels: npt.NDArray[np.generic], plan: Plan, grey_range: tuple[float, float]
) -> bytes:
    """A JPEG of a patch: coronal, sagittal and axial slices where most of the structures show; 2D: the patch.

    Args:
        image: `[i, j, k]` along the plan's axes, normalised.
        labels: Index `[i, j, k]` or multi-hot `[structure, i, j, k]`.
        plan: Axes, spacing and structures.
        grey_range: The intensities shown black and white.
    """
    grid = plan.grid
    order = [grid.world_axes.index(world) for world in range(3)]
    edges = [grid.spacing_mm[axis] for axis in order]
    image = image.transpose(order)
    masks = [
        np.asarray(labels[number] > 0 if plan.overlapping else labels == number + 1).transpose(order)
        for number in range(len(plan.structures))
    ]
    planes = PLANES if grid.dimensions == 3 else [plane for plane in PLANES if order[plane.axis] == 2]
    sides = [image.shape[axis] * edges[axis] for axis in range(3) if grid.dimensions == 3 or axis != planes[0].axis]
    panels = []
    for plane in planes:
        index = best_slice(masks, plane.axis, image.shape[plane.axis])
        panels.append(
            paint_slice(
                np.take(image, index, axis=plane.axis),
                [
                    Layer(np.take(mask, index, axis=plane.axis), structure.colour)
                    for mask, structure in zip(masks, plan.structures, strict=True)
                ],
                (edges[plane.right], edges[plane.up]),
                window=grey_range,
                scale=(LONGEST if grid.dimensions == 3 else LONGEST_FLAT) / max(sides),
                letters=(grid.axes[order[plane.right]], grid.axes[order[plane.up]]),
            )
        )
    return encode_picture(side_by_side(panels, GAP), quality=QUALITY, optimize=True, subsampling=0)
