"""From a surface to the voxels whose centres it encloses.

Every line of voxels along one axis (a column) is followed through the surface: a voxel is inside where the surface was
crossed an odd number of times before it. The crossings are exact: corners are taken into index space by the inverse
affine, so that any grid, oblique and sheared ones too, is the unit grid there.

Nothing is counted twice. An edge spans a row where low ≤ row < high, a row spans a column where from ≤ column < to, and
a voxel is inside where entry ≤ its centre < exit; two triangles that share an edge find the same number for it, since
the edge is always followed from its lower end. So a column that crosses a closed surface does so an even number of
times, and an odd number is a leak.

A surface is closed, for this purpose, where every edge occurs an even number of times. An open one is filled along all
three axes, and the columns with an even number of crossings vote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry

Points = npt.NDArray[np.float64]
_AT_ONCE = 1 << 18
"""Rows or crossings that are worked on at the same time: bounds the memory, whatever the surface."""


@dataclass(frozen=True, eq=False)
class VoxelisedMesh:
    """What a surface encloses.

    Attributes:
        box: The part of the grid that the surface reaches, as slices of `[i, j, k]`.
        mask: `[i, j, k]` bool of that part: the voxels whose centres are inside.
        closed: Whether every edge of the surface occurs an even number of times.
        crossed: Columns that cross the surface, along each axis that was followed.
        leaks: How many of them do so an odd number of times.
        undecided: Voxels inside some, but where no column or as many speak for inside as for outside.
    """

    box: tuple[slice, slice, slice]
    mask: npt.NDArray[np.bool_]
    closed: bool
    crossed: tuple[int, ...] = ()
    leaks: tuple[int, ...] = ()
    undecided: int = 0


def voxelise(triangles: Points, geometry: Geometry) -> VoxelisedMesh:
    """The voxels whose centres a surface encloses.

    Args:
        triangles: `[m, 3, 3]` corners, in the grid's world (RAS+ millimetres).
        geometry: The grid.
    """
    corners = _to_index(triangles, geometry)
    low = np.clip(np.ceil(corners.min(axis=(0, 1))), 0, geometry.shape).astype(int)
    high = np.clip(np.floor(corners.max(axis=(0, 1))) + 1, low, geometry.shape).astype(int)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    size = tuple(int(n) for n in high - low)
    closed = is_closed(triangles)
    if 0 in size:
        return VoxelisedMesh(box, np.zeros(size, np.bool_), closed)
    corners -= low
    order = [int(axis) for axis in np.argsort(_crossings(corners), kind="stable")]
    columns = [_columns(corners, size, axis) for axis in (order[:1] if closed else order)]
    leaks, crossed = tuple(c.leaks for c in columns), tuple(c.crossed for c in columns)
    if not any(leaks) and closed:
        return VoxelisedMesh(box, columns[0].inside, closed, crossed, leaks)
    mask, undecided = _vote(columns)
    return VoxelisedMesh(box, mask, closed, crossed, leaks, undecided)


def is_closed(triangles: Points) -> bool:
    """Whether every edge of triangles `[n, 3, 3]` occurs an even number of times, as where these meet without gaps.

    Edges are hashed (64 bits) and all hashes combined by exclusive or, which leaves 0 where they cancel: no sorting.
    """
    bits = np.ascontiguousarray(triangles + 0.0).view(np.uint64)  # adding 0 turns -0 into 0
    hashed = np.zeros(bits.shape[:2], np.uint64)
    for axis, odd in enumerate((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)):
        hashed = _mix(hashed + bits[..., axis] * np.uint64(odd))
    edges = _mix(hashed + np.roll(hashed, 1, axis=1))  # a sum: the same for both directions
    same = hashed == np.roll(hashed, 1, axis=1)  # an edge of no length bounds nothing
    return not np.bitwise_xor.reduce(np.where(same, np.uint64(0), edges).ravel())


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all others (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _to_index(triangles: Points, geometry: Geometry) -> Points:
    """Corners in index space, `[3 (i, j, k), 3 corners, m]` in memory, seen as `[m, 3 corners, 3]`.

    Written out, and not as a matrix product: equal corners must give equal results to the last bit, in any row.
    """
    inverse = np.linalg.inv(geometry.affine_ras)
    x, y, z = (np.ascontiguousarray(triangles[..., axis].T) for axis in range(3))
    index = np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in inverse[:3]])
    turned: Points = index.transpose(2, 1, 0)
    return turned


def _crossings(corners: Points) -> Points:
    """`[3]`: how often the columns along each axis will cross the surface, about."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.array([np.abs(a[:, p] * b[:, q] - a[:, q] * b[:, p]).sum() for p, q in ((1, 2), (2, 0), (0, 1))])


@dataclass(frozen=True, eq=False)
class _Columns:
    """A surface filled along one axis: `inside` and whether a column is `even`, both as `[i, j, k]`."""

    inside: npt.NDArray[np.bool_]
    even: npt.NDArray[np.bool_]
    crossed: int
    leaks: int


