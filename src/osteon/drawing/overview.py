"""One picture of several cases: the scan in grey, the reference as outlines, the prediction as coloured glass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from osteon.core.errors import UsageError
from osteon.core.files import atomic_write
from osteon.core.geometry import reorient_to_ras
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.modality import Modality
from osteon.drawing.slices import Layer, Plane, best_slice, encode_picture, grey_range, paint_slice, planes_of
from osteon.formats.raster import has_unknown_sides

HEIGHT = 350
"""Pixels of a panel's height."""
WIDEST, NARROWEST = 1.3, 0.5
"""A panel's width, in its heights."""
MARGIN = 0.12
"""Part of the structures' extent that is shown on each side of them."""
LEAST_VIEW = 0.5
"""A view is at least this part of the structures' longest extent wide, so that one sees where in the body it is."""
GLASS = 0.45
"""Opacity of a prediction."""
GROUND, INK, FAINT = "#0d1014", "#e6eaf0", "#8a94a3"
_TITLE, _GAP, _EDGE, _BETWEEN = 30, 16, 8, 5
"""Pixels: of the line above a case, between cases, around all, and between panels."""
_LEGEND = 24


@dataclass(frozen=True, eq=False)
class PictureRow:
    """One case of the picture.

    Attributes:
        case: Its id.
        image: The scan; its first channel is shown.
        prediction: On the image's grid.
        reference: Likewise; None where there is none.
        modality: Decides the grey window.
        dice: Dice by structure name, None for one that is absent from both; shown beside the pictures.
    """

    case: str
    image: Volume
    prediction: Segmentation
    reference: Segmentation | None = None
    modality: Modality = "ct"
    dice: dict[str, float | None] | None = None


def write_overview(path: Path, rows: Sequence[PictureRow]) -> None:
    """Write `paint_overview` to a PNG. Raises UsageError as that, and FileError where it cannot be written."""
    picture = paint_overview(rows)
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(picture)


def paint_overview(rows: Sequence[PictureRow]) -> bytes:
    """A PNG of all cases, three slices of each (one where the grid is a picture), in true proportions.

    Slices go through where most of the structures show, seen as radiologists do: the patient's right on the left.

    Raises:
        UsageError: There is no case.
    """
    if not rows:
        raise UsageError("a picture of no cases cannot be drawn", hint="give at least one case")
    cut = [cut_views(row) for row in rows]
    columns = max(len(views) for views in cut)
    per_line = 1 if len(rows) < 3 else 2 if columns > 1 else 4
    widths = [_width(cut, column) for column in range(columns)]
    across, down = sum(widths) + _BETWEEN * (columns - 1) + _GAP, HEIGHT + _TITLE + _GAP
    lines = math.ceil(len(rows) / per_line)
    size = 2 * _EDGE + per_line * across - _GAP, 2 * _EDGE + lines * down
    structures = {s.name: s for row in rows for s in row.prediction.structures}
    legend = _legend(list(structures.values()), size[0], outlines=any(row.reference is not None for row in rows))
    whole = Image.new("RGB", (size[0], size[1] + legend.height), GROUND)
    for number, (row, views) in enumerate(zip(rows, cut, strict=True)):
        line, place = divmod(number, per_line)
        _paint_case(whole, _EDGE + place * across, _EDGE + line * down, row, views, widths)
    whole.paste(legend, (0, size[1]))
    return encode_picture(whole, "PNG")


def paint_case(row: PictureRow) -> Image.Image:
    """The slices of one case alone, on one line and without words; those of `paint_overview`."""
    views = cut_views(row)
    widths = [_width([views], column) for column in range(len(views))]
    whole = Image.new("RGB", (sum(widths) + _BETWEEN * (len(views) - 1), HEIGHT), GROUND)
    window, left = grey_range(row.image.array[0], row.modality), 0
    for view, width in zip(views, widths, strict=True):
        _paint_view(whole, (left, 0), view, width, window)
        left += width + _BETWEEN
    return whole


@dataclass(frozen=True, eq=False)
class View:
    """One slice of a case, and the part of it worth seeing.

    Attributes:
        plane: Which it is.
        grey: `[across, up]` intensities.
        layers: The structures that show in it.
        edges: Of a voxel across and up, in mm (px).
        box: Left, right, bottom, top in mm (px) from the slice's left and lower edge as it is seen.
        letters: The patient's sides on the left and upper edge; empty where a picture says none.
    """

    plane: Plane
    grey: npt.NDArray[Any]
    layers: list[Layer]
    edges: tuple[float, float]
    box: tuple[float, float, float, float]
    letters: tuple[str, str]


def cut_views(row: PictureRow) -> list[View]:
    """Coronal, sagittal and axial views, of a picture its own plane; a reference decides which slices."""
    turn = reorient_to_ras(row.image.geometry)
    grey = turn.apply(row.image.array[0])
    spacing = turn.geometry(row.image.geometry).spacing_mm
    masks, truth = (
        {s.name: np.asarray(turn.apply(shown.mask(s))) > 0 for s in shown.structures} if shown is not None else {}
        for shown in (row.prediction, row.reference)
    )
    guide = truth if any(mask.any() for mask in truth.values()) else masks
    extent = _extent(list(guide.values()), grey.shape)
    longest = max((last - first) * edge for (first, last), edge in zip(extent, spacing, strict=True))
    colours = {s.name: s.colour for s in row.prediction.structures}
    views = []
    for plane in planes_of(grey.shape):
        axis, index = plane.axis, best_slice(guide.values(), plane.axis, grey.shape[plane.axis])
        layers = [
            Layer(np.take(mask, index, axis), colours[name], fill=GLASS, outline=0) for name, mask in masks.items()
        ]
        layers += [
            Layer(np.take(mask, index, axis), colours[name], outline=2, halo=True)
            for name, mask in truth.items()
            if name in colours
        ]
        (first, last), (low, high) = extent[plane.right], extent[plane.up]
        width, height = (grey.shape[other] * spacing[other] for other in (plane.right, plane.up))
        across = width - last * spacing[plane.right], width - first * spacing[plane.right]
        box = (
            *_widen(across, width, longest),
            *_widen((low * spacing[plane.up], high * spacing[plane.up]), height, longest),
        )
        letters = ("", "") if has_unknown_sides(row.image.geometry) else (plane.left_letter, plane.top_letter)
        views.append(
            View(plane, np.take(grey, index, axis), layers, (spacing[plane.right], spacing[plane.up]), box, letters)
        )
    return views


