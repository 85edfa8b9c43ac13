"""The values of index maps: mapped to others, and the bounding box of each.

A value may be any whole number (label maps count to 2³² − 1), so nothing here takes memory by how large it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, bounding_box

IntegerType = TypeVar("IntegerType", bound=np.integer[Any])
IntegerArray = npt.NDArray[np.integer] | npt.NDArray[np.bool_]

MAX_VALUE = 2**53
"""The largest value of a label: above it, float64 (and JSON) no longer tell one whole number from the next."""
_TABLE_SIZE = 1 << 16
"""Values below it are looked up in a table; larger ones are searched for."""


def remap_values(
    labels: IntegerArray, mapping: Mapping[int, int], dtype: type[IntegerType]
) -> npt.NDArray[IntegerType]:
    """Replace each value by what `mapping` has for it, and by 0 where it has nothing.

    Args:
        labels: Any shape; no value below 0.
        mapping: Old value → new value.
        dtype: The result's, which must hold every new value.
    """
    if labels.dtype.kind == "b":
        labels = labels.view(np.uint8)
    max_value = np.iinfo(labels.dtype).max  # type: ignore[type-var]
    present = {value: mapping[value] for value in sorted(mapping) if value <= max_value}
    highest = int(labels.max(initial=0))
    if highest < _TABLE_SIZE:
        table = np.zeros(highest + 1, dtype=dtype)
        for value, target in present.items():
            if value <= highest:
                table[value] = target
        if labels.ndim < 2:
            return np.asarray(table[labels])
        result = np.empty(labels.shape, dtype=dtype)
        for plane, source in zip(result, labels, strict=True):  # a plane at a time: indices take 8 bytes for each voxel
            plane[...] = table[source]
        return result
    result = np.zeros(labels.shape, dtype=dtype)
    if not present:
        return result
    values, targets = np.array(list(present), dtype=labels.dtype), np.array(list(present.values()), dtype=dtype)
    for plane, source in zip(result, labels, strict=True):  # likewise
        position = np.minimum(np.searchsorted(values, source), len(values) - 1)
        plane[...] = np.where(values[position] == source, targets[position], 0)
    return result


def merge_ranges(labels: npt.NDArray[np.integer], ranges: Sequence[range]) -> npt.NDArray[np.integer]:
    """Replace each value of a range by its first; the array itself where none has to be."""
    highest = int(labels.max(initial=0))
    several = [values for values in ranges if len(values) > 1 and values[0] < highest]
    if not several:
        return labels
    result = labels.copy(order="K")
    for plane in result:  # a plane at a time: masks take a byte for each voxel
        for values in several:
            plane[(plane > values[0]) & (plane <= min(values[-1], highest))] = values[0]
    return result


def bounding_boxes(labels: IntegerArray, values: Sequence[int]) -> list[Box | None]:
    """The smallest box around each of `values` in an index map `[i, j, k]`; None for one that is not in it."""
    around = bounding_box(labels)
    if around is None or not values:
        return [None] * len(values)
    from scipy import ndimage  # takes longer to import than most readers of files, which exchange values too

    inside = labels[around.slices]
    if inside.dtype.kind == "b" or int(inside.max()) >= _TABLE_SIZE:
        inside = remap_values(inside, {value: n for n, value in enumerate(values, start=1)}, np.int32)
        values = range(1, len(values) + 1)
    found = ndimage.find_objects(inside)
    return [_box(found[v - 1], around.first) if v <= len(found) and found[v - 1] else None for v in values]


def _box(where: tuple[slice, ...], first: tuple[int, int, int]) -> Box:
    i, j, k = ((a + s.start, a + s.stop) for a, s in zip(first, where, strict=True))
    return Box((i[0], j[0], k[0]), (i[1], j[1], k[1]))