def _columns(corners: Points, size: tuple[int, ...], axis: int) -> _Columns:
    """Follow the columns along `axis`: count crossings before each voxel, modulo 2."""
    row_axis, column_axis = (other for other in range(3) if other != axis)
    depth, rows, columns = size[axis], size[row_axis], size[column_axis]
    crossings = np.zeros((depth + 1, rows, columns), np.uint8)  # the last plane is behind the grid
    flat = crossings.reshape(-1)
    for row, column, place in _hits(
        corners[..., row_axis], corners[..., column_axis], corners[..., axis], rows, columns
    ):
        reached = np.clip(np.ceil(place), 0, depth).astype(np.int64)
        np.add.at(flat, (reached * rows + row) * columns + column, 1)  # 256 crossings are 0, as even as they are
    crossed = int(crossings.any(axis=0).sum())
    for plane in range(1, depth + 1):
        crossings[plane] += crossings[plane - 1]
    crossings &= 1
    odd = crossings[-1] > 0
    inside = np.moveaxis(crossings[:-1].view(np.bool_), (0, 1, 2), (axis, row_axis, column_axis))
    even = np.moveaxis(~odd[None], (0, 1, 2), (axis, row_axis, column_axis))
    return _Columns(inside, even, crossed, int(odd.sum()))


def _hits(u: Points, v: Points, w: Points, rows: int, columns: int) -> Iterator[tuple[npt.NDArray[np.int64], ...]]:
    """Where the grid's columns meet triangles: row, column and the place along the column.

    Args:
        u: `[m, 3]` corners' coordinates across the rows.
        v: The same across the columns.
        w: The same along the columns.
        rows: Number of rows; those looked for are 0 … rows - 1.
        columns: Number of columns.
    """
    first = np.clip(np.ceil(u.min(axis=1)), 0, rows).astype(np.int64)
    counts = np.clip(np.ceil(u.max(axis=1)), 0, rows).astype(np.int64) - first
    for triangle, step in _expand(counts):
        row = first[triangle] + step
        a, b, c = ((u[triangle, n], v[triangle, n], w[triangle, n]) for n in range(3))
        # Of the three edges the row meets two; each gives a place (v, w) on the row.
        meets, vs, ws = zip(*(_on_edge(p, q, row) for p, q in ((a, b), (b, c), (c, a))), strict=True)
        left_v, left_w = np.where(meets[0], vs[0], vs[1]), np.where(meets[0], ws[0], ws[1])
        right_v, right_w = np.where(meets[2], vs[2], vs[1]), np.where(meets[2], ws[2], ws[1])
        swap = left_v > right_v
        left_v, right_v = np.where(swap, right_v, left_v), np.where(swap, left_v, right_v)
        left_w, right_w = np.where(swap, right_w, left_w), np.where(swap, left_w, right_w)
        start = np.clip(np.ceil(left_v), 0, columns).astype(np.int64)
        spans = np.clip(np.ceil(right_v), 0, columns).astype(np.int64) - start
        for span, offset in _expand(spans):
            column = start[span] + offset
            share = (column - left_v[span]) / (right_v[span] - left_v[span])
            yield row[span], column, left_w[span] + share * (right_w[span] - left_w[span])


def _on_edge(
    p: tuple[Points, ...], q: tuple[Points, ...], row: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], Points, Points]:
    """Whether each row meets its edge, and there the coordinates v and w; always followed from the lower end."""
    swap = p[0] > q[0]
    (low, low_v, low_w), (high, high_v, high_w) = (
        tuple(np.where(swap, y, x) for x, y in zip(*ends, strict=True)) for ends in ((p, q), (q, p))
    )
    meets = (low <= row) & (row < high)
    share = np.divide(row - low, high - low, out=np.zeros_like(low), where=meets)
    return meets, low_v + share * (high_v - low_v), low_w + share * (high_w - low_w)


def _expand(counts: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Entry n of `counts`, repeated so many times, with the numbers 0 … count - 1; in portions."""
    entries = np.flatnonzero(counts > 0)
    ends = np.cumsum(counts[entries])
    begin, done = 0, 0
    while begin < len(entries):
        end = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        owner = np.repeat(entries[begin:end], counts[entries[begin:end]])
        starts = np.repeat(ends[begin:end] - counts[entries[begin:end]], counts[entries[begin:end]])
        yield owner, np.arange(done, ends[end - 1]) - starts
        begin, done = end, int(ends[end - 1])


def _vote(columns: list[_Columns]) -> tuple[npt.NDArray[np.bool_], int]:
    """Inside by the columns with an even number of crossings; where votes are equal, that with fewest leaks wins."""
    votes = np.zeros(columns[0].inside.shape, np.int8)
    some = np.zeros(columns[0].inside.shape, np.bool_)
    for axis in columns:
        votes += np.where(axis.even, np.where(axis.inside, np.int8(1), np.int8(-1)), np.int8(0))
        some |= axis.inside
    tied = votes == 0
    best = min(columns, key=lambda axis: axis.leaks / max(axis.crossed, 1))
    return (votes > 0) | (tied & best.inside & best.even), int((tied & some).sum())
