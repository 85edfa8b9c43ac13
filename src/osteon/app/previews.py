"""Previews: a volume made smaller by whole factors, and slices of it drawn at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.volume import Volume
from osteon.dataset.modality import Modality
from osteon.drawing.slices import PLANES, encode_picture, paint_slice, side_by_side

MAX_VOXELS = 4_500_000
"""Of a preview: drawn in software, each voxel takes its share of half a second when a structure is toggled."""
POSTER_PIXELS = 320
"""Pixels of a drawn slice's longer side."""
SAMPLE_VOXELS = 1 << 20
"""Voxels that a window is found by."""
ShrinkFactors = tuple[int, int, int]


def shrink_factors(shape: tuple[int, ...]) -> ShrinkFactors:
    """By how much each axis is divided so that a preview has no more than `MAX_VOXELS`; the longest axis first."""
    factors = [1, 1, 1]

    def reduced() -> list[int]:
        return [-(-size // factor) for size, factor in zip(shape, factors, strict=True)]

    while np.prod(reduced()) > MAX_VOXELS:
        factors[int(np.argmax(reduced()))] += 1
    i, j, k = factors
    return i, j, k


def shrink_geometry(geometry: Geometry, factors: ShrinkFactors) -> Geometry:
    """The grid of the blocks, each at its middle."""
    affine = geometry.affine_ras.copy()
    affine[:3, :3] = geometry.affine_ras[:3, :3] * np.array(factors)
    affine[:3, 3] += geometry.affine_ras[:3, :3] @ ((np.array(factors) - 1) / 2)
    i, j, k = (-(-size // factor) for size, factor in zip(geometry.shape, factors, strict=True))
    return Geometry((i, j, k), affine, geometry.unit)


def shrink_image(image: npt.NDArray[np.generic], factors: ShrinkFactors) -> npt.NDArray[np.generic]:
    """The mean of each block of `[i, j, k]`, in its own type; blocks that reach out are filled by their edge."""
    reduced = image
    for axis in np.argsort(image.strides)[::-1]:  # the slowest in memory first: the least is read in jumps
        if factors[axis] > 1:
            reduced = _block_mean(reduced, int(axis), factors[axis])
    return np.rint(reduced).astype(image.dtype) if image.dtype.kind in "iu" else reduced.astype(image.dtype)


def _block_mean(array: npt.NDArray[Any], axis: int, step: int) -> npt.NDArray[np.float32]:
    before = (slice(None),) * axis
    edge = array[(*before, slice(-1, None))]
    total = array[(*before, slice(0, None, step))].astype(np.float32)
    for start in range(1, step):
        part = array[(*before, slice(start, None, step))]
        total[(*before, slice(part.shape[axis]))] += part
        total[(*before, slice(part.shape[axis], None))] += edge
    total /= step
    return total


def shrink_labels(labels: npt.NDArray[np.integer], factors: ShrinkFactors) -> npt.NDArray[np.integer]:
    """The label nearest to the middle of each block of `[i, j, k]`, which is where `shrink_geometry` puts its voxel.

    Along an axis that is divided by an even number two voxels are equally near. Of all that are, the label that most of
    them have counts, and of two that as many have the higher one, so that no bone of a single voxel is lost.
    """
    if max(factors) == 1:
        return labels
    near = [
        [np.minimum(np.arange(0, n, f) + offset, n - 1) for offset in sorted({(f - 1) // 2, f // 2})]
        for n, f in zip(labels.shape, factors, strict=True)
    ]
    votes = [labels[np.ix_(*at)] for at in product(*near)]
    labels = votes[0].copy()
    contested = np.zeros(labels.shape, dtype=bool)
    for vote in votes[1:]:
        contested |= vote != labels
    labels[contested] = _majority([vote[contested] for vote in votes])
    return labels


def _majority(votes: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.integer]:
    """The most frequent label at each voxel; the highest of equally frequent ones."""
    best = np.zeros_like(votes[0])
    highest = np.zeros(votes[0].shape, dtype=np.int8)
    for candidate in votes:
        count = np.array([vote == candidate for vote in votes]).sum(axis=0, dtype=np.int8)
        better = (count > highest) | ((count == highest) & (candidate > best))
        best[better], highest[better] = candidate[better], count[better]
    return best


def intensity_window(image: npt.NDArray[np.generic], modality: Modality) -> tuple[float, float]:
    """The range of grey, in the image's own unit, that shows it: bone for CT, else the middle 99 % of the foreground.

    Args:
        image: `[i, j, k]`; of CT in HU.
        modality: An MR's background is what has its lowest value.
    """
    if modality == "ct":
        return -500.0, 1300.0
    step = max(1, round((image.size / SAMPLE_VOXELS) ** (1 / 3)))
    sample = np.asarray(image[::step, ::step, ::step], dtype=np.float32).ravel()
    shown = sample[sample > sample.min()] if modality == "mr" and (sample > sample.min()).sum() > 100 else sample
    low, high = (float(v) for v in np.percentile(shown, [0.5, 99.5]))
    return (low, high) if high > low else (float(sample.min()), float(sample.max()) + 1)


def render_poster(volume: Volume, window: tuple[float, float]) -> bytes:
    """A PNG of the three middle slices, axial, coronal, sagittal, with the patient's right on the left.

    Args:
        volume: Its first channel is drawn.
        window: Intensities shown as black and as white.
    """
    turn = reorient_to_ras(volume.geometry)
    image = turn.apply(volume.array[0])
    spacing = turn.geometry(volume.geometry).spacing_mm
    panels = []
    for plane in (PLANES[2], PLANES[0], PLANES[1]):
        grey = np.take(image, image.shape[plane.axis] // 2, axis=plane.axis)
        edges = spacing[plane.right], spacing[plane.up]
        scale = POSTER_PIXELS / max(np.multiply(grey.shape, edges))
        panels.append(paint_slice(grey, (), edges, window=window, scale=scale))
    return encode_picture(side_by_side(panels), "PNG")
