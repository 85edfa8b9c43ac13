"""Tumours: the two diameters of RECIST in the axial plane, and the longest at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.shape import furthest_pair, hull_of
from osteon.measuring.targets import each

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PLANES = 64
"""At most, over a tumour's height; no more than one for each voxel of its finest edge."""
_DIRECTIONS = 48
"""In which a plane's outline is measured to find the widest: of one 50 mm wide, 0.03 mm are missed at most."""
_DIRECTIONS_3D = 128
_NEXT = 1.03
"""At most the longest diameter as a part of the width along the nearest direction: they lie 10.5° apart at most."""
_MOVED_VOXELS = 3.0
"""That a replica's surface is displaced by, at most."""
_BEYOND = 0.02
"""Part of the diameter by which an end may lie behind what is furthest along the nearest direction."""
_STEPS = 129
"""Places along the longest diameter at which the perpendicular one is looked for."""
VOLUME = frozenset({"volume"})


def axial_diameters(body: Body) -> tuple[Floats, Floats]:
    """`[2, 3]` the ends of the longest diameter in an axial plane, and of the longest one across it in that plane."""
    outline = _widest_outline(body)
    ring = outline[hull_of(outline[:, :2])]
    long = np.stack(furthest_pair(ring))
    return long, _perpendicular(ring, long)


def _widest_outline(body: Body) -> Floats:
    """`[n, 3]` where the surface's edges cut the axial plane in which it is widest."""
    points, ends = body.surface.points, body.surface.edges
    heights = points[:, 2]
    finest = min(body.geometry.spacing_mm)
    count = int(np.clip((heights.max() - heights.min()) / finest, 1, PLANES))
    planes = heights.min() + (np.arange(count) + 0.5) / count * (heights.max() - heights.min())
    places = np.searchsorted(planes, heights)[ends]
    first, last = places.min(axis=1), places.max(axis=1)
    crossed = np.flatnonzero(last > first)
    times = last[crossed] - first[crossed]
    edge = np.repeat(crossed, times)
    plane = np.arange(len(edge)) - np.repeat(np.cumsum(times) - times, times) + first[edge]
    order = np.argsort(plane, kind="stable")
    edge, plane = edge[order], plane[order]
    a, b = points[ends[edge, 0]], points[ends[edge, 1]]
    crossings = a + ((planes[plane] - a[:, 2]) / (b[:, 2] - a[:, 2]))[:, None] * (b - a)
    there, starts = np.unique(plane, return_index=True)
    if not len(there):
        raise NotMeasuredError("no axial plane cuts it")
    turns = np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    along = crossings[:, :2] @ np.stack([np.cos(turns), np.sin(turns)])
    widths = (np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)).max(axis=1)
    return np.asarray(crossings[plane == there[int(np.argmax(widths))]])


def _perpendicular(ring: Floats, long: Floats) -> Floats:
    """`[2, 3]` the longest chord of a convex ring that is perpendicular to a line in its plane."""
    along = (long[1] - long[0]) / np.linalg.norm(long[1] - long[0])
    side = np.array([-along[1], along[0], 0.0])
    closed = np.vstack([ring, ring[:1]]) - long[0]
    t, s = closed @ along, closed @ side
    places = np.linspace(t.min(), t.max(), _STEPS)[1:-1]
    low, high = np.full(len(places), np.inf), np.full(len(places), -np.inf)
    for n in range(len(ring)):
        (t0, s0), (t1, s1) = sorted([(t[n], s[n]), (t[n + 1], s[n + 1])])
        inside = (places >= t0) & (places <= t1)
        value = s0 + (places[inside] - t0) / max(t1 - t0, 1e-12) * (s1 - s0)
        low[inside], high[inside] = np.minimum(low[inside], value), np.maximum(high[inside], value)
    best = int(np.argmax(high - low))
    base = long[0] + places[best] * along
    return np.stack([base + low[best] * side, base + high[best] * side])


def _directions() -> Floats:
    """`[3, n]` unit vectors on a spiral over half a sphere."""
    number = np.arange(_DIRECTIONS_3D) + 0.5
    height, turn = 1 - number / _DIRECTIONS_3D, np.pi * (1 + np.sqrt(5)) * number
    return np.stack([np.sqrt(1 - height**2) * np.cos(turn), np.sqrt(1 - height**2) * np.sin(turn), height])


def _ends(body: Body) -> Ints:
    """Of an original, the points that the longest diameter may end at, in its replicas too."""
    along = body.surface.points @ _directions()
    low, high = along.min(axis=0), along.max(axis=0)
    widths = high - low
    reach = _MOVED_VOXELS * max(body.geometry.spacing_mm) + _BEYOND * widths.max()
    wide = widths * _NEXT > widths.max() - 2 * reach
    outer = (along > high - reach) | (along < low + reach)
    return np.flatnonzero(outer[:, wide].any(axis=1))


def _furthest_anywhere(points: Floats) -> tuple[Floats, Floats]:
    """Two points that lie furthest apart: of those furthest in each of many directions, and then of all."""
    along = points @ _directions()
    far = np.unique(np.concatenate([along.argmax(axis=0), along.argmin(axis=0)]))
    one, other = furthest_pair(points[far])
    for _ in range(2):
        one = points[np.argmax(((points - other) ** 2).sum(axis=1))]
        other = points[np.argmax(((points - one) ** 2).sum(axis=1))]
    return one, other


def longest(body: Body) -> Reading:
    """Millimetres, in an axial plane."""
    ends, _ = body.find(axial_diameters)
    return Reading.of(float(np.linalg.norm(ends[1] - ends[0])), [Drawing.of("line", "longest diameter", *ends)])


def perpendicular(body: Body) -> Reading:
    """Millimetres, in the same plane."""
    _, ends = body.find(axial_diameters)
    return Reading.of(float(np.linalg.norm(ends[1] - ends[0])), [Drawing.of("line", "perpendicular diameter", *ends)])


def longest_anywhere(body: Body) -> Reading:
    """Millimetres."""
    chosen = (body.original or body).find(_ends)
    ends = _furthest_anywhere(body.surface.points[chosen])
    return Reading.of(float(np.linalg.norm(ends[1] - ends[0])), [Drawing.of("line", "longest diameter in 3D", *ends)])


_RECIST = "RECIST 1.1: Eisenhauer et al., Eur J Cancer 45, 2009"
MEASURES = (
    Measure(
        "longest_diameter",
        "tumour",
        "mm",
        "longest diameter in an axial plane",
        "the longest distance between two points of the outline in any plane perpendicular to the patient's long axis",
        _RECIST,
        "the diameter",
        each("tumour"),
        longest,
        "patient",
        needs=VOLUME,
    ),
    Measure(
        "perpendicular_diameter",
        "tumour",
        "mm",
        "across the longest diameter, in its plane",
        "the longest chord of the outline's convex hull that is perpendicular to the longest diameter, in its plane",
        _RECIST + " (short axis)",
        "the diameter",
        each("tumour"),
        perpendicular,
        "patient",
        needs=VOLUME,
    ),
    Measure(
        "longest_diameter_3d",
        "tumour",
        "mm",
        "longest diameter in any direction",
        "the longest distance between two points of the surface",
        "IBSI, maximum 3D diameter: Zwanenburg et al., Radiology 295, 2020",
        "the diameter",
        each("tumour"),
        longest_anywhere,
        needs=VOLUME,
    ),
)
