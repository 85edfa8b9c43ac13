"""From a mask to the closed surface around it, by a dual of marching cubes.

Marching cubes (Lorensen and Cline, SIGGRAPH 1987) puts corners on the grid's edges. Its dual (Nielson, IEEE
Visualization 2004) puts one corner into each cell for each sheet of surface that goes through it, and a quadrangle
around each edge of the grid whose ends differ. Two things follow that marching cubes does not give:

- With every corner in the middle of its cell, the surface is the boundary of the voxels: its volume is theirs.
- As long as every corner stays in its cell, every voxel's centre stays on its side, whatever else the corners do: the
  four cells around an edge hold no other edge, so that the quadrangle around it crosses it once and crosses no other.
  A surface that is smoothed within its cells (Gibson, MICCAI 1998) and filled again gives the same mask.

Voxels that share a face or an edge are joined, those that share a corner alone are not. On a face of a cell where two
voxels inside lie across from each other, both sheets on one side may be the same, and both on the other side too: the
edge between them would belong to four quadrangles. So a corner of its own is put on each of the two crossings there.
Then every edge belongs to two triangles, in any mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.exporting.surface_table import AXES, sheets

Points = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MARGIN = 0.05
"""Voxel edges that a corner keeps from the border of its cell: no rounding takes it beyond a voxel's centre."""
_AROUND = ((0, 0), (1, 0), (1, 1), (0, 1))
"""The cells around an edge, counter-clockwise: how far each begins before the edge along the two other axes."""
_BETWEEN = ((2, 1), (1, -1), (2, -1), (1, 1))
"""Where, from the edge, the face lies between each of these cells and the next: along which of `AXES`, which way."""


@dataclass(frozen=True, eq=False)
class SurfaceNet:
    """A closed surface of polygons, in voxel indices.

    Attributes:
        points: `[n, 3]` corners; voxel centres lie at whole numbers.
        low: `[n, 3]` lower ends of the boxes that the corners must stay in.
        high: `[n, 3]` their upper ends.
        quads: `[m, 4]` corners of quadrangles, counter-clockwise seen from outside.
        rings: Polygons of more corners, likewise; the first of each lies on a face between two cells.
    """

    points: Points
    low: Points
    high: Points
    quads: Ints
    rings: tuple[tuple[int, ...], ...]


def make_surface_net(mask: Mask) -> SurfaceNet:
    """The boundary of a mask `[i, j, k]`, closed also where the mask ends. An empty mask gives an empty net."""
    padded = np.pad(mask, 1)
    cells = _Cells(padded)
    points, low, high = cells.corners()
    faces = _FaceCorners(len(points))
    quads, rings = [], list[tuple[int, ...]]()
    for axes in AXES:
        lower, upper = (np.moveaxis(padded, axes[0], 0)[part] for part in (slice(None, -1), slice(1, None)))
        crossed = np.moveaxis(lower != upper, 0, axes[0])
        places = np.argwhere(crossed)
        outward = np.moveaxis(lower, 0, axes[0])[crossed]  # whether the surface looks along the axis
        around = np.stack([cells.numbers(places, axes, *cell) for cell in _AROUND], axis=1)
        unclear = _unclear(padded, places, axes)
        plain = ~unclear.any(axis=1)
        quads.append(np.where(outward[plain, None], around[plain], around[plain, ::-1]))
        for n in np.flatnonzero(~plain):
            rings.append(faces.ring(around[n], unclear[n], places[n], bool(outward[n]), axes))
    more = faces.corners()
    return SurfaceNet(
        np.concatenate([points, more[0]]) - 1,
        np.concatenate([low, more[1]]) - 1,
        np.concatenate([high, more[2]]) - 1,
        np.concatenate(quads),
        tuple(rings),
    )


def triangulate(net: SurfaceNet, points: Points) -> Ints:
    """`[t, 3]` corners of triangles, counter-clockwise seen from outside.

    Args:
        net: The polygons.
        points: `[n, 3]` where its corners lie now; quadrangles are cut along the shorter diagonal.
    """
    first, second = (((points[net.quads[:, n]] - points[net.quads[:, n + 2]]) ** 2).sum(axis=1) for n in (0, 1))
    quads = np.where((first <= second)[:, None], net.quads, np.roll(net.quads, -1, axis=1))
    # From the corner on the face: no other polygon has it and one of the corners across.
    fans = [(ring[0], ring[n], ring[n + 1]) for ring in net.rings for n in range(1, len(ring) - 1)]
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], np.array(fans, np.int64).reshape(-1, 3)])


