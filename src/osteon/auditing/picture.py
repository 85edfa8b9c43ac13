"""The picture of a case: three slices with the structures outlined, small enough for a page of hundreds."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from osteon.auditing.measure import Measured
from osteon.dataset.modality import Modality
from osteon.evaluating.panels import grey_range
from osteon.formats.raster import lies_nowhere

HEIGHT = 300
"""Pixels of a panel's longer side; of a picture's, `FLAT_HEIGHT`."""
FLAT_HEIGHT = 420
GAP = 6
QUALITY = 78
GROUND = (13, 16, 20)
FAINT = (170, 180, 195)

_PLANES = ((1, 0, 2, "R", "S"), (0, 1, 2, "A", "S"), (2, 0, 1, "R", "A"))
"""Coronal, sagittal, axial: the axis cut, the axes to the right and up, the world's letters on the left and top."""


def case_picture(measured: Measured, modality: Modality) -> bytes:
    """A JPEG of the slices where most of the structures show, outlined; the patient's right is on the left."""
    image = measured.image
    stride = tuple(slice(None, None, max(1, size // 256)) for size in image.shape)
    low, high = grey_range(image[stride], modality)
    thin = [axis for axis, size in enumerate(image.shape) if size == 1]
    panels = [
        _panel(measured, plane, low, high, FLAT_HEIGHT if thin else HEIGHT)
        for plane in _PLANES
        if not thin or plane[0] == thin[0]
    ]
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    whole = Image.new("RGB", (width, max(panel.height for panel in panels)), GROUND)
    left = 0
    for panel in panels:
        whole.paste(panel, (left, (whole.height - panel.height) // 2))
        left += panel.width + GAP
    kept = io.BytesIO()
    whole.save(kept, "JPEG", quality=QUALITY, optimize=True)
    return kept.getvalue()


def _panel(
    measured: Measured, plane: tuple[int, int, int, str, str], low: float, high: float, most: int
) -> Image.Image:
    axis, right, up, left_letter, top_letter = plane
    index = measured.best[axis]
    spacing = measured.geometry.spacing_mm
    grey = np.asarray(upright(np.take(measured.image, index, axis=axis)), dtype=np.float32)
    across, upwards = grey.shape[1] * spacing[right], grey.shape[0] * spacing[up]
    scale = most / max(across, upwards)
    size = max(1, round(across * scale)), max(1, round(upwards * scale))
    shown = (np.clip((grey - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    canvas = np.repeat(np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.BICUBIC))[..., None], 3, axis=2)
    segmentation = measured.segmentation
    labels = np.take(segmentation.array, index, axis=axis - 3)
    for number, structure in enumerate(segmentation.structures):
        if structure.name not in measured.facts.structures:
            continue
        mask = labels[number] > 0 if segmentation.overlapping else labels == structure.value
        if mask.any():
            large = np.asarray(Image.fromarray(upright(mask).astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
            canvas[outline(large > 0)] = [int(structure.colour[n : n + 2], 16) for n in (1, 3, 5)]
    picture = Image.fromarray(canvas)
    if not lies_nowhere(measured.geometry):
        draw = ImageDraw.Draw(picture)
        draw.text((3, size[1] // 2 - 6), left_letter, fill=FAINT)
        draw.text((size[0] // 2 - 3, 1), top_letter, fill=FAINT)
    return picture


def upright(flat: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """`[row, column]` with rows down and columns from the patient's right (front) of a slice `[across, up]`."""
    return flat.T[::-1, ::-1]


def outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The inner rim, one pixel wide."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)
