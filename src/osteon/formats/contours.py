"""Closed contours of one region in one slice, as pixels: which are holes in others, and which are united.

Crossings are computed, not sampled: no resolution limits them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
EPSILON = 1e-12
"""Of a pixel: nearer to its centre is at it."""


def fill_even_odd(contours: Sequence[Points], shape: tuple[int, int]) -> Mask:
    """Pixels whose centres lie inside an odd number of closed contours.

    Centres lie at whole numbers. One that lies exactly on a contour belongs to the side of larger indices, so that
    regions that touch share no pixel and leave none out.

    Args:
        contours: Each `[n, 2]`, in pixels.
        shape: Of the picture.
    """
    toggles = np.zeros((shape[0] + 1, shape[1]), np.bool_)
    for contour in contours:
        contour = np.where(np.abs(contour) < EPSILON, 0, contour)  # the slope between two of these may be no number
        ends = np.stack([contour, np.roll(contour, -1, axis=0)], axis=1)
        # From below to above: an edge that two regions share is computed in the same way for both.
        ends = np.take_along_axis(ends, np.argsort(ends[:, :, 1], axis=1, kind="stable")[:, :, None], axis=1)
        (x0, y0), (x1, y1) = ends[:, 0].T, ends[:, 1].T
        first = np.ceil(np.clip(y0, 0, shape[1])).astype(int)
        count = np.maximum(np.ceil(np.clip(y1, 0, shape[1])).astype(int) - first, 0)
        edge = np.repeat(np.arange(len(contour)), count)
        line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        x = x0[edge] + (line - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
        np.logical_xor.at(toggles, (np.ceil(np.clip(x, 0, shape[0])).astype(int), line), True)
    inside: Mask = np.logical_xor.accumulate(toggles, axis=0)[:-1]
    return inside


def fill_nested(contours: Sequence[Points], shape: tuple[int, int]) -> tuple[Mask, int]:
    """Pixels of a region: contours are united, and one that lies wholly within another is a hole in it.

    A contour within a hole is an island, one within that a hole again. Within means that no pixel lies outside, so that
    a hole may touch the edge. Of contours with the same pixels one counts: some programs write them twice.

    Args:
        contours: Each `[n, 2]`, in pixels. Of one alone the crossings are counted, as in `fill_even_odd`: a hole that a
            slit joins to the outer contour (keyhole) stays one.
        shape: Of the picture.

    Returns:
        The pixels, and how many pairs of contours overlap partly.
    """
    if len(contours) == 1:
        return fill_even_odd(contours, shape), 0
    masks = [fill_even_odd([contour], shape) for contour in contours]
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    ends = [(contour.min(axis=0), contour.max(axis=0)) for contour in contours]
    kept: list[int] = []
    around: dict[int, list[int]] = {}
    partly = 0
    for n in sorted(range(len(masks)), key=lambda n: -sizes[n]):
        near = [m for m in kept if (ends[m][0] <= ends[n][1]).all() and (ends[n][0] <= ends[m][1]).all()]
        shared = {m: int(np.count_nonzero(masks[m] & masks[n])) for m in near}
        if sizes[n] == 0 or any(shared[m] == sizes[n] == sizes[m] for m in near):
            continue
        partly += sum(0 < shared[m] < sizes[n] for m in near)
        around[n] = [m for m in near if shared[m] == sizes[n]]
        kept.append(n)
    depth: dict[int, int] = {}
    for n in kept:  # the largest first, so that the last one around it is the next one outwards
        depth[n] = depth[around[n][-1]] + 1 if around[n] else 0
    region = np.zeros(shape, np.bool_)
    for n in (n for n in kept if depth[n] % 2 == 0):
        own = masks[n].copy()
        for hole in (m for m in kept if depth[m] % 2 and n in around[m]):
            own &= ~masks[hole]
        region |= own
    return region, partly