def net_edges(net: SurfaceNet) -> Ints:
    """`[s, 2]` the polygons' edges, each once in either direction."""
    rings = [(ring[n - 1], ring[n]) for ring in net.rings for n in range(len(ring))]
    quads = np.stack([net.quads, np.roll(net.quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    return np.concatenate([quads, np.array(rings, np.int64).reshape(-1, 2)])


class _Cells:
    """The cells that the surface goes through, and the numbers of their corners in the net."""

    def __init__(self, padded: Mask) -> None:
        self.shape = tuple(n - 1 for n in padded.shape)
        bits = np.zeros(self.shape, np.uint8)
        for corner in range(8):
            at = (corner & 1, corner >> 1 & 1, corner >> 2)
            part = padded[tuple(slice(a, a + n) for a, n in zip(at, self.shape, strict=True))]
            bits |= part.astype(np.uint8) << np.uint8(corner)
        self.places = np.flatnonzero((bits != 0) & (bits != 255))
        self.bits = bits.ravel()[self.places]
        count = sheets().count[self.bits].astype(np.int64)
        self.owner = np.repeat(np.arange(len(self.places)), count)
        self.first = np.cumsum(count) - count

    def corners(self) -> tuple[Points, Points, Points]:
        """Corners `[n, 3]` of the net in voxels, and the lowest and highest corners of their boxes."""
        begin = np.stack(np.unravel_index(self.places[self.owner], self.shape), axis=1).astype(np.float64)
        return begin + 0.5, begin + MARGIN, begin + 1 - MARGIN

    def numbers(self, edges: Ints, axes: tuple[int, int, int], b: int, c: int) -> Ints:
        """The corner on the sheet that crosses each edge, in the cell that begins b and c before it."""
        begin = edges.copy()
        begin[:, axes[1]] -= b
        begin[:, axes[2]] -= c
        cell = np.searchsorted(self.places, np.ravel_multi_index(tuple(begin.T), self.shape))
        numbers: Ints = self.first[cell] + sheets().of_edge[self.bits[cell], 4 * axes[0] + 2 * c + b]
        return numbers


def _unclear(padded: Mask, edges: Ints, axes: tuple[int, int, int]) -> Mask:
    """`[n, 4]` whether the face between each cell around an edge and the next has its insides across."""
    along = np.eye(3, dtype=np.int64)
    found = []
    for which, way in _BETWEEN:
        beside = edges + way * along[axes[which]]
        ends, across = (padded[tuple((place + along[axes[0]]).T)] for place in (edges, beside))
        found.append((padded[tuple(beside.T)] == ends) & (across == padded[tuple(edges.T)]))
    return np.stack(found, axis=1)


class _FaceCorners:
    """Corners on faces between cells, numbered from `first` on as they are asked for."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.known: dict[tuple[int, ...], int] = {}
        self.rows: list[tuple[npt.NDArray[np.floating[Any]], ...]] = []

    def ring(
        self, around: Ints, unclear: Mask, edge: Ints, outward: bool, axes: tuple[int, int, int]
    ) -> tuple[int, ...]:
        """The polygon around an edge, counter-clockwise, with corners on its unclear faces; it begins with one."""
        outside = edge.copy()
        outside[axes[0]] += outward
        ring: list[int] = []
        for number, on_face, (which, way) in zip(around, unclear, _BETWEEN, strict=True):
            ring.append(int(number))
            if on_face:
                begin = edge.copy()
                begin[axes[which]] -= way < 0
                ring.append(self._corner(begin, outside, normal=axes[3 - which]))
        ring = ring if outward else ring[::-1]
        start = next(n for n, number in enumerate(ring) if number >= self.first)
        return tuple(ring[start:] + ring[:start])

    def _corner(self, begin: Ints, outside: Ints, normal: int) -> int:
        """The number of the crossing that cuts the voxel `outside` off from the face that begins at `begin`."""
        key = (normal, *begin.tolist(), *outside.tolist())
        if key not in self.known:
            self.known[key] = self.first + len(self.rows)
            low, high = begin + MARGIN, begin + 1 - MARGIN
            low[normal], high[normal] = begin[normal] - 0.5 + MARGIN, begin[normal] + 0.5 - MARGIN
            self.rows.append(((low + high) / 2, low, high))
        return self.known[key]

    def corners(self) -> tuple[Points, Points, Points]:
        """All of them `[n, 3]` in voxels, and the lowest and highest corners of their boxes."""
        middle, low, high = (np.array([row[n] for row in self.rows]).reshape(-1, 3) for n in range(3))
        return middle, low, high
