"""The mask of one structure in a picture's file: which of its pixels belong to the structure.

Programs write 0/1, 0/255, a class' colour on black, a palette whose background is white, an outside that is 255, soft
edges, a border of another value, or transparency. What has more than two plain values is reported.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from osteon.core.errors import LabelError
from osteon.formats.labelmap import value_counts
from osteon.formats.raster import read_pixels

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]
MaskMarks = Literal["bright", "dark"]

HALF = 0.505
"""Of the brightest pixel: above it lies the structure. The middle of 0 … 255, written as 127 or 128, does not."""
_SOFT = 0.05
"""Of the brightest pixel: nearer to it, or to 0, is no value of its own, but what JPEG makes of one."""
_FRAME, _MOST = 0.8, 0.5
"""What covers these parts of the picture's edges and of the picture is its background."""
_MAX_SAMPLED = 1 << 17
"""Pixels, to find the most frequent colour."""
_STRAY = 0.02
"""Of the pixels above half: so many nearly dark ones are no chance."""
_JPEG = (".jpg", ".jpeg")
_LISTED = 4
"""So many values are no soft edge, and are listed."""
SOFT_EDGES = "masks with soft edges: cut at half of their brightest value"


def read_mask(path: Path, marks: MaskMarks | None = None, *, whole: bool = True) -> tuple[Mask, list[str]]:
    """Read the mask of one structure as `[rows, columns]`, and what a person should know of how it was understood.

    The brightest of the colours counts, against half of the file's brightest pixel. Where a bright colour covers most
    of the picture and of its edges, it is the background, and how far a pixel's colour is from it counts instead. Where
    some pixels are transparent, transparency counts alone; many programs write 255 into all of it.

    Args:
        path: The file.
        marks: Whether bright or dark pixels are the structure; None finds it out.
        whole: Whether the mask has its picture's size. One that is cut out has no background around it.

    Raises:
        FileError: As `read_raster`.
        LabelError: It holds plain values of which the brightest may be no structure: 0, 1 and 255.
    """
    pixels = read_pixels(Path(path))
    colours: Values = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    notes: list[str] = []
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        alpha: Values = pixels[..., 3]
        if alpha.min() < HALF * alpha.max():
            seen = colours[alpha >= HALF * alpha.max()]
            if (seen != seen[0]).any():
                notes.append("some of it is transparent: that marks the outside, and no colour does")
            colours = alpha[..., None]
    levels = _max_channel(colours)
    background = _background(colours, levels, marks) if whole or marks == "dark" else None
    if background is not None:
        levels = _colour_distance(colours, background)
    counts = _counts(levels)
    if not counts:
        return np.zeros(levels.shape, bool), notes
    top = max(counts)
    _refuse_numbers(counts, Path(path))
    mask: Mask = levels > (HALF * top if len(counts) > 1 else 0)
    if background is not None and marks is None:
        notes.append(
            f"its background is bright, {1 - mask.mean():.0%} of the picture and most of its edges: the other "
            f"{np.count_nonzero(mask)} pixels are taken; --mask-marks says otherwise"
        )
    elif whole and mask.all():
        notes.append("marks the whole picture")
    between = {v: n for v, n in sorted(counts.items()) if _SOFT * top < v < (1 - _SOFT) * top}
    if len(between) > _LISTED:
        notes.append(SOFT_EDGES)
    elif between:
        listed = ", ".join(f"{v:g} ({n} pixels)" for v, n in between.items())
        notes.append(f"has values between 0 and {top:g}: {listed}; those above half are taken")
    return mask, notes


def _refuse_numbers(counts: dict[float, int], path: Path) -> None:
    """Refuse a mask of 0, 1 and 255: the structure is 1 where 255 is what nobody decided (Pascal VOC's outlines).

    JPEG makes many values of two, and some pixels that are nearly dark are stray.
    """
    top = max(counts)
    low = {value: number for value, number in counts.items() if value <= _SOFT * top}
    bright = sum(number for value, number in counts.items() if value > HALF * top)
    if len(counts) <= _LISTED and sum(low.values()) > _STRAY * bright and path.suffix.lower() not in _JPEG:
        listed = ", ".join(f"{value:g} ({number} pixels)" for value, number in sorted(counts.items()))
        raise LabelError(
            f"{path}: a mask holds 0 and one other value; this one holds {listed}: numbers, and no brightness",
            hint=f"write 0 and one value; {top:g} often marks what nobody decided",
        )


def background_of_labels(path: Path) -> tuple[int, float] | None:
    """The value of a label map, not 0, that seems to be its background, and what part of the picture it covers.

    Raises:
        FileError, LabelError: As `read_pixels`.
    """
    values = read_pixels(Path(path), labels=True)
    if values.ndim == 3 or values.dtype.kind == "f":
        return None
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    for value, number in value_counts(edge).items():
        share = float(np.mean(values == value))
        if number >= _FRAME * len(edge) and _MOST < share < 1:
            return value, share
    return None


def _counts(levels: Values) -> dict[float, int]:
    """How many pixels have each value above 0."""
    if levels.dtype.kind in "iu":
        return {float(value): number for value, number in value_counts(levels).items() if value > 0}
    values, counts = np.unique(levels[levels > 0], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _colour_distance(colours: Values, colour: Values) -> Values:
    """How far each pixel's colour is from one: the most that any channel differs."""
    return _max_channel(np.maximum(colours, colour) - np.minimum(colours, colour))


def _max_channel(colours: Values) -> Values:
    """Of all channels; numpy is slow along so short an axis."""
    return reduce(np.maximum, np.moveaxis(colours, 2, 0))


def _background(colours: Values, levels: Values, marks: MaskMarks | None) -> Values | None:
    """The colour of a background that is bright; None where the background is dark."""
    top = float(levels.max())
    if marks == "bright" or top <= 0:
        return None
    among = colours[levels > HALF * top]
    if marks is None:
        among = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    found, times = np.unique(among[:: 1 + len(among) // _MAX_SAMPLED], axis=0, return_counts=True)
    usual: Values = found[np.argmax(times)]
    if marks == "dark":
        return usual
    if usual.max() <= HALF * top:
        return None
    away = _colour_distance(colours, usual)
    near = HALF * float(away.max())
    if not near:
        return None
    framed = np.mean(np.concatenate([away[0], away[-1], away[:, 0], away[:, -1]]) < near)
    return usual if framed >= _FRAME and np.mean(away < near) > _MOST else None
