"""Previews: a volume made smaller by whole factors, and slices of it drawn at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.volume import Volume
from osteon.dataset.manifest import Modality
from osteon.drawing.slices import PLANES, encoded, paint_slice, side_by_side

MOST_VOXELS = 4_500_000
"""Of a preview: drawn in software, each voxel takes its share of half a second when a structure is toggled."""
POSTER = 320
"""Pixels of a drawn slice's longer side."""
SAMPLE = 1 << 20
"""Voxels that a window is found by."""
Factors = tuple[int, int, int]


def factors_for(shape: tuple[int, ...], most: int = MOST_VOXELS) -> Factors:
    """By how much each axis is divided so that no more voxels are left; the longest axis first."""
    factors = [1, 1, 1]

    def left() -> list[int]:
        return [-(-size // factor) for size, factor in zip(shape, factors, strict=True)]

    while np.prod(left()) > most:
        factors[int(np.argmax(left()))] += 1
    i, j, k = factors
    return i, j, k


def shrink_geometry(geometry: Geometry, factors: Factors) -> Geometry:
    """The grid of the blocks, each at its middle."""
    affine = geometry.affine_ras.copy()
    affine[:3, :3] = geometry.affine_ras[:3, :3] * np.array(factors)
    affine[:3, 3] += geometry.affine_ras[:3, :3] @ ((np.array(factors) - 1) / 2)
    i, j, k = (-(-size // factor) for size, factor in zip(geometry.shape, factors, strict=True))
    return Geometry((i, j, k), affine, geometry.unit)


def shrink_image(image: npt.NDArray[np.generic], factors: Factors) -> npt.NDArray[np.generic]:
    """The mean of each block of `[i, j, k]`, in its own type; blocks that reach out are filled by their edge."""
    found = image
    for axis in np.argsort(image.strides)[::-1]:  # the slowest in memory first: the least is read in jumps
        if factors[axis] > 1:
            found = _mean(found, int(axis), factors[axis])
    return np.rint(found).astype(image.dtype) if image.dtype.kind in "iu" else found.astype(image.dtype)


def _mean(array: npt.NDArray[Any], axis: int, step: int) -> npt.NDArray[np.float32]:
    before = (slice(None),) * axis
    edge = array[(*before, slice(-1, None))]
    total = array[(*before, slice(0, None, step))].astype(np.float32)
    for start in range(1, step):
        part = array[(*before, slice(start, None, step))]
        total[(*before, slice(part.shape[axis]))] += part
        total[(*before, slice(part.shape[axis], None))] += edge
    total /= step
    return total


def shrink_labels(labels: npt.NDArray[np.integer], factors: Factors) -> npt.NDArray[np.integer]:
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
    found = votes[0].copy()
    contested = np.zeros(found.shape, dtype=bool)
    for vote in votes[1:]:
        contested |= vote != found
    found[contested] = _most([vote[contested] for vote in votes])
    return found


def _most(votes: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.integer]:
    """What most of them say of each place; of two that as many say the higher one."""
    best = np.zeros_like(votes[0])
    most = np.zeros(votes[0].shape, dtype=np.int8)
    for candidate in votes:
        count = np.array([vote == candidate for vote in votes]).sum(axis=0, dtype=np.int8)
        better = (count > most) | ((count == most) & (candidate > best))
        best[better], most[better] = candidate[better], count[better]
    return best


def window_of(image: npt.NDArray[np.generic], modality: Modality) -> tuple[float, float]:
    """A range of grey that shows the image: bone for CT, else the middle 99 % of what is not background."""
    if modality == "ct":
        return -500.0, 1300.0
    step = max(1, round((image.size / SAMPLE) ** (1 / 3)))
    sample = np.asarray(image[::step, ::step, ::step], dtype=np.float32).ravel()
    shown = sample[sample > sample.min()] if modality == "mr" and (sample > sample.min()).sum() > 100 else sample
    low, high = (float(v) for v in np.percentile(shown, [0.5, 99.5]))
    return (low, high) if high > low else (float(sample.min()), float(sample.max()) + 1)


def poster(volume: Volume, window: tuple[float, float]) -> bytes:
    """A PNG of the three middle slices, axial, coronal, sagittal, with the patient's right on the left."""
    turn = reorient_to_ras(volume.geometry)
    image = turn.apply(volume.array[0])
    spacing = turn.geometry(volume.geometry).spacing_mm
    panels = []
    for plane in (PLANES[2], PLANES[0], PLANES[1]):
        grey = np.take(image, image.shape[plane.axis] // 2, axis=plane.axis)
        edges = spacing[plane.right], spacing[plane.up]
        scale = POSTER / max(np.multiply(grey.shape, edges))
        panels.append(paint_slice(grey, (), edges, window=window, scale=scale))
    return encoded(side_by_side(panels), "PNG")
