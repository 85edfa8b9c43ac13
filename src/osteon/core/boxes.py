"""Boxes of voxels around what a mask shows: found, widened, and made one where one costs no more than two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """The voxels from `first` on and before `stop`, along each array axis."""

    first: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        """Voxels along each axis."""
        return _triple(b - a for a, b in zip(self.first, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index an array's last three axes with."""
        i, j, k = (slice(a, b) for a, b in zip(self.first, self.stop, strict=True))
        return i, j, k

    def widened(self, margin: Sequence[int], shape: Sequence[int]) -> Box:
        """With so many voxels more on either side, as far as an array of this shape has them."""
        low = _triple(max(0, a - m) for a, m in zip(self.first, margin, strict=True))
        return Box(low, _triple(min(n, b + m) for b, m, n in zip(self.stop, margin, shape, strict=True)))

    def at_least(self, least: Sequence[int], shape: Sequence[int]) -> Box:
        """Grown about its middle to at least so many voxels, and moved where the array ends; never beyond it."""
        first, stop = [], []
        for a, b, wanted, n in zip(self.first, self.stop, least, shape, strict=True):
            size = min(n, max(b - a, wanted))
            start = min(max(0, a - (size - (b - a)) // 2), n - size)
            first.append(start)
            stop.append(start + size)
        return Box(_triple(first), _triple(stop))

    def meets(self, other: Box) -> bool:
        """Whether the two have a voxel in common."""
        pairs = zip(self.first, self.stop, other.first, other.stop, strict=True)
        return all(a < d and c < b for a, b, c, d in pairs)

    def hull(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(_triple(map(min, self.first, other.first)), _triple(map(max, self.stop, other.stop)))


@dataclass(frozen=True)
class Crop:
    """A part of a scan that is looked at closely.

    Attributes:
        tight: The box of what it was made for.
        wide: The same with its margin, and filled up to a patch's size as far as the scan reaches.
    """

    tight: Box
    wide: Box


def box_of(array: npt.NDArray[np.generic]) -> Box | None:
    """The smallest box around everything in `[i, j, k]`, integers or bool, that is not 0; None where all is."""
    order = np.argsort(array.strides)[::-1]  # an array is fastest read plane by plane, as it lies in memory
    turned = array.transpose(order)
    first = _reach(np.any(turned, axis=(1, 2)))
    if first is None:
        return None
    plane = np.asarray(np.any(turned[slice(*first)], axis=0))
    reaches = [first, _reach(plane.any(axis=1)) or first, _reach(plane.any(axis=0)) or first]
    along = [reaches[place] for place in np.argsort(order)]
    return Box(_triple(start for start, _ in along), _triple(stop for _, stop in along))


def _reach(along: npt.ArrayLike) -> tuple[int, int] | None:
    where = np.flatnonzero(np.asarray(along))
    return (int(where[0]), int(where[-1]) + 1) if len(where) else None


def pieces(mask: npt.NDArray[np.bool_]) -> list[Box]:
    """The boxes of a mask's connected pieces `[i, j, k]` (corners connect), those with the most voxels first."""
    from scipy import ndimage  # takes longer to import than most readers of files, which need boxes too

    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    found = ndimage.find_objects(labels)
    order = np.argsort(-sizes, kind="stable")
    return [Box(_triple(s.start for s in found[n]), _triple(s.stop for s in found[n])) for n in order]


def crops_around(boxes: Sequence[Box], margin: Sequence[int], least: Sequence[int], shape: Sequence[int]) -> list[Crop]:
    """A crop for each box, or one for several where that takes no more voxels than theirs together.

    Args:
        boxes: In voxels of an array of `shape`.
        margin: Voxels around each that belong to its crop.
        least: Voxels that a crop has at least, as far as the array has them.
        shape: Of the array.
    """

    def crop(tight: Box) -> Crop:
        return Crop(tight, tight.widened(margin, shape).at_least(least, shape))

    made = [crop(box) for box in boxes]
    number = 0
    while number < len(made):
        for other in range(number + 1, len(made)):
            both = crop(made[number].tight.hull(made[other].tight))
            if _voxels(both) <= _voxels(made[number]) + _voxels(made[other]):
                made[number] = both
                del made[other]
                number = -1
                break
        number += 1
    return made


def _voxels(crop: Crop) -> int:
    return math.prod(crop.wide.shape)


def _triple(values: Iterable[int]) -> Triple:
    i, j, k = values
    return i, j, k
