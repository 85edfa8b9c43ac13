"""Which sheets of surface go through a cell: a table over the 256 ways in which its eight corners can be inside.

A cell is the cube between eight voxel centres. Its corner n lies at `(n & 1, n >> 1 & 1, n >> 2)`. Its edge
`4 * axis + 2 * c + b` runs along `axis` and lies at b and c along the next two axes (right-handed). The edges whose
ends differ are linked in pairs on the cell's faces, and what is linked is one sheet. Where two corners of a face are
inside and lie across from each other they are joined: the links go around the two that are outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

AXES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
"""An axis and the two others, right-handed."""


@dataclass(frozen=True, eq=False)
class Sheets:
    """The table; the first axis of each is the cell's corners as bits, 1 for inside.

    Attributes:
        of_edge: `[256, 12]` the sheet that crosses each edge, from 0; -1 where none does.
        count: `[256]` sheets of the cell.
    """

    of_edge: npt.NDArray[np.int8]
    count: npt.NDArray[np.int8]


@cache
def sheets() -> Sheets:
    """The table, made once."""
    of_edge = np.full((256, 12), -1, np.int8)
    count = np.zeros(256, np.int8)
    edges = {frozenset(ends): number for number, ends in enumerate(_edges())}
    for bits in range(256):
        inside = [bool(bits >> corner & 1) for corner in range(8)]
        group = {n: {n} for ends, n in edges.items() if len({inside[corner] for corner in ends}) == 2}
        for one, other in _links(inside, edges):
            merged = group[one] | group[other]
            group.update(dict.fromkeys(merged, merged))
        found = sorted({min(linked) for linked in group.values()})
        count[bits] = len(found)
        for sheet, first in enumerate(found):
            of_edge[bits, sorted(group[first])] = sheet
    return Sheets(of_edge, count)


def _links(inside: list[bool], edges: dict[frozenset[int], int]) -> list[tuple[int, int]]:
    """Pairs of crossed edges that a sheet connects across one of the cell's faces."""
    links = []
    for face in _faces():
        sides = [edges[frozenset((face[n - 1], face[n]))] for n in range(4)]  # from the corner before to this one
        crossed = [sides[n] for n in range(4) if inside[face[n - 1]] != inside[face[n]]]
        if len(crossed) == 2:
            links.append((crossed[0], crossed[1]))
        elif len(crossed) == 4:
            links += [(sides[n], sides[(n + 1) % 4]) for n in range(4) if not inside[face[n]]]
    return links


def _edges() -> list[tuple[int, int]]:
    """Lower and upper corner of each edge, by its number."""
    return [
        ((b << p) + (c << q), (1 << axis) + (b << p) + (c << q)) for axis, p, q in AXES for c in (0, 1) for b in (0, 1)
    ]


def _faces() -> list[tuple[int, int, int, int]]:
    """The corners of each face, around it."""
    return [
        ((s << axis), (s << axis) + (1 << p), (s << axis) + (1 << p) + (1 << q), (s << axis) + (1 << q))
        for axis, p, q in AXES
        for s in (0, 1)
    ]
