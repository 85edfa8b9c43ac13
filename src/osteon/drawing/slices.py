"""Slices of scans as pictures: grey, with structures filled and outlined, seen as radiologists do.

One painter for the audit, for patches as training sees them, for a training's samples, for overviews of cases and for
the app's posters. Arrays have their axes along R, A, S (`core.geometry.reorient_to_ras`); the patient's right is on the
left, the front on the left of a sagittal slice.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from osteon.dataset.modality import Modality

BONE_WINDOW_HU = (400.0 - 900.0, 400.0 + 900.0)
"""Centre 400, width 1800: the usual bone window of CT."""
GROUND = (13, 16, 20)
FAINT = (170, 180, 195)
_HALO = 0.4
"""What a dark line around an outline leaves of the grey below it."""


class Plane(NamedTuple):
    """A plane of the body: the axis cut, the axes to the right and up, the world's letters on the left and top."""

    axis: int
    right: int
    up: int
    left_letter: str
    top_letter: str


PLANES = (Plane(1, 0, 2, "R", "S"), Plane(0, 1, 2, "A", "S"), Plane(2, 0, 1, "R", "A"))
"""Coronal, sagittal, axial."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One structure in a slice.

    Attributes:
        mask: `[across, up]` bool.
        colour: `#rrggbb`.
        fill: Opacity inside the mask, 0 … 1.
        outline: Width in pixels of the line inside its border; 0 for none.
        halo: A dark line of one pixel around it keeps the outline visible on its own fill and on white cortex.
    """

    mask: npt.NDArray[np.bool_]
    colour: str
    fill: float = 0.0
    outline: int = 1
    halo: bool = False


def planes_of(shape: Sequence[int]) -> tuple[Plane, ...]:
    """The planes worth showing of `[i, j, k]`: all three, or that of the picture where an axis is one voxel thin."""
    thin = [axis for axis, size in enumerate(shape) if size == 1]
    return tuple(plane for plane in PLANES if not thin or plane.axis == thin[0])


def paint_slice(
    grey: npt.NDArray[Any],
    layers: Iterable[Layer],
    edges: tuple[float, float],
    *,
    window: tuple[float, float],
    scale: float,
    letters: tuple[str, str] = ("", ""),
    smooth: bool = False,
) -> Image.Image:
    """The RGB picture of one slice in true proportions.

    Args:
        grey: `[across, up]` intensities.
        layers: What is drawn over it, in this order.
        edges: Of a voxel across and up, in mm (px).
        window: The intensities shown black and white.
        scale: Pixels for each mm (px).
        letters: The patient's sides on the left and upper edge; empty for none.
        smooth: Masks are enlarged with smooth borders instead of their voxels' edges.
    """
    size = tuple(max(1, round(count * edge * scale)) for count, edge in zip(grey.shape, edges, strict=True))
    low, high = window
    shown = (np.clip((grey.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    canvas = _enlarge(shown, size, Image.Resampling.BICUBIC)[..., None].repeat(3, axis=2)
    for layer in layers:
        if not layer.mask.any():
            continue
        by = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        inside = _enlarge(layer.mask.astype(np.uint8) * 255, size, by) > 127
        colour = np.array(rgb(layer.colour), dtype=np.float32)
        if layer.fill:
            canvas[inside] = (1 - layer.fill) * canvas[inside] + layer.fill * colour
        if layer.halo:
            canvas[_shrunk(~inside) ^ ~inside] = canvas[_shrunk(~inside) ^ ~inside] * _HALO
        if layer.outline:
            canvas[inside & ~_shrunk(inside, layer.outline)] = colour
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    draw.text((3, size[1] // 2 - 6), letters[0], fill=FAINT)
    draw.text((size[0] // 2 - 3, 1), letters[1], fill=FAINT)
    return picture


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def side_by_side(panels: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Panels on one line, centred in height, `gap` pixels apart."""
    width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
    whole = Image.new("RGB", (width, max(panel.height for panel in panels)), GROUND)
    left = 0
    for panel in panels:
        whole.paste(panel, (left, (whole.height - panel.height) // 2))
        left += panel.width + gap
    return whole


def encode_picture(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The picture's file; options are Pillow's for this form."""
    kept = io.BytesIO()
    picture.save(kept, form, **options)
    return kept.getvalue()


def best_slice(masks: Collection[npt.NDArray[Any]], axis: int, size: int) -> int:
    """The slice along `axis` where the structures together show most of their largest areas; else the middle one.

    Args:
        masks: `[i, j, k]` of each structure.
        axis: Which is cut.
        size: Its slices.
    """
    score = np.zeros(size)
    others = tuple(other for other in range(3) if other != axis)
    for mask in masks:
        area = np.count_nonzero(mask, axis=others).astype(np.float64)
        if area.max() > 0:
            score += (area / area.max()) ** 2  # squared, or shreds of two structures would beat one whole
    return int(np.argmax(score)) if score.any() else size // 2


def grey_range(channel: npt.NDArray[Any], modality: Modality) -> tuple[float, float]:
    """Intensities of `[i, j, k]` shown black and white: the bone window in CT, else the 1st and 99th percentile."""
    if modality == "ct":
        return BONE_WINDOW_HU
    low, high = np.percentile(np.asarray(channel, dtype=np.float32), (1, 99))
    return float(low), float(max(high, low + 1e-6))


def _enlarge(flat: npt.NDArray[np.uint8], size: tuple[int, ...], by: Image.Resampling) -> npt.NDArray[np.uint8]:
    """`[row, column]` of a slice `[across, up]`: rows down, columns from the patient's right (front)."""
    return np.array(Image.fromarray(np.ascontiguousarray(flat.T[::-1, ::-1])).resize((size[0], size[1]), by))


def _shrunk(mask: npt.NDArray[np.bool_], times: int = 1) -> npt.NDArray[np.bool_]:
    """Without the pixels that touch the outside of the mask, or the picture's, by an edge."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask
