"""Where each piece of a broken bone belongs on the intact bone, and the movement that takes it there.

The intact bone is laid upon all pieces together, then upon the largest one, which stays where it is; each other piece
is registered to the intact bone, beginning near where it lies. What takes it from there to where the bone, laid upon
the largest piece, has it is its reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from scipy.spatial.transform import Rotation

from osteon.core.random_streams import item_generator
from osteon.measuring.body import Body
from osteon.measuring.broken_bones import MAX_PLACED, too_small
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.registration import NEAR_MM, Fit, difference, inverse, refine, register, spread_points
from osteon.measuring.registration_pairs import Cloud, Floats, apply
from osteon.measuring.registration_starts import near_starts, whole_starts
from osteon.measuring.shape_model import ShapeModel, fit_shape

POINTS, REFERENCE_POINTS = 1200, 20_000
REPLICA_STEPS = 4
"""From the original's end to a replica's, of the same counterparts: more change nothing."""
UNION_NEAR_MM = 8.0
"""Distance within which points of displaced pieces still count as near the intact bone."""
MIN_SHARE = 0.25
"""Part of a piece's surface that must have a counterpart; the rest is where it broke."""
MAX_RMS_MM = 1.6
"""Of the distances between counterparts: beyond, it is another bone."""
OUTSIDE_MM, MAX_OUTSIDE = 2.0, 0.1
"""Part of a piece's surface that may lie so far outside the intact bone: what broke lies inside it."""
ALIKE = 1.08
"""An end whose cost is less than this times the best one's is as good."""
_PATCH_MM = 15.0
"""Length over which what a bone differs by from another keeps its sign."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A piece and where it belongs.

    Attributes:
        fit: From the world, where the piece lies, to the intact bone.
        reduction: `[4, 4]` from where it lies to where it belongs, RAS mm.
        centre: `[3]` of the piece, where it lies.
        flags: What speaks against it.
    """

    fit: Fit
    reduction: Floats
    centre: Floats
    flags: tuple[str, ...] = ()

    @cached_property
    def displacement(self) -> Floats:
        """`[3]` how far its centre has moved away, mm, RAS."""
        return np.asarray(self.centre - apply(self.reduction, self.centre[None])[0])

    @cached_property
    def rotation(self) -> Floats:
        """`[3]` how it has turned away: degrees along the axis, RAS."""
        return np.asarray(np.degrees(Rotation.from_matrix(self.reduction[:3, :3].T).as_rotvec()))


@dataclass(frozen=True, eq=False)
class Laid:
    """All pieces of a bone.

    Attributes:
        pieces: By name; why it fits nowhere.
        intact: The intact bone's points; of a model, in this bone's shape.
        matrix: `[4, 4]` from the intact bone to where it lies upon the largest piece.
    """

    pieces: dict[str, Placed | NotMeasuredError]
    intact: Cloud
    matrix: Floats


@dataclass(frozen=True)
class Placement:
    """Places the pieces of a bone: a function of the largest one, for `Body.find`."""

    intact: Body

    def __call__(self, main: Body) -> Laid:
        """Raises NotMeasuredError where the largest one fits nowhere."""
        return _place(main.siblings[:MAX_PLACED], self.intact)


@dataclass(frozen=True)
class Refit:
    """Registers a replica of a piece again, from where the original was found to belong, to the same counterparts."""

    main: Body
    intact: Body

    def __call__(self, replica: Body) -> Fit:
        """To a replica of the intact bone."""
        laid = self.main.find(Placement(self.intact.original or self.intact))
        first = laid.pieces[replica.name]
        if isinstance(first, NotMeasuredError):
            raise first
        cloud = replica.find(cloud_of)
        reference = laid.intact if isinstance(self.intact, ShapeModel) else self.intact.find(reference_cloud)
        fit, offsets = first.fit, _signed_residuals(replica, cloud, first.fit)
        return refine(
            cloud, reference, fit.matrix, reach=NEAR_MM, steps=REPLICA_STEPS, offsets=offsets, nearest=fit.nearest
        )


def placed(piece: Body, main: Body, intact: Body) -> Placed:
    """Where a piece belongs. Raises NotMeasuredError.

    Args:
        piece: Which; a replica with replicas of the others.
        main: The largest piece of the same bone.
        intact: The intact bone.
    """
    original = main.original or main
    first = original.find(Placement(intact.original or intact)).pieces.get(piece.name)
    if isinstance(first, NotMeasuredError):
        raise first
    if first is None:
        raise NotMeasuredError(too_small([piece]) or f"it is not among the {MAX_PLACED} largest pieces")
    if main.original is None:
        return first
    return piece.find(PlacedAgain(main, intact, first.flags))


@dataclass(frozen=True)
class PlacedAgain:
    """Where a replica of a piece belongs, of replicas of the others: a function of it, for `Body.find`."""

    main: Body
    intact: Body
    flags: tuple[str, ...]

    def __call__(self, replica: Body) -> Placed:
        """Raises NotMeasuredError."""
        again = Refit(self.main.original or self.main, self.intact)
        return _placed(replica, replica.find(again), self.main.find(again).matrix, self.flags)


def _cloud(body: Body, count: int = POINTS) -> Cloud:
    """The same points of a body and of its replicas."""
    chosen = spread_points((body.original or body).surface, count)
    return Cloud(body.surface.points[chosen], body.surface.normals[chosen])


