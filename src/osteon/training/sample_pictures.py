"""Pictures of validation scans during a training: RUN/samples/1.jpg …, made anew at every validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.files import atomic_write
from osteon.core.geometry import AxisPermutation
from osteon.drawing.slices import Layer, best_slice, encode_picture, paint_slice, planes_of, side_by_side
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase

FOLDER = "samples"
MAX_PICTURES = 3
"""Validation scans that have a picture."""
HEIGHT = 280
"""Pixels of a slice's longer side."""
FILL_OPACITY = 0.5
"""Opacity of a prediction."""
QUALITY = 80


def write_sample_picture(
    run: Path, number: int, case: CachedCase, prediction: npt.NDArray[np.integer], plan: Plan
) -> None:
    """Write the picture of a validation scan: the prediction filled, the reference outlined.

    Args:
        run: The run's folder.
        number: Of the scan, from 0; only the first `MAX_PICTURES` have a picture.
        case: The scan, on the plan's grid.
        prediction: Index `[i, j, k]` (n for the n-th structure, from 1) or multi-hot `[structure, i, j, k]`.
        plan: Structures, axes.
    """
    if number >= MAX_PICTURES:
        return
    order = tuple(plan.grid.world_axes.index(world) for world in range(3))
    permutation = AxisPermutation(order, plan.grid.flipped)
    image = np.asarray(permutation.apply(case.image[0]), dtype=np.float32)
    edges = [plan.grid.spacing_mm[axis] for axis in order]
    count = len(plan.structures)
    masks, references = (
        _structure_masks(permutation.apply(labels), count) for labels in (prediction, np.asarray(case.labels))
    )
    colours = [structure.colour for structure in plan.structures]
    low, high = np.percentile(image[:: max(1, image.shape[0] // 64)], [1, 99])
    panels = []
    for plane in planes_of(image.shape):
        index = best_slice(references, plane.axis, image.shape[plane.axis])
        grey, *flat = (np.take(array, index, axis=plane.axis) for array in (image, *masks, *references))
        layers = [
            Layer(mask, colour, fill=FILL_OPACITY, outline=0)
            for mask, colour in zip(flat[:count], colours, strict=True)
        ]
        layers += [Layer(mask, colour) for mask, colour in zip(flat[count:], colours, strict=True)]
        across, up = edges[plane.right], edges[plane.up]
        scale = HEIGHT / max(grey.shape[0] * across, grey.shape[1] * up)
        panels.append(paint_slice(grey, layers, (across, up), window=(float(low), float(high)), scale=scale))
    with atomic_write(run / FOLDER / f"{number + 1}.jpg") as temporary:
        temporary.write_bytes(encode_picture(side_by_side(panels), quality=QUALITY))


def _structure_masks(labels: npt.NDArray[np.generic], count: int) -> list[npt.NDArray[np.bool_]]:
    layers = labels if labels.ndim == 4 else [labels == number for number in range(1, count + 1)]
    return [np.asarray(layer) > 0 for layer in layers]
