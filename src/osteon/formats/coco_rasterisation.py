"""What is inside a polygon of COCO, by the rule of its own tools.

COCO's coordinates run along the pixels' edges: the first pixel reaches from 0 to 1. `pycocotools` (`common/maskApi.c`,
rleFrPoly) rounds corners to fifths of a pixel, draws the edges as lines of such fifths, and asks down the middle of
each column of pixels where they cross it; a pixel belongs to the polygon where its middle lies inside, by the even-odd
rule. The same is worked out here from the edges themselves. It gives pycocotools' masks, pixel by pixel;
`polygons.fill_polygons` takes corners for pixels' middles and the edge for inside, which gives half a pixel more all
round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_SUBPIXELS = 5
"""Of a pixel, to which corners are rounded."""
_AT_ONCE = 1 << 20
"""Crossings that are worked out together."""


def fill_coco(polygons: Sequence[Points], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The union of polygons as a mask `[rows, columns]`; what lies outside the picture is cut off.

    Args:
        polygons: Corners `[n, 2]` as `annotation_fields.check_points` gives them.
        shape: Rows and columns of the picture.
    """
    mask = np.zeros(shape, dtype=bool)
    for points in polygons:
        found = [part for part in _crossings(points, shape[1]) if len(part)]
        if not found:
            continue
        column, part = np.concatenate(found).T
        row = np.clip((part + _SUBPIXELS // 2) // _SUBPIXELS, 0, shape[0])  # the first pixel whose middle is not above
        left, top, right, bottom = column.min(), row.min(), column.max() + 1, row.max()
        size = (bottom - top + 1, right - left)
        times = np.bincount((row - top) * size[1] + column - left, minlength=size[0] * size[1]).reshape(size)
        mask[top:bottom, left:right] |= (np.cumsum(times, axis=0)[:-1] % 2).astype(bool)
    return mask


def _crossings(points: Points, columns: int) -> Iterator[IntArray]:
    """Where the edges cross the middles of columns: `[n, 2]` of column, and row in fifths of a pixel."""
    corners = np.trunc(_SUBPIXELS * points + 0.5).astype(np.int64)
    start, end = corners, np.roll(corners, -1, axis=0)
    span = np.abs(end - start)
    steep = span[:, 0] < span[:, 1]
    along = steep.astype(np.int64)  # the axis along which an edge is drawn, from its lower end on
    backwards = np.take_along_axis(start - end, along[:, None], axis=1) > 0
    start, end = np.where(backwards, end, start), np.where(backwards, start, end)
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    half = _SUBPIXELS // 2  # the middle of column c lies between its fifths 5c + 2 and 5c + 3
    first = np.maximum(-(-(low - half) // _SUBPIXELS), 0)
    count = np.maximum(np.minimum((high - half - 1) // _SUBPIXELS, columns - 1) - first + 1, 0)
    total = np.cumsum(count)
    edges = np.arange(len(count))
    for chunk in np.split(edges, np.searchsorted(total, np.arange(_AT_ONCE, total[-1], _AT_ONCE))):
        edge = np.repeat(chunk, count[chunk])
        if len(edge):
            place = np.arange(len(edge)) - np.repeat(np.cumsum(count[chunk]) - count[chunk], count[chunk])
            column = first[edge] + place
            flat = ~steep[edge]
            row = np.empty(len(edge), dtype=np.int64)
            row[flat] = _on_flat(start[edge[flat]], end[edge[flat]], column[flat])
            row[~flat] = _on_steep(start[edge[~flat]], end[edge[~flat]], column[~flat])
            yield np.stack([column, row], axis=1)


def _on_flat(start: IntArray, end: IntArray, column: IntArray) -> IntArray:
    """The upper of the two points beside a column's middle, on edges that are drawn from left to right."""
    slope = (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    step = _SUBPIXELS * column + _SUBPIXELS // 2 - start[:, 0]
    left, right = (np.trunc(start[:, 1] + slope * s + 0.5) for s in (step, step + 1))
    found: IntArray = np.minimum(left, right).astype(np.int64)
    return found


def _on_steep(start: IntArray, end: IntArray, column: IntArray) -> IntArray:
    """The same on edges that are drawn downwards: the last point before they have crossed it."""
    slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    middle = _SUBPIXELS * column + _SUBPIXELS // 2 + 1

    def across(step: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        beyond = start[:, 0] + slope * step + 0.5 >= middle
        crossed: npt.NDArray[np.bool_] = beyond == (slope > 0)
        return crossed

    step = np.ceil((middle - 0.5 - start[:, 0]) / slope)
    step = np.where(across(step - 1), step - 1, step)  # what dividing has rounded
    step = np.where(across(step), step, step + 1)
    found: IntArray = start[:, 1] + step.astype(np.int64) - 1
    return found
