"""Where a registration begins: transforms that lay a bone, or a part of one, roughly upon another."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from osteon.measuring.registration import about
from osteon.measuring.registration_pairs import Floats, apply


def principal_frame(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Centre `[3]`, axes `[3, 3]` (rows, right-handed, the longest first) and extents `[3]` of points."""
    centre = points.mean(axis=0)
    axes = np.linalg.svd(points - centre, full_matrices=False)[2]
    axes[2] = np.cross(axes[0], axes[1])
    along = (points - centre) @ axes.T
    return centre, axes, np.asarray(along.max(axis=0) - along.min(axis=0))


def whole_starts(source: Floats, reference: Floats, *, turns: int = 6) -> list[Floats]:
    """Transforms of the points of a bone, or of a part of one, to begin with: both ends up, turned about its axis.

    The first moves it without a turn.
    """
    centre, axes, extents = principal_frame(source)
    other, own, lengths = principal_frame(reference)
    starts = [about(np.eye(3), centre, other - centre)]
    spare = (lengths[0] - extents[0]) / 2
    shifts = (0.0,) if abs(spare) < 0.05 * lengths[0] else (-spare, 0.0, spare)
    for end in (1, -1):
        flipped = axes * np.array([end, 1, end])[:, None]
        for turn in range(turns):
            spin = Rotation.from_rotvec(2 * np.pi * turn / turns * own[0]).as_matrix()
            rotation = spin @ own.T @ flipped
            starts += [about(rotation, centre, other - centre + shift * own[0]) for shift in shifts]
    return starts


def near_starts(source: Floats, start: Floats, *, degrees: float = 22.0, slide: float = 10.0) -> list[Floats]:
    """A start and others near it: turned about each axis of the points, and moved along their longest one."""
    placed = apply(start, source)
    centre, axes, _ = principal_frame(placed)
    turned = [
        about(Rotation.from_rotvec(np.radians(way * degrees) * axis).as_matrix(), centre) @ start
        for axis in axes
        for way in (1, -1)
    ]
    moved = [about(np.eye(3), centre, way * slide * axes[0]) @ start for way in (1, -1)]
    return [start, *turned, *moved]
