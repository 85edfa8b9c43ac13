"""Pictures of a case and of a patch: slices with the structures outlined, small enough for a page of hundreds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.auditing.measure import MeasuredCase
from osteon.dataset.modality import Modality
from osteon.drawing.slices import (
    PLANES,
    Layer,
    best_slice,
    encode_picture,
    grey_range,
    paint_slice,
    planes_of,
    side_by_side,
)
from osteon.formats.raster import has_unknown_sides
from osteon.plan.schema import Plan

LONGEST, LONGEST_FLAT = 190, 320
"""Pixels of a patch's longest edge: in three slices, and in a picture."""
HEIGHT, FLAT_HEIGHT = 300, 420
"""Pixels of a panel's longer side: of three slices, and of a picture."""
GAP = 6
QUALITY, PATCH_QUALITY = 78, 82


def case_picture(measured: MeasuredCase, modality: Modality) -> bytes:
    """A JPEG of the slices where most of the structures show, outlined; the patient's right is on the left."""
    image, segmentation = measured.image, measured.segmentation
    window = grey_range(image[tuple(slice(None, None, max(1, size // 256)) for size in image.shape)], modality)
    planes, known = planes_of(image.shape), not has_unknown_sides(measured.geometry)
    panels = []
    for plane in planes:
        grey = np.take(image, measured.best[plane.axis], axis=plane.axis)
        labels = np.take(segmentation.array, measured.best[plane.axis], axis=plane.axis - 3)
        layers = [
            Layer(labels[number] > 0 if segmentation.overlapping else labels == structure.value, structure.colour)
            for number, structure in enumerate(segmentation.structures)
            if structure.name in measured.facts.structures
        ]
        edges = measured.geometry.spacing_mm[plane.right], measured.geometry.spacing_mm[plane.up]
        scale = (HEIGHT if len(planes) > 1 else FLAT_HEIGHT) / max(np.multiply(grey.shape, edges))
        letters = (plane.left_letter, plane.top_letter) if known else ("", "")
        panels.append(paint_slice(grey, layers, edges, window=window, scale=scale, letters=letters))
    return encode_picture(side_by_side(panels, GAP), quality=QUALITY, optimize=True)


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
    return encode_picture(side_by_side(panels, GAP), quality=PATCH_QUALITY, optimize=True, subsampling=0)
