"""Bounding boxes of masks, in voxels, and the crops that a second pass reads around them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Index3 = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """The voxels from `first` on and before `stop`, along each array axis."""

    first: Index3
    stop: Index3

    @property
    def shape(self) -> Index3:
        """Voxels along each axis."""
        return _triple(b - a for a, b in zip(self.first, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index an array's last three axes with."""
        i, j, k = (slice(a, b) for a, b in zip(self.first, self.stop, strict=True))
        return i, j, k

    def expand(self, margin: Sequence[int], shape: Sequence[int]) -> Box:
        """With `margin` voxels more on either side of each axis, clipped to an array of this shape."""
        low = _triple(max(0, a - m) for a, m in zip(self.first, margin, strict=True))
        return Box(low, _triple(min(n, b + m) for b, m, n in zip(self.stop, margin, shape, strict=True)))

    def move(self, steps: Sequence[int]) -> Box:
        """As many voxels further along each axis."""
        first, stop = (_triple(a + s for a, s in zip(end, steps, strict=True)) for end in (self.first, self.stop))
        return Box(first, stop)

    def grow_to(self, size: Sequence[int], shape: Sequence[int]) -> Box:
        """Grown about its middle to `size` voxels at least along each axis, moved and clipped to the array."""
        first, stop = [], []
        for a, b, wanted, n in zip(self.first, self.stop, size, shape, strict=True):
            length = min(n, max(b - a, wanted))
            start = min(max(0, a - (length - (b - a)) // 2), n - length)
            first.append(start)
            stop.append(start + length)
        return Box(_triple(first), _triple(stop))

    def intersects(self, other: Box) -> bool:
        """Whether the two have a voxel in common."""
        pairs = zip(self.first, self.stop, other.first, other.stop, strict=True)
        return all(a < d and c < b for a, b, c, d in pairs)

    def intersection(self, other: Box) -> Box:
        """What both hold, where they intersect."""
        return Box(_triple(map(max, self.first, other.first)), _triple(map(min, self.stop, other.stop)))

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(_triple(map(min, self.first, other.first)), _triple(map(max, self.stop, other.stop)))


@dataclass(frozen=True)
class Crop:
    """A part of a scan that a second, finer pass reads.

    Attributes:
        tight: The bounding box of what it was made for.
        wide: The same with its margin, grown to a patch's size where the scan has so many voxels.
    """

    tight: Box
    wide: Box


def bounding_box(array: npt.NDArray[np.generic]) -> Box | None:
    """The smallest box around everything in `[i, j, k]`, integers or bool, that is not 0; None where all is."""
    order = np.argsort(array.strides)[::-1]  # an array is fastest read plane by plane, as it lies in memory
    turned = array.transpose(order)
    first = _extent(np.any(turned, axis=(1, 2)))
    if first is None:
        return None
    plane = np.asarray(np.any(turned[slice(*first)], axis=0))
    reaches = [first, _extent(plane.any(axis=1)) or first, _extent(plane.any(axis=0)) or first]
    along = [reaches[place] for place in np.argsort(order)]
    return Box(_triple(start for start, _ in along), _triple(stop for _, stop in along))


def _extent(along: npt.ArrayLike) -> tuple[int, int] | None:
    where = np.flatnonzero(np.asarray(along))
    return (int(where[0]), int(where[-1]) + 1) if len(where) else None


def component_boxes(mask: npt.NDArray[np.bool_]) -> list[Box]:
    """The boxes of a mask's connected pieces `[i, j, k]` (corners connect), those with the most voxels first."""
    from scipy import ndimage  # takes longer to import than most readers of files, which need boxes too

    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    found = ndimage.find_objects(labels)
    order = np.argsort(-sizes, kind="stable")
    return [Box(_triple(s.start for s in found[n]), _triple(s.stop for s in found[n])) for n in order]


def crops_around(boxes: Sequence[Box], margin: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> list[Crop]:
    """A crop for each box, or one for several where that takes no more voxels than several would.

    Args:
        boxes: In voxels of an array of `shape`.
        margin: Voxels around each that belong to its crop.
        size: Voxels that a crop has at least along each axis, where the array has so many.
        shape: Of the array.
    """

    def crop(tight: Box) -> Crop:
        return Crop(tight, tight.expand(margin, shape).grow_to(size, shape))

    made = [crop(box) for box in boxes]
    number = 0
    while number < len(made):
        for other in range(number + 1, len(made)):
            both = crop(made[number].tight.union(made[other].tight))
            if _voxels(both) <= _voxels(made[number]) + _voxels(made[other]):
                made[number] = both
                del made[other]
                number = -1
                break
        number += 1
    return made


def _voxels(crop: Crop) -> int:
    return math.prod(crop.wide.shape)


def _triple(values: Iterable[int]) -> Index3:
    i, j, k = values
    return i, j, k
