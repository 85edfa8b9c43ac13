"""Pictures of what a training finds in its validation scans: RUN/samples/1.jpg … , made anew at every validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from osteon.core.files import whole_file
from osteon.core.geometry import Turn
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = "samples"
MAX_PICTURES = 3
"""Validation scans that have a picture."""
HEIGHT = 280
"""Pixels of a slice's longer side."""
FILL_OPACITY = 0.5
"""How much of a structure's colour fills what was found."""
QUALITY = 80
_PLANES = ((1, 0, 2), (0, 1, 2), (2, 0, 1))
"""Coronal, sagittal, axial: the world axis cut, the ones to the right and up."""


def save_sample_picture(
    run: Path, number: int, case: CachedCase, prediction: npt.NDArray[np.integer], plan: Plan
) -> None:
    """Write the picture of a validation scan: what was found filled, the reference outlined.

    Args:
        run: The run's folder.
        number: Of the scan, from 0; only the first `MAX_PICTURES` have a picture.
        case: The scan, on the plan's grid.
        prediction: Index `[i, j, k]` (n for the n-th structure, from 1) or multi-hot `[structure, i, j, k]`.
        plan: Structures, axes.
    """
    if number >= MAX_PICTURES:
        return
    grid = plan.grid
    order = tuple(grid.world_axes.index(world) for world in range(3))
    turn = Turn(order, grid.flipped)
    image = np.asarray(turn.apply(case.image[0]), dtype=np.float32)
    edges = [grid.spacing_mm[axis] for axis in order]
    masks = [
        _structure_masks(turn.apply(labels), len(plan.structures)) for labels in (prediction, np.asarray(case.labels))
    ]
    colours = [tuple(int(s.colour[n : n + 2], 16) for n in (1, 3, 5)) for s in plan.structures]
    low, high = np.percentile(image[:: max(1, image.shape[0] // 64)], [1, 99])
    grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1) * 255
    panels = []
    for plane in _PLANES:
        if image.shape[plane[0]] > 1 and min(image.shape) == 1:
            continue
        panels.append(_draw_panel(grey, masks, colours, edges, plane))
    whole = Image.new("RGB", (sum(panel.width for panel in panels), max(panel.height for panel in panels)))
    left = 0
    for panel in panels:
        whole.paste(panel, (left, 0))
        left += panel.width
    with whole_file(run / FOLDER / f"{number + 1}.jpg") as temporary:
        whole.save(temporary, "JPEG", quality=QUALITY)


def _structure_masks(labels: npt.NDArray[np.generic], count: int) -> list[npt.NDArray[np.bool_]]:
    layers = labels if labels.ndim == 4 else [labels == number for number in range(1, count + 1)]
    return [np.asarray(layer) > 0 for layer in layers]


def _draw_panel(
    grey: npt.NDArray[np.floating],
    masks: Sequence[Sequence[npt.NDArray[np.bool_]]],
    colours: Sequence[tuple[int, ...]],
    edges: Sequence[float],
    plane: tuple[int, int, int],
) -> Image.Image:
    """One slice, where most of the reference lies; the patient's right is on the left."""
    axis, across, up = plane
    others = tuple(other for other in range(3) if other != axis)
    shown = np.sum([mask.sum(axis=others) for mask in masks[1]], axis=0)
    index = int(np.argmax(shown)) if shown.any() else grey.shape[axis] // 2
    flat = _upright(np.take(grey, index, axis=axis))
    scale = HEIGHT / max(flat.shape[1] * edges[across], flat.shape[0] * edges[up])
    size = max(1, round(flat.shape[1] * edges[across] * scale)), max(1, round(flat.shape[0] * edges[up] * scale))
    canvas = np.asarray(Image.fromarray(flat.astype(np.uint8)).resize(size)).astype(np.float32)[..., None].repeat(3, 2)
    for mask, colour in zip(masks[0], colours, strict=True):
        inside = _enlarge(np.take(mask, index, axis=axis), size)
        canvas[inside] = (1 - FILL_OPACITY) * canvas[inside] + FILL_OPACITY * np.array(colour, dtype=np.float32)
    for reference, colour in zip(masks[1], colours, strict=True):
        inside = _enlarge(np.take(reference, index, axis=axis), size)
        padded = np.pad(inside, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        canvas[inside & ~inner] = colour
    return Image.fromarray(canvas.astype(np.uint8))


def _enlarge(flat: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.asarray(Image.fromarray(_upright(flat).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0


def _upright(flat: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """`[row, column]` of a slice `[across, up]`: rows down, columns from the patient's right (front)."""
    return flat.T[::-1, ::-1]