def cloud_of(body: Body) -> Cloud:
    """Points of a piece."""
    return _cloud(body)


def reference_cloud(body: Body) -> Cloud:
    """Points of an intact bone."""
    return _cloud(body, REFERENCE_POINTS)


def _place(pieces: tuple[Body, ...], intact: Body) -> Laid:
    clouds = {body.name: body.find(cloud_of) for body in pieces if not too_small([body])}
    main, *others = (body for body in pieces if body.name in clouds or body is pieces[0])
    if main.name not in clouds:
        raise NotMeasuredError(too_small([main]))
    reference = intact.cloud if isinstance(intact, ShapeModel) else intact.find(reference_cloud)
    areas = [body.surface.area for body in pieces if body.name in clouds]
    whole = union(list(clouds.values()), areas)
    ends = register(whole, reference, whole_starts(whole.points, reference.points), reach=30, near=UNION_NEAR_MM)
    around = [start for end in ends[:2] for start in near_starts(clouds[main.name].points, end.matrix)]
    rough = UNION_NEAR_MM if isinstance(intact, ShapeModel) else NEAR_MM
    fits = {main.name: register(clouds[main.name], reference, around, reach=20, near=rough)}
    for body in others:
        cloud = clouds[body.name]
        laid, rough_end = fits[main.name][0].matrix, ends[0].matrix
        same = difference(laid, rough_end, cloud.points.mean(axis=0)) < 1
        starts = [laid] if same else [laid, rough_end]
        near = [one for start in starts for one in near_starts(cloud.points, start)]
        fits[body.name] = register(cloud, reference, near, reach=20, near=rough)
    if isinstance(intact, ShapeModel):
        names = list(fits)
        reference, matrices = fit_shape(intact, [clouds[n] for n in names], [fits[n][0].matrix for n in names])
        fits = {
            name: register(clouds[name], reference, near_starts(clouds[name].points, matrix), reach=8)
            for name, matrix in zip(names, matrices, strict=True)
        }
    _check(main, fits[main.name][0], intact)
    laid = fits[main.name][0].matrix
    found: dict[str, Placed | NotMeasuredError] = {}
    for body in (main, *others):
        try:
            _check(body, fits[body.name][0], intact)
        except NotMeasuredError as error:
            found[body.name] = error
            continue
        found[body.name] = _placed(body, fits[body.name][0], laid, _doubts(body, fits[body.name], intact))
    return Laid(found, reference, inverse(laid))


def _placed(body: Body, fit: Fit, laid: Floats, flags: tuple[str, ...]) -> Placed:
    return Placed(
        fit, inverse(laid) @ fit.matrix, np.average(body.surface.points, axis=0, weights=body.surface.weights), flags
    )


def union(clouds: Sequence[Cloud], areas: Sequence[float], count: int = POINTS) -> Cloud:
    """One cloud of several, each with as many points as its area has a part of all."""
    parts = []
    for cloud, area in zip(clouds, areas, strict=True):
        wanted = max(8, round(count * area / sum(areas)))
        parts.append(cloud.take(np.unique(np.linspace(0, len(cloud.points) - 1, wanted).astype(np.int64))))
    return Cloud(np.concatenate([p.points for p in parts]), np.concatenate([p.normals for p in parts]))


def _check(body: Body, fit: Fit, intact: Body) -> None:
    outside = float((fit.residuals < -OUTSIDE_MM).mean())
    if fit.share < MIN_SHARE or fit.rms > MAX_RMS_MM or outside > MAX_OUTSIDE:
        raise NotMeasuredError(
            f"{body.name} does not fit {intact.name}: {outside:.0%} of its surface lies outside, "
            f"{fit.share:.0%} on its surface, {fit.rms:.1f} mm away"
        )


def _doubts(body: Body, fits: Sequence[Fit], intact: Body) -> tuple[str, ...]:
    doubts = []
    if isinstance(intact, ShapeModel):
        doubts.append(f"{intact.name} is of others: by how much this bone differs from it is not in the interval")
    if any(fit.cost < ALIKE * fits[0].cost for fit in fits[1:]):
        doubts.append(f"{body.name} fits {intact.name} in several places about as well")
    if len(body.cut):
        doubts.append(f"{body.name} is cut by the field of view")
    if len(intact.cut):
        doubts.append(f"{intact.name}, which it is compared with, is cut by the field of view")
    return tuple(doubts)


def _signed_residuals(body: Body, cloud: Cloud, fit: Fit) -> Floats:
    """Distances that were left, with a random sign for each patch (wild bootstrap: Wu, Ann Stat 14, 1986).

    So the interval also tells of an intact bone, mirrored or of somebody else, that is not quite the same.
    """
    rng = item_generator(crc32(f"{body.name} {body.offset_mm}".encode()))
    cells = np.floor(cloud.points / _PATCH_MM + rng.uniform(0, 1, 3)).astype(np.int64)
    _, patch = np.unique(cells, axis=0, return_inverse=True)
    signs = rng.choice([-1.0, 1.0], patch.max() + 1)[patch.ravel()]
    left = fit.residuals - np.median(fit.residuals[fit.matched])
    return np.asarray(np.where(fit.matched, signs * left, 0.0))
