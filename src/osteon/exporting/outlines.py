"""From the mask of a slice to closed outlines that go between the pixels' centres.

An outline runs through the middles between a pixel inside and its neighbour outside (marching squares at one half), so
that by any rule that asks whether a pixel's centre lies inside, the outlines give the mask again. A hole is joined to
the outline around it by a slit of no width, there and back (keyhole): programs that take several outlines of a slice as
a union, and those that let inner ones cut holes, both find it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def outlines(mask: Mask) -> list[Points]:
    """Closed outlines of a mask, the first corner not repeated; one for each piece whose pixels share sides.

    Args:
        mask: `[i, j]`.

    Returns:
        Each `[n, 2]`, in pixels; centres lie at whole numbers.
    """
    numbered, _ = ndimage.label(mask)
    found = []
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        first = np.array([part.start for part in box])
        found.append(_join_holes(_loops(numbered[box] == number)) + first)
    return found


def _loops(piece: Mask) -> list[Points]:
    """The outline of one piece, then those of its holes, without corners in the middle of straight lines."""
    from skimage.measure import find_contours

    loops = [loop[:-1] - 1 for loop in find_contours(np.pad(piece, 1).astype(np.float64), 0.5)]
    loops.sort(key=lambda loop: -np.ptp(loop[:, 0]))  # the outer one reaches furthest
    return [_drop_straight_corners(loop) for loop in loops]


def _drop_straight_corners(loop: Points) -> Points:
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return loop[turns]


def _join_holes(loops: list[Points]) -> Points:
    """One loop of all: each inner one is entered where it comes nearest, and left there."""
    outer, *inner = loops
    for hole in sorted(inner, key=lambda loop: float(loop[:, 0].min())):
        distance = ((outer[:, None] - hole[None]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(np.argmin(distance)), distance.shape)
        around = np.roll(hole, -there, axis=0)
        outer = np.concatenate([outer[: here + 1], around, around[:1], outer[here:]])
    return outer
