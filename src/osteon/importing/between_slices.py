"""Slices between those that were drawn: interpolated by shape, or left empty, and reported in either case.

By shape: the signed distance to the outline, in mm in the slice's plane, is interpolated between the two slices that
were drawn (Raya and Udupa, IEEE Transactions on Medical Imaging 9, 1990). Nothing is made up beyond the first slice and
the last.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.labels import Segmentation
from osteon.core.text import shorten_list
from osteon.dataset.sparse_labels import Mask, Pair, SparseStructure, describe_step, find_sparse_structures
from osteon.importing.options import BetweenSlices

Distance = npt.NDArray[np.float64]
_LISTED = 12
_FILLED = "the slices between were drawn by interpolating the outlines (--between-slices leave leaves them empty)"
_LEFT = "the slices between were left empty and count as background"
_LEVEL = -1e-9
"""Millimetres. From here on a voxel is inside: on the outline too, so that thin shapes do not tear."""


@dataclass
class _Shape:
    """A structure in a slice where it was not drawn: in a window of it, how deep inside each pixel lies."""

    number: int
    window: tuple[slice, slice]
    depth: Distance
    inside: Mask


def resolve_gaps(segmentation: Segmentation, mode: BetweenSlices) -> tuple[Segmentation, bool, list[str]]:
    """The segmentation with its sparse structures filled or left, whether it was changed, and lines for people.

    Args:
        segmentation: On its image's grid; stays as it is.
        mode: `fill` or `leave`.
    """
    found = find_sparse_structures(segmentation)
    sparse = [drawn for drawn in found if drawn.step > 1]
    fill = mode == "fill" and any(drawn.short_gaps for drawn in sparse)
    empty: Mapping[str, int] = {}
    if fill:
        segmentation, empty = interpolate_slices(segmentation, sparse)
    lines = []
    for step in sorted({drawn.step for drawn in sparse}):
        listed = shorten_list([drawn.describe() for drawn in sparse if drawn.step == step], _LISTED)
        done = _FILLED if mode == "fill" else _LEFT
        lines.append(f"labels were drawn on {describe_step(step)}: {listed}; {done}")
    if empty:
        listed = shorten_list([f"{name} ({count})" for name, count in empty.items()], _LISTED)
        lines.append(f"slices that stayed empty, since the outlines on both sides do not lie over each other: {listed}")
    if gaps := [drawn.describe_gaps() for drawn in found if drawn.long_gaps]:
        lines.append(
            f"empty between slices that were drawn, and left so, as it may be anatomy: {shorten_list(gaps, _LISTED)}"
        )
    return segmentation, fill, lines


def interpolate_slices(
    segmentation: Segmentation, sparse: Sequence[SparseStructure]
) -> tuple[Segmentation, dict[str, int]]:
    """Draw the slices between, and count those of each structure that stay empty.

    Structures that share no voxel where they were drawn share none here: a voxel goes to the one that it lies deeper
    in, and what was drawn stays.
    """
    array = segmentation.array.copy()
    numbers = {structure.name: n for n, structure in enumerate(segmentation.structures)}
    empty: Counter[str] = Counter()
    apart = cache(partial(_apart, segmentation))
    for axis in sorted({drawn.axis for drawn in sparse}):
        spacing = [mm for a, mm in enumerate(segmentation.geometry.spacing_mm) if a != axis]
        wanted: dict[int, list[Callable[[], _Shape]]] = defaultdict(list)
        for drawn in (drawn for drawn in sparse if drawn.axis == axis):
            n = numbers[drawn.structure.name]
            rows, columns = (part for a, part in enumerate(drawn.box) if a != axis)
            depth_at = lru_cache(maxsize=2)(partial(_depth, segmentation, n, axis, (rows, columns), spacing))
            for pair in drawn.short_gaps:
                for place in range(pair[0] + 1, pair[1]):
                    wanted[place].append(partial(_between, n, (rows, columns), depth_at, pair, place))
        for place in sorted(wanted):
            shapes = [make() for make in wanted[place]]
            empty.update(segmentation.structures[shape.number].name for shape in shapes if not shape.inside.any())
            _keep_apart(segmentation, axis, place, shapes, apart)
            for shape in shapes:
                layer = array[shape.number] if segmentation.overlapping else array
                value = 1 if segmentation.overlapping else segmentation.structures[shape.number].value
                np.moveaxis(layer, axis, 0)[place][shape.window][shape.inside] = value
    filled = Segmentation(array, segmentation.geometry, segmentation.structures)
    return filled, dict(empty)


def _between(
    n: int, window: tuple[slice, slice], depth_at: Callable[[int], Distance], pair: Pair, place: int
) -> _Shape:
    """The shape of a structure between the two slices of a pair."""
    part = (place - pair[0]) / (pair[1] - pair[0])
    depth = (1 - part) * depth_at(pair[0]) + part * depth_at(pair[1])
    return _Shape(n, window, depth, depth >= _LEVEL)


def _plane(segmentation: Segmentation, n: int, axis: int, place: int, window: tuple[slice, slice]) -> Mask:
    """A window of a slice of a structure."""
    return segmentation.mask(segmentation.structures[n], (*window[:axis], place, *window[axis:]))


def _depth(
    segmentation: Segmentation, n: int, axis: int, window: tuple[slice, slice], spacing: Sequence[float], place: int
) -> Distance:
    """How deep, in mm, the pixels of a window lie in a slice of a structure; below 0 outside."""
    mask = np.pad(_plane(segmentation, n, axis, place, window), 1)  # outside the image nothing was drawn
    depth: Any = ndimage.distance_transform_edt(mask, spacing)
    depth -= ndimage.distance_transform_edt(~mask, spacing)
    return np.asarray(depth[1:-1, 1:-1], dtype=np.float64)


def _keep_apart(
    segmentation: Segmentation, axis: int, place: int, shapes: Sequence[_Shape], apart: Callable[[int, int], bool]
) -> None:
    """Take from the shapes of a slice what belongs to others, where they share nothing where they were drawn."""
    for one, other in combinations(shapes, 2):
        both = _common(one.window, other.window)
        if both is None:
            continue
        in_one, in_other = (tuple(_within(both, shape.window)) for shape in (one, other))
        shared = one.inside[in_one] & other.inside[in_other]
        if shared.any() and apart(one.number, other.number):
            deeper = one.depth[in_one] >= other.depth[in_other]
            other.inside[in_other] &= ~(shared & deeper)
            one.inside[in_one] &= ~(shared & ~deeper)
    for shape in shapes:
        for n in range(len(segmentation.structures)) if segmentation.overlapping else ():
            drawn = _plane(segmentation, n, axis, place, shape.window) & shape.inside
            if drawn.any() and n != shape.number and apart(n, shape.number):
                shape.inside &= ~drawn
        if not segmentation.overlapping:
            shape.inside &= np.moveaxis(segmentation.array, axis, 0)[place][shape.window] == 0


def _apart(segmentation: Segmentation, n: int, m: int) -> bool:
    """Whether two structures share no voxel."""
    return not segmentation.overlapping or not ((segmentation.array[n] > 0) & (segmentation.array[m] > 0)).any()


def _common(one: tuple[slice, slice], other: tuple[slice, slice]) -> tuple[slice, slice] | None:
    low = [max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(one, other, strict=True)]
    return (slice(low[0], high[0]), slice(low[1], high[1])) if low[0] < high[0] and low[1] < high[1] else None


def _within(part: tuple[slice, slice], window: tuple[slice, slice]) -> list[slice]:
    return [slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, window, strict=True)]
