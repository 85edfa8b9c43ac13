"""A vertebral body's end plates in the world, read from its surface: three points and a normal of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.measuring.body import LARGE_PIECE, Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.shape import unit
from osteon.measuring.vertebra_parts import BodyParts, PlateParts, edge_along, find_parts, fit_curvature, fit_plane

Floats = npt.NDArray[np.float64]

FEWEST = 10
"""Points of the surface in a part of an end plate."""
LEAN_VOXELS = 0.25
"""Standard deviation of the border at an end plate's edge by errors that are longer than it, and so than those of
replicas."""
COARSE_MM = 2.5
"""Length of voxels along a vertebra's axis beyond which its figures are flagged."""
_SIDEWAYS = 0.7
"""Cosine of the angle with a vertebra's left-right axis within which a face of the field of view is at its side."""


@dataclass(frozen=True, eq=False)
class Plate:
    """An end plate.

    Attributes:
        normal: `[3]` unit vector, out of the body.
        centre: `[3]` of the plane through all of it.
        front: `[3]` where it meets the front wall in the middle plane: its front third, carried on to the wall.
        middle: `[3]` halfway between the walls.
        back: `[3]` as `front`, at the back wall.
    """

    normal: Floats
    centre: Floats
    front: Floats
    middle: Floats
    back: Floats


@dataclass(frozen=True, eq=False)
class Vertebra:
    """A vertebral body.

    Attributes:
        name: Of its structure.
        frame: `[3, 3]` unit vectors to the right, forwards and upwards, a row each.
        centre: `[3]` between its end plates and walls.
        half_depth: From the middle to the front wall.
        half_width: From the middle to a side.
        coarse_mm: Length of a voxel along its axis.
        flags: What speaks against figures of it.
    """

    name: str
    frame: Floats
    centre: Floats
    half_depth: float
    half_width: float
    coarse_mm: float
    flags: tuple[str, ...]
    _superior: Plate | str
    _inferior: Plate | str

    def lean_sd_deg(self, half_length: float) -> float:
        """Standard deviation by which errors that are longer than an end plate lean it, over half of its length."""
        return float(np.degrees(LEAN_VOXELS * self.coarse_mm / half_length))

    @property
    def superior(self) -> Plate:
        """The upper end plate. Raises NotMeasuredError."""
        return _or_raise(self._superior)

    @property
    def inferior(self) -> Plate:
        """The lower end plate. Raises NotMeasuredError."""
        return _or_raise(self._inferior)

    def heights(self) -> Floats:
        """`[3]` distances of the end plates along its axis in front, in the middle and behind. Raises as these."""
        upper, lower = self.superior, self.inferior
        ends = zip((upper.front, upper.middle, upper.back), (lower.front, lower.middle, lower.back), strict=True)
        return np.array([(above - below) @ self.frame[2] for above, below in ends])


def find_vertebra(body: Body) -> Vertebra:
    """The vertebral body in a label; the parts of the surface that are its end plates are the same for all replicas."""
    parts = body.find_shared(find_parts)
    if body.broken:
        _check_pieces(body, parts)
    axis = parts.frame[2]
    plates = [
        _plate(body, parts, own, way, name)
        for own, way, name in ((parts.superior, 1, "upper"), (parts.inferior, -1, "lower"))
    ]
    upward = [way * plate.normal for plate, way in zip(plates, (1, -1), strict=True) if isinstance(plate, Plate)]
    if upward:
        axis = unit(np.sum(upward, axis=0))
    ahead = unit(parts.frame[1] - (parts.frame[1] @ axis) * axis)
    middles = [plate.middle for plate in plates if isinstance(plate, Plate)]
    centre = np.mean(middles, axis=0) if len(middles) == 2 else parts.centre
    return Vertebra(
        body.name,
        np.stack([np.cross(ahead, axis), ahead, axis]),
        centre,
        parts.front,
        parts.half_width,
        edge_along(body.geometry, axis),
        _flags(body, parts, axis),
        plates[0],
        plates[1],
    )


def _plate(body: Body, parts: BodyParts, own: PlateParts, way: int, name: str) -> Plate | str:
    """An end plate, or why there is none."""
    if own.cut:
        return f"the {name} end plate of {body.name} is cut by the field of view"
    if not len(own.plane) or min(map(len, own.zones)) < FEWEST:
        return f"the {name} end plate of {body.name} was not found"
    places, weights = (body.surface.points - parts.centre) @ parts.frame.T, body.surface.weights
    height, right, ahead = fit_plane(places[own.plane], weights[own.plane])
    ends = [
        float(np.average(places[wall, 1], weights=weights[wall])) if len(wall) >= 3 else usual
        for wall, usual in zip(own.walls, (parts.front, parts.back), strict=True)
    ]
    every = np.concatenate(own.zones)
    curved = fit_curvature(places[every], weights[every])
    points = []
    for zone, at in zip(own.zones, (ends[0], (ends[0] + ends[1]) / 2, ends[1]), strict=True):
        local = places[zone] - np.array([0.0, at, 0.0])
        local[:, 2] -= places[zone, :2] ** 2 @ curved
        level = fit_plane(local, weights[zone])[0] + curved[1] * at**2
        points.append(np.array([0.0, at, level]) @ parts.frame + parts.centre)
    normal = unit([-right, -ahead, 1.0]) @ parts.frame * way
    centre = np.array([0.0, 0.0, height]) @ parts.frame + parts.centre
    return Plate(normal, centre, *points)


def _flags(body: Body, parts: BodyParts, axis: Floats) -> tuple[str, ...]:
    found = []
    if not parts.arch and any(abs(outwards @ parts.frame[0]) > _SIDEWAYS for outwards in body.cut):
        found.append(f"the field of view cuts a side of {body.name}")
    coarse = edge_along(body.geometry, axis)
    if coarse > COARSE_MM:
        found.append(f"voxels are {coarse:.1f} mm long along the axis of {body.name}")
    return tuple(found)


def _check_pieces(body: Body, parts: BodyParts) -> None:
    """Raise NotMeasuredError where large pieces of a label lie one above the other: they are two bones."""
    from scipy import ndimage

    labels, count = ndimage.label(body.mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes >= LARGE_PIECE * sizes.sum()) + 1
    index = np.array(ndimage.center_of_mass(labels > 0, labels, large))
    levels = body.geometry.to_world(index) @ parts.frame[2]
    if levels.max() - levels.min() > parts.half_width / 2:
        raise NotMeasuredError(f"{body.name} is in {len(large)} large pieces, one above the other")


def _or_raise(plate: Plate | str) -> Plate:
    if isinstance(plate, str):
        raise NotMeasuredError(plate)
    return plate
