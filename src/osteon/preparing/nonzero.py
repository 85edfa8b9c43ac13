"""The part of a scan that is not 0, to which nnU-Net crops before it does anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.boxes import Box
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation

Array = npt.NDArray[Any]


def nonzero_box(array: npt.NDArray[np.generic]) -> Box:
    """The box of `[channel, i, j, k]` outside which all channels are 0; the whole where they are so everywhere."""
    first, stop = [], []
    for axis in range(1, 4):
        others = tuple(a for a in range(4) if a != axis)
        where = np.flatnonzero(np.any(array, axis=others))
        first.append(int(where[0]) if len(where) else 0)
        stop.append(int(where[-1]) + 1 if len(where) else array.shape[axis])
    return Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))


def nonzero_mask(array: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Where some channel of `[channel, i, j, k]` is not 0, holes filled: `[i, j, k]`."""
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(np.any(array, axis=0))
    return filled


def pad_segmentation(segmentation: Segmentation, geometry: Geometry, box: Box) -> Segmentation:
    """A box's segmentation on the whole grid, with nothing outside."""
    return Segmentation(pad_to_grid(segmentation.array, geometry, box), geometry, segmentation.structures)


def pad_to_grid(array: Array, geometry: Geometry, box: Box, fill: float = 0.0) -> Array:
    """A box's array `[…, i, j, k]` in one of the whole grid, with `fill` outside."""
    if box.shape == geometry.shape:
        return array
    whole = np.full((*array.shape[:-3], *geometry.shape), fill, dtype=array.dtype)
    whole[(..., *box.slices)] = array
    return whole
