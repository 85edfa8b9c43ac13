"""Pictures: joint spaces between neighbours, and where bones lie over one another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from osteon.measuring.body import Body
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading
from osteon.measuring.measure import Measure, Target
from osteon.measuring.scene import Scene
from osteon.measuring.shape import principal_axes
from osteon.measuring.uncertainty import COMMON_SD_VOXELS, LOCAL_SD_VOXELS

Floats = npt.NDArray[np.float64]

NEIGHBOURS = 0.35
"""Part of the narrower bone's width up to which two bones are neighbours."""
FACING = 1.5
"""Times the least distance up to which points of two outlines face each other."""


def neighbours(scene: Scene) -> Iterator[Target]:
    """Pairs of bodies of a picture that are close to each other and do not overlap."""
    for one, other in combinations(scene.bodies.values(), 2):
        width = min(body.find(principal_axes).lengths[1] for body in (one, other))
        gap = NEIGHBOURS * width
        low = np.maximum(one.surface.points.min(axis=0), other.surface.points.min(axis=0))
        high = np.minimum(one.surface.points.max(axis=0), other.surface.points.max(axis=0))
        if (low - high).max() <= gap and not _shared(one, other).any() and _distances(one, other)[0].min() <= gap:
            yield Target((one.name, other.name), (one, other), side=one.side if one.side == other.side else None)


def overlapping(scene: Scene) -> Iterator[Target]:
    """Pairs of bodies of a picture that share pixels."""
    for one, other in combinations(scene.bodies.values(), 2):
        if _shared(one, other).any():
            yield Target((one.name, other.name), (one, other), side=one.side if one.side == other.side else None)


def _shared(one: Body, other: Body) -> npt.NDArray[np.bool_]:
    """The pixels that two masks of one grid share; empty where their boxes share none."""
    offset = other.geometry.affine_ras[:3, 3] - one.geometry.affine_ras[:3, 3]
    steps = np.rint(np.linalg.solve(one.geometry.affine_ras[:3, :3], offset)).astype(int)
    low = np.maximum(steps, 0)
    high = np.minimum(np.array(one.mask.shape), steps + other.mask.shape)
    if (high <= low).any():
        return np.zeros((0, 0, 0), bool)
    here = one.mask[tuple(map(slice, low, high))]
    return np.asarray(here & other.mask[tuple(map(slice, low - steps, high - steps))])


def _distances(one: Body, other: Body) -> tuple[Floats, npt.NDArray[np.int64]]:
    """From each point of an outline to the nearest of another, and which it is."""
    distances, nearest = KDTree(other.surface.points).query(one.surface.points)
    return np.asarray(distances), np.asarray(nearest)


def _space(one: Body, other: Body) -> tuple[Floats, tuple[Floats, Floats]]:
    """Distances between points that face each other, both ways, and the two points that are nearest."""
    there, nearest = _distances(one, other)
    back, _ = _distances(other, one)
    at = int(there.argmin())
    reach = FACING * there[at]
    ends = one.surface.points[at], other.surface.points[nearest[at]]
    return np.concatenate([there[there <= reach], back[back <= reach]]), ends


def least_space(one: Body, other: Body) -> Reading:
    """Millimetres, or pixels."""
    distances, ends = _space(one, other)
    return Reading.of(distances.min(), [Drawing.of("line", "least joint space", *ends)])


def mean_space(one: Body, other: Body) -> Reading:
    """Millimetres, or pixels."""
    distances, ends = _space(one, other)
    return Reading.of(distances.mean(), [Drawing.of("line", "least joint space", *ends)])


def overlap(one: Body, other: Body) -> Reading:
    """Square millimetres, or pixels."""
    shared = _shared(one, other)
    if not shared.any():
        raise NotMeasuredError("they do not overlap")
    edges = [edge for edge, size in zip(one.geometry.spacing_mm, one.mask.shape, strict=True) if size > 1]
    edge = float(np.sqrt(np.prod(edges)))
    flat = shared.squeeze(axis=tuple(axis for axis, size in enumerate(one.mask.shape) if size == 1))
    rim = np.count_nonzero(flat & ~ndimage.binary_erosion(flat, np.ones((3, 3))))
    sd = (
        float(np.hypot(COMMON_SD_VOXELS, LOCAL_SD_VOXELS)) * edge * rim * edge / np.sqrt(2)
    )  # two borders, half of it each
    return Reading.of(np.count_nonzero(shared) * edge**2, sd=sd)


PICTURE = frozenset({"picture"})
MEASURES = (
    *(
        Measure(
            f"joint_space_{name}",
            "joint",
            "mm",
            f"{what} width of the space between two neighbours",
            f"{what} distance between points of the two outlines that face each other: those no further from the "
            f"other outline than {FACING:g} times the least distance; neighbours are bones nearer than "
            f"{NEIGHBOURS:.0%} of the narrower one's width that do not overlap",
            "joint-space width by outlines: Duryea et al., Med Phys 27, 2000",
            "the line between the nearest points",
            neighbours,
            read,
            "picture",
            needs=PICTURE,
            pixels=True,
            whole=False,
        )
        for name, what, read in (("least", "least", least_space), ("mean", "mean", mean_space))
    ),
    Measure(
        "overlap",
        "joint",
        "mm2",
        "area in which two bones lie over one another",
        "pixels of both × area of a pixel",
        "pixel counting",
        "nothing",
        overlapping,
        overlap,
        "picture",
        needs=PICTURE,
        pixels=True,
        whole=False,
    ),
)
