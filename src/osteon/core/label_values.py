"""The values of index maps: exchanged for others, and where each of them lies.

A value may be any whole number (label maps count to 2³² − 1), so nothing here takes memory by how large it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, box_of

Kind = TypeVar("Kind", bound=np.integer[Any])
Integers = npt.NDArray[np.integer] | npt.NDArray[np.bool_]

HIGHEST = 2**53
"""The largest value of a label: above it, float64 (and JSON) no longer tell one whole number from the next."""
_TABLE = 1 << 16
"""Values below it are looked up in a table; larger ones are searched for."""


def exchange(labels: Integers, meanings: Mapping[int, int], kind: type[Kind]) -> npt.NDArray[Kind]:
    """What each value stands for in its place, 0 where it stands for nothing.

    Args:
        labels: Any shape; no value below 0.
        meanings: Value → what it stands for.
        kind: The result's type, which holds all that values stand for.
    """
    if labels.dtype.kind == "b":
        labels = labels.view(np.uint8)
    most = np.iinfo(labels.dtype).max  # type: ignore[type-var]
    known = {value: meanings[value] for value in sorted(meanings) if value <= most}
    highest = int(labels.max(initial=0))
    if highest < _TABLE:
        table = np.zeros(highest + 1, dtype=kind)
        for value, meaning in known.items():
            if value <= highest:
                table[value] = meaning
        if labels.ndim < 2:
            return np.asarray(table[labels])
        made = np.empty(labels.shape, dtype=kind)
        for part, theirs in zip(made, labels, strict=True):  # a plane at a time: indices take 8 bytes for each voxel
            part[...] = table[theirs]
        return made
    made = np.zeros(labels.shape, dtype=kind)
    if not known:
        return made
    values, stand_for = np.array(list(known), dtype=labels.dtype), np.array(list(known.values()), dtype=kind)
    for part, theirs in zip(made, labels, strict=True):  # likewise
        place = np.minimum(np.searchsorted(values, theirs), len(values) - 1)
        part[...] = np.where(values[place] == theirs, stand_for[place], 0)
    return made


def boxes_of(labels: Integers, values: Sequence[int]) -> list[Box | None]:
    """The smallest box around each of `values` in an index map `[i, j, k]`; None for one that is not in it."""
    around = box_of(labels)
    if around is None or not values:
        return [None] * len(values)
    from scipy import ndimage  # takes longer to import than most readers of files, which exchange values too

    inside = labels[around.slices]
    if inside.dtype.kind == "b" or int(inside.max()) >= _TABLE:
        inside = exchange(inside, {value: n for n, value in enumerate(values, start=1)}, np.int32)
        values = range(1, len(values) + 1)
    found = ndimage.find_objects(inside)
    return [_box(found[v - 1], around.first) if v <= len(found) and found[v - 1] else None for v in values]


def _box(where: tuple[slice, ...], first: tuple[int, int, int]) -> Box:
    i, j, k = ((a + s.start, a + s.stop) for a, s in zip(first, where, strict=True))
    return Box((i[0], j[0], k[0]), (i[1], j[1], k[1]))