def _widen(limits: tuple[float, float], size: float, longest: float) -> tuple[float, float]:
    """The structures with a margin, at least `LEAST_VIEW` of their `longest` extent, inside the picture."""
    half, middle = max(limits[1] - limits[0], longest * LEAST_VIEW) * (1 + 2 * MARGIN) / 2, sum(limits) / 2
    return max(0.0, middle - half), min(size, middle + half)


def _extent(masks: Sequence[npt.NDArray[np.bool_]], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last + 1 voxel of the structures along each axis; everything where they are empty."""
    union = np.any(masks, axis=0) if masks else np.zeros(shape, dtype=bool)
    hits = [np.flatnonzero(union.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return [(int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, size) for hit, size in zip(hits, shape, strict=True)]


def _width(cut: Sequence[Sequence[View]], column: int) -> int:
    """Pixels of a column of panels: wide enough for all cases, within reason."""
    boxes = [views[column].box for views in cut if column < len(views)]
    widest = max((right - left) / (top - bottom) for left, right, bottom, top in boxes)
    return round(HEIGHT * min(max(widest, NARROWEST), WIDEST))


def _paint_case(
    whole: Image.Image, left: int, top: int, row: PictureRow, views: Sequence[View], widths: Sequence[int]
) -> None:
    window = grey_range(row.image.array[0], row.modality)
    draw = ImageDraw.Draw(whole)
    draw.text((left, top + 4), row.case, fill=INK, font=_font(18, bold=True))
    for view, width in zip(views, widths, strict=False):
        _paint_view(whole, (left, top + _TITLE), view, width, window)
        left += width + _BETWEEN
    if row.dice is not None:
        _write_dice(draw, (left - _BETWEEN, top + _TITLE), row.dice, row.prediction.structures)


def _paint_view(whole: Image.Image, at: tuple[int, int], view: View, width: int, window: tuple[float, float]) -> None:
    left, right, bottom, top = view.box
    scale = min(HEIGHT / (top - bottom), width / (right - left))
    slice_ = paint_slice(view.grey, view.layers, view.edges, window=window, scale=scale, smooth=True)
    x = round((left + right) / 2 * scale - width / 2)
    y = round(slice_.height - (bottom + top) / 2 * scale - HEIGHT / 2)
    panel = slice_.crop((x, y, x + width, y + HEIGHT))  # what lies outside the slice is black
    draw = ImageDraw.Draw(panel)
    draw.text((width * 0.03, HEIGHT / 2), view.letters[0], fill=FAINT, font=_font(13), anchor="mm")
    draw.text((width / 2, HEIGHT * 0.03), view.letters[1], fill=FAINT, font=_font(13), anchor="mm")
    whole.paste(panel, at)


def _write_dice(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    dice: dict[str, float | None],
    structures: Sequence[Structure],
) -> None:
    """The mean above the case's last panel, and each structure's own value in its colour inside."""
    known = [value for value in dice.values() if value is not None]
    mean = f"Dice {sum(known) / len(known):.3f}" if known else "Dice –"
    draw.text((corner[0], corner[1] - 8), mean, fill=INK, font=_font(18), anchor="rs")
    shown = [(s.colour, value) for s in structures if (value := dice.get(s.name)) is not None]
    for line, (colour, value) in enumerate(reversed(shown)):
        at = corner[0] - 10, corner[1] + HEIGHT * (0.97 - 0.065 * line)
        draw.text(at, f"{value:.2f}", fill=colour, font=_font(14, bold=True), anchor="rs")


def _legend(structures: Sequence[Structure], width: int, *, outlines: bool) -> Image.Image:
    """Swatches with names, on as many lines as the width needs, each line centred."""
    font = _font(16)
    entries = [(s.colour, s.colour, s.name) for s in structures]
    entries.append(("#5a5e64", "#5a5e64", "filled: prediction"))
    entries += [(GROUND, "#ffffff", "outline: reference")] * outlines
    lines: list[list[tuple[str, str, str]]] = [[]]
    lengths = [0]
    for entry in entries:
        length = round(font.getlength(entry[2])) + 52
        if lines[-1] and lengths[-1] + length > width:
            lines.append([])
            lengths.append(0)
        lines[-1].append(entry)
        lengths[-1] += length
    picture = Image.new("RGB", (width, _LEGEND * len(lines) + _EDGE), GROUND)
    draw = ImageDraw.Draw(picture)
    for number, (line, length) in enumerate(zip(lines, lengths, strict=True)):
        x, y = (width - length) // 2 + 10, _LEGEND * number
        for fill, outline, name in line:
            draw.rectangle((x, y + 4, x + 22, y + 15), fill=fill, outline=outline)
            draw.text((x + 30, y + 10), name, fill=INK, font=font, anchor="lm")
            x += round(font.getlength(name)) + 52
    return picture


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has Latin, Greek and Cyrillic letters and comes with matplotlib."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / name, size)
