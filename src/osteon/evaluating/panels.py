"""The slices of a case that show its structures best, as flat pictures in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import reorient_to_ras
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.modality import Modality
from osteon.formats.raster import lies_nowhere

BONE_WINDOW_HU = (400.0 - 900.0, 400.0 + 900.0)
"""Centre 400, width 1800: the usual bone window of CT."""
MARGIN = 0.12
"""Part of the structures' extent that is shown on each side of them."""
NARROWEST = 0.5
"""A view is at least this part of the structures' longest extent wide, so that one sees where in the body it is."""

_PLANES = ((1, 0, 2, "R", "S"), (0, 1, 2, "A", "S"), (2, 0, 1, "R", "A"))
"""Coronal, sagittal, axial: the axis cut, the axes to the right and up, and the world's letters on the left and top."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice.

    Attributes:
        grey: `[row, column]` intensities, rows upwards.
        prediction: `[row, column]` bool by structure name.
        reference: Likewise; empty where there is none.
        extent: Left, right, bottom, top in mm (px).
        view: The part worth seeing, as `extent`.
        left: The patient's side on the left edge; empty where a picture says none.
        top: The one on the upper edge, likewise.
    """

    grey: npt.NDArray[np.float32]
    prediction: dict[str, npt.NDArray[np.bool_]]
    reference: dict[str, npt.NDArray[np.bool_]]
    extent: tuple[float, float, float, float]
    view: tuple[float, float, float, float]
    left: str
    top: str


def cut_panels(image: Volume, prediction: Segmentation, reference: Segmentation | None) -> list[Panel]:
    """Coronal, sagittal and axial slices; only the plane of the picture where the grid is one voxel thin.

    Args:
        image: The scan.
        prediction: On the same grid.
        reference: Likewise, or None. Where it is, it decides which slices are shown.
    """
    turn = reorient_to_ras(image.geometry)
    grey = turn.apply(image.array[0])
    masks = {s.name: turn.apply(prediction.mask(s)) for s in prediction.structures}
    truth = {s.name: turn.apply(reference.mask(s)) for s in reference.structures} if reference is not None else {}
    guide = truth if any(mask.any() for mask in truth.values()) else masks
    spacing = turn.geometry(image.geometry).spacing_mm
    thin = [axis for axis, size in enumerate(grey.shape) if size == 1]
    window = _window(guide, grey.shape)
    known = not lies_nowhere(image.geometry)
    longest = max((last - first) * edge for (first, last), edge in zip(window, spacing, strict=True))
    panels = []
    for axis, right, up, left_letter, top_letter in _PLANES:
        if thin and axis not in thin[:1]:
            continue
        index = best_slice(guide, axis, grey.shape[axis])

        def flat(array: npt.NDArray[np.generic], axis: int = axis, index: int = index) -> npt.NDArray[np.generic]:
            # Rows go up, and columns run from the letter on the left, which is where the axis ends in RAS.
            return np.take(array, index, axis=axis).T[:, ::-1]

        width, height = grey.shape[right] * spacing[right], grey.shape[up] * spacing[up]
        across = (width - window[right][1] * spacing[right], width - window[right][0] * spacing[right])
        upwards = (window[up][0] * spacing[up], window[up][1] * spacing[up])
        panels.append(
            Panel(
                grey=flat(grey).astype(np.float32),
                prediction={name: flat(mask).astype(bool) for name, mask in masks.items()},
                reference={name: flat(mask).astype(bool) for name, mask in truth.items()},
                extent=(0.0, width, 0.0, height),
                view=_view(across, upwards, width, height, longest),
                left=left_letter if known else "",
                top=top_letter if known else "",
            )
        )
    return panels


def _view(
    across: tuple[float, float], upwards: tuple[float, float], width: float, height: float, longest: float
) -> tuple[float, float, float, float]:
    """The structures with a margin, at least `NARROWEST` of their `longest` extent both ways, inside the picture."""
    limits = []
    for (low, high), size in ((across, width), (upwards, height)):
        half = max(high - low, longest * NARROWEST) * (1 + 2 * MARGIN) / 2
        middle = (low + high) / 2
        limits += [max(0.0, middle - half), min(size, middle + half)]
    left, right, bottom, top = limits
    return left, right, bottom, top


def best_slice(masks: dict[str, npt.NDArray[np.generic]], axis: int, size: int) -> int:
    """The slice along `axis` where the structures together show most of their largest areas; else the middle one."""
    score = np.zeros(size)
    others = tuple(a for a in range(3) if a != axis)
    for mask in masks.values():
        area = np.count_nonzero(mask, axis=others).astype(np.float64)
        if area.max() > 0:
            score += (area / area.max()) ** 2  # squared, or shreds of two structures would beat one whole
    return int(np.argmax(score)) if score.any() else size // 2


def grey_range(channel: npt.NDArray[np.generic], modality: Modality) -> tuple[float, float]:
    """Intensities shown black and white: the bone window in CT, else the 1st and 99th percentile."""
    if modality == "ct":
        return BONE_WINDOW_HU
    low, high = np.percentile(np.asarray(channel, dtype=np.float32), (1, 99))
    return float(low), float(max(high, low + 1e-6))


def _window(masks: dict[str, npt.NDArray[np.generic]], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last + 1 voxel of the structures along each axis; everything where they are empty."""
    union = np.zeros(shape, dtype=bool)
    for mask in masks.values():
        union |= mask.astype(bool)
    ranges = []
    for axis in range(3):
        found = np.flatnonzero(union.any(axis=tuple(a for a in range(3) if a != axis)))
        ranges.append((int(found[0]), int(found[-1]) + 1) if len(found) else (0, shape[axis]))
    return ranges
