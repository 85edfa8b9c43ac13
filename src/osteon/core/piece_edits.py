"""Edits of numbered pieces in an index map `[i, j, k]`: merged, split, renumbered, given to another structure.

Each function returns a new map and leaves the one that it was given as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from osteon.core.errors import UsageError
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Structure

Labels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Parts = npt.NDArray[np.int32]

MIN_PART = 0.01
"""What is connected and has less than this part of a piece is no part of its own: it goes with the nearest one."""
MIN_LOBE = 0.25
"""By this part of the neck's half width, at least, a lobe is deeper than the neck; and by one voxel. Less is a bump."""
LEVELS = 40
"""Depths, at most, at which it is looked whether a piece falls apart."""


def merge_pieces(labels: Labels, values: Sequence[int]) -> Labels:
    """All pieces of these values as one, under the lowest. Raises UsageError where these are fewer than two."""
    if len(set(values)) < 2:
        raise UsageError("one piece alone cannot be merged", hint="choose two pieces or more")
    result = labels.copy()
    result[np.isin(labels, list(values))] = min(values)
    return result


def split_piece(labels: Labels, value: int, free: Sequence[int], spacing_mm: Sequence[float]) -> Labels:
    """A piece as its connected parts (by faces, edges or corners); where it is connected, as two lobes and the neck.

    The lobes are the cores into which it falls where it is eroded, at the lowest depth at which there are two that are
    markedly deeper than the neck between them; each voxel goes to the nearest core.

    Args:
        labels: The map.
        value: Of the piece; the largest part keeps it.
        free: Values for the others, in this order.
        spacing_mm: Of the voxels.

    Raises:
        UsageError: There is no such piece, it has no neck, or more parts than free values.
    """
    box = bounding_boxes(labels, [value])[0]
    if box is None:
        raise UsageError(f"there is no piece {value}", hint="reload the page")
    inside = np.asarray(labels[box.slices] == value)
    parts = _connected_parts(inside, spacing_mm)
    if parts.max() < 2:
        parts = _lobes(inside, spacing_mm)
    sizes = np.bincount(parts.ravel())
    order = 1 + np.argsort(-sizes[1:], kind="stable")
    if len(order) - 1 > len(free):
        raise UsageError(
            f"the piece has {len(order)} parts, and its structure has room for {len(free)} more pieces",
            hint="merge others first, or raise last_value of the structure",
        )
    result = _holding(labels, max(free[: len(order) - 1]))
    for part, number in zip(order[1:].tolist(), free, strict=False):
        result[box.slices][parts == part] = number
    return result


def swap_pieces(labels: Labels, first: int, second: int) -> Labels:
    """Two pieces with each other's value; a value that no piece has is taken by the other."""
    result = _holding(labels, max(first, second))
    result[labels == first], result[labels == second] = second, first
    return result


def free_values(labels: Labels, structure: Structure, count: int) -> list[int]:
    """The first values of a structure, `count` at most, that no voxel has."""
    own = structure.values
    taken = set(np.unique(labels[(labels >= own[0]) & (labels <= own[-1])]).tolist())
    return list(islice((value for value in own if value not in taken), count))


def _holding(labels: Labels, value: int) -> Labels:
    """A copy whose type holds a value."""
    if value <= np.iinfo(labels.dtype).max:
        return labels.copy()
    return labels.astype(np.min_scalar_type(value))


def _connected_parts(inside: Mask, spacing_mm: Sequence[float]) -> Parts:
    """`[i, j, k]`: the connected parts from 1, small ones with the nearest large one."""
    from scipy import ndimage

    parts, _ = ndimage.label(inside, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    large = 1 + np.flatnonzero(sizes[1:] >= MIN_PART * inside.sum())
    return _grow(parts, large.tolist(), inside, spacing_mm)


def _lobes(inside: Mask, spacing_mm: Sequence[float]) -> Parts:
    """`[i, j, k]`: 1 and 2 where two lobes are; see `split_piece`. Raises UsageError."""
    from scipy import ndimage

    thick = [size > 1 or inside.size == 1 for size in inside.shape]  # what is flat is looked at in its plane
    padded = np.pad(inside, [(int(axis), int(axis)) for axis in thick])
    depth = ndimage.distance_transform_edt(padded, spacing_mm)[tuple(slice(1, -1) if a else slice(None) for a in thick)]
    voxel = min(edge for edge, axis in zip(spacing_mm, thick, strict=True) if axis)
    step = max(voxel / 2, depth.max() / LEVELS)
    for level in np.arange(step, depth.max(), step):
        cores, count = ndimage.label(depth > level)
        if count < 2:
            continue
        peaks = np.asarray(ndimage.maximum(depth, cores, range(1, count + 1)))
        deep = 1 + np.flatnonzero(peaks - level >= max(voxel, MIN_LOBE * level))
        if len(deep) >= 2:
            sizes = np.bincount(cores.ravel())[deep]
            return _grow(cores, deep[np.argsort(-sizes, kind="stable")[:2]].tolist(), inside, spacing_mm)
    raise UsageError(
        "this piece is connected and has no neck at which it could be split",
        hint="split it by hand in another program, such as 3D Slicer",
    )


def _grow(parts: Parts, kept: Sequence[int], inside: Mask, spacing_mm: Sequence[float]) -> Parts:
    """Each voxel of the mask gets the nearest kept part, numbered from 1 in their order."""
    from scipy import ndimage

    table = np.zeros(int(parts.max()) + 1, np.int32)
    table[list(kept)] = np.arange(1, len(kept) + 1)
    cores = table[parts]
    nearest = ndimage.distance_transform_edt(cores == 0, spacing_mm, return_distances=False, return_indices=True)
    return np.where(inside, cores[tuple(nearest)], 0)
