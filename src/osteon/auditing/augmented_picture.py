"""The picture of a patch: its slices with the structures outlined, as `picture` shows a whole case."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from osteon.auditing.picture import FAINT, GAP, GROUND, outline, upright
from osteon.core.labels import Structure
from osteon.evaluating.panels import best_slice
from osteon.plan.schema import Plan

LONGEST = 190
"""Pixels of the patch's longest edge in three slices; of a picture's, `LONGEST_FLAT`."""
LONGEST_FLAT = 320
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
    masks = {
        structure.name: np.asarray(labels[number] > 0 if plan.overlapping else labels == number + 1)
        for number, structure in enumerate(plan.structures)
    }
    cut = [2] if plan.grid.dimensions == 2 else [plan.grid.world_axes.index(world) for world in (1, 0, 2)]
    extent = [count * edge for count, edge in zip(image.shape, plan.grid.spacing_mm, strict=True)]
    scale = LONGEST / max(extent) if len(cut) > 1 else LONGEST_FLAT / max(extent[:2])
    panels = [
        _panel(image, masks, plan.structures, plan, axis, best_slice(masks, axis, image.shape[axis]), scale, grey_range)
        for axis in cut
    ]
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    whole = Image.new("RGB", (width, max(panel.height for panel in panels)), GROUND)
    left = 0
    for panel in panels:
        whole.paste(panel, (left, (whole.height - panel.height) // 2))
        left += panel.width + GAP
    kept = io.BytesIO()
    whole.save(kept, "JPEG", quality=QUALITY, optimize=True, subsampling=0)
    return kept.getvalue()


def _panel(
    image: npt.NDArray[np.float32],
    masks: dict[str, npt.NDArray[np.bool_]],
    structures: Sequence[Structure],
    plan: Plan,
    axis: int,
    index: int,
    scale: float,
    grey_range: tuple[float, float],
) -> Image.Image:
    others = (other for other in range(3) if other != axis)
    sideways, upwards = sorted(others, key=lambda other: plan.grid.world_axes[other])

    def flat(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        there = np.take(array, index, axis=axis)
        return upright(there if sideways < upwards else there.T)

    across, up = (max(1, round(image.shape[a] * plan.grid.spacing_mm[a] * scale)) for a in (sideways, upwards))
    low, high = grey_range
    grey = (np.clip((flat(image).astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    large = np.asarray(Image.fromarray(grey).resize((across, up), Image.Resampling.BICUBIC))
    canvas = np.repeat(large[..., None], 3, axis=2)
    for structure in structures:
        mask = flat(masks[structure.name])
        if mask.any():
            there = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((across, up), Image.Resampling.NEAREST))
            canvas[outline(there > 0)] = [int(structure.colour[n : n + 2], 16) for n in (1, 3, 5)]
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    draw.text((3, up // 2 - 6), plan.grid.axes[sideways], fill=FAINT)
    draw.text((across // 2 - 3, 1), plan.grid.axes[upwards], fill=FAINT)
    return picture
