"""A model of a bone's shape, of one bone or of several: how it is made, and how it takes the shape of another.

It has a mean and modes. Those of several bones are their principal components (Cootes et al., Comput Vis Image Underst
61, 1995), points of one bone having been found on the others by a registration that bends; every model may also become
longer and thicker, a lone bone by more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from osteon.core.geometry import Geometry
from osteon.core.labels import Structure
from osteon.measuring.body import Body
from osteon.measuring.registration import inverse, register
from osteon.measuring.registration_pairs import (
    FLOOR_MM,
    Cloud,
    Floats,
    apply,
    find_pairs,
    robust_weights,
    small_movement,
    turn_rows,
)
from osteon.measuring.registration_starts import principal_frame, whole_starts
from osteon.measuring.surface import Surface
from osteon.measuring.uncertainty import REPLICAS

POINTS = 5000
"""Of a model."""
LONE_SD, SEVERAL_SD = 0.08, 0.03
"""Standard deviation of length and of thickness beside what components have, as parts; of one bone, of several."""
SEVERAL = 4
MAX_MODES = 10
_WIDTHS_MM = (60.0, 40.0, 25.0, 15.0, 10.0)
"""Over which neighbours move together while one bone is bent onto another, from step to step."""
_NEIGHBOURS = 12
_ROUNDS = 25
_PATCH_POINTS = 10.0
"""Points whose distances from a model are alike, and count as one."""


@dataclass(eq=False)
class ShapeModel(Body):
    """A model of a bone's shape; as a body it is its mean, and its replicas are itself.

    Attributes:
        cloud: `n` points and normals of the mean.
        modes: `[k, 3 n]` how the points move by one standard deviation of each mode, mm.
        bones: How many it is made from.
    """

    cloud: Cloud = field(default_factory=lambda: Cloud(np.zeros((0, 3)), np.zeros((0, 3))))
    modes: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    bones: int = 1

    def shape(self, weights: Floats) -> Cloud:
        """Its points where modes have `[k]` weights, with normals of their own."""
        points = self.cloud.points + (weights @ self.modes).reshape(-1, 3)
        return Cloud(points, _normals_of(points, self.cloud))


def make_model(structure: Structure, clouds: Sequence[Cloud]) -> ShapeModel:
    """A model of bones of one kind and one side, of about `POINTS` points each."""
    lengths = [principal_frame(cloud.points)[2][0] for cloud in clouds]
    first = int(np.argsort(lengths)[len(lengths) // 2])
    shapes = [clouds[first].points]
    shapes += [_bend(clouds[first], cloud) for n, cloud in enumerate(clouds) if n != first]
    mean, components = _components(np.array(shapes))
    cloud = Cloud(mean, _normals_of(mean, clouds[first]))
    modes = np.concatenate([components, _stretches(mean, SEVERAL_SD if len(clouds) >= SEVERAL else LONE_SD)])
    return _with_replicas(_as_body(structure, cloud, modes, len(clouds)))


def _as_body(structure: Structure, cloud: Cloud, modes: Floats, bones: int) -> ShapeModel:
    surface = Surface(cloud.points, np.zeros((0, 3), np.int64), cloud.normals)
    grid = Geometry((1, 1, 1), np.eye(4))
    whole = np.ones((1, 1, 1), np.bool_)
    return ShapeModel(structure, surface, grid, whole, np.zeros((0, 3)), (1.0,), cloud=cloud, modes=modes, bones=bones)


def _with_replicas(model: ShapeModel) -> ShapeModel:
    model._replicas = tuple(replace(model, original=model, _remembered={}) for _ in range(REPLICAS))
    return model


def mirrored_model(body: Body) -> ShapeModel:
    """The model of the other side's bone, for `Body.find`."""
    if not isinstance(body, ShapeModel):
        raise TypeError(f"{body.name} is no model")
    flip = np.array([-1.0, 1.0, 1.0])
    cloud = Cloud(body.cloud.points * flip, body.cloud.normals * flip)
    modes = (body.modes.reshape(-1, 3) * flip).reshape(body.modes.shape)
    side = {"left": "right", "right": "left"}.get(body.side or "")
    return _with_replicas(_as_body(body.structure.model_copy(update={"side": side}), cloud, modes, body.bones))


def fit_shape(model: ShapeModel, clouds: Sequence[Cloud], matrices: Sequence[Floats]) -> tuple[Cloud, list[Floats]]:
    """The model in the shape of a bone in pieces, and each piece's transform to it: found together (Gauss–Newton).

    Args:
        model: What takes the shape.
        clouds: Of the pieces.
        matrices: Transforms of the pieces to the model to begin with.

    Returns:
        The model's points in the bone's shape, and transforms of the pieces to it.
    """
    found, weights = list(matrices), np.zeros(len(model.modes))
    for step in range(_ROUNDS):
        shape = model.shape(weights)
        limit = max(20 * 0.8**step, 4.0)
        size = 6 * len(clouds) + len(weights)
        left, right = np.zeros((size, size)), np.zeros(size)
        residuals = []
        for number, (cloud, matrix) in enumerate(zip(clouds, found, strict=True)):
            pairs = find_pairs(cloud, shape, matrix)
            use = pairs.same & (pairs.distance < limit)
            if np.count_nonzero(use) < 6:
                continue
            weight = robust_weights(pairs.away, use)
            turns = turn_rows(pairs)
            bends = np.einsum("kij,ij->ik", model.modes.reshape(len(weights), -1, 3)[:, pairs.nearest], pairs.normals)
            rows = np.zeros((len(cloud.points), size))
            rows[:, 6 * number : 6 * number + 6], rows[:, 6 * len(clouds) :] = turns, -bends
            left += (rows * weight[:, None]).T @ rows
            right += (rows * weight[:, None]).T @ pairs.away
            residuals.append(pairs.away[weight > 0])
        if not residuals:
            break
        left_over = np.concatenate(residuals)
        # distances of the size of the noise, of as many points as are independent, against modes of size 1
        noise = max(float(np.sqrt((left_over**2).mean())), FLOOR_MM) ** 2 * _PATCH_POINTS
        prior = np.arange(6 * len(clouds), size)
        left[prior, prior] += noise
        right[prior] -= noise * weights
        left[np.diag_indices(size)] += 1e-6 * np.trace(left) / size
        solved = np.linalg.solve(left, right)
        weights = weights + solved[6 * len(clouds) :]
        for number, cloud in enumerate(clouds):
            turn = solved[6 * number : 6 * number + 6]
            placed = apply(found[number], cloud.points)
            found[number] = small_movement(turn, placed) @ found[number]
    return model.shape(weights), found


def _bend(first: Cloud, other: Cloud) -> Floats:
    """`[n, 3]` where each point of one bone lies on another, turned and moved to the first."""
    few = first.take(np.arange(0, len(first.points), 4))
    starts = whole_starts(few.points, other.points)
    fit = register(few, other, starts, reach=40, near=10)[0]
    points, normals = apply(fit.matrix, first.points), first.normals @ fit.matrix[:3, :3].T
    neighbours = KDTree(first.points)
    for width in _WIDTHS_MM:
        nodes = first.points[:: max(1, len(first.points) // 400)]
        distance, near = neighbours.query(nodes, k=min(400, len(first.points)))
        _, back = KDTree(nodes).query(first.points, k=8)
        spread = np.linalg.norm(nodes[back] - first.points[:, None], axis=2)
        mixing = np.exp(-(spread**2) / (2 * (width / 2) ** 2)) + 1e-12
        mixing /= mixing.sum(axis=1, keepdims=True)
        for _ in range(3):
            away, nearest = other.tree.query(points)
            same = (np.einsum("ij,ij->i", normals, other.normals[nearest]) > 0.5) & (away < width)
            move = other.points[nearest] - points
            weight = np.exp(-(distance**2) / (2 * (width / 2) ** 2)) * same[near]
            moved = np.einsum("ij,ijk->ik", weight, move[near]) / np.maximum(weight.sum(axis=1), 1e-9)[:, None]
            points = points + np.einsum("ij,ijk->ik", mixing, moved[back])
            normals = _normals_of(points, Cloud(points, normals))
    return np.asarray(apply(inverse(fit.matrix), points))


def _components(shapes: Floats) -> tuple[Floats, Floats]:
    """Mean `[n, 3]` and modes `[k, 3 n]` of shapes `[s, n, 3]`, turned and moved upon one another (Procrustes)."""
    mean = shapes[0]
    for _ in range(3):
        centre = mean.mean(axis=0)
        turned = []
        for shape in shapes:
            own = shape.mean(axis=0)
            rotation, _ = Rotation.align_vectors(mean - centre, shape - own)
            turned.append((shape - own) @ rotation.as_matrix().T + centre)
        mean = np.mean(turned, axis=0)
    if len(shapes) == 1:
        return mean, np.zeros((0, mean.size))
    away = (np.array(turned) - mean).reshape(len(shapes), -1)
    _, sizes, modes = np.linalg.svd(away, full_matrices=False)
    kept = min(len(shapes) - 1, MAX_MODES)
    return mean, modes[:kept] * (sizes[:kept] / np.sqrt(len(shapes) - 1))[:, None]


def _stretches(points: Floats, sd: float) -> Floats:
    """`[2, 3 n]`: longer, and thicker, by `sd` of what it is."""
    centre, axes, _ = principal_frame(points)
    local = points - centre
    along = np.outer(local @ axes[0], axes[0])
    return np.stack([sd * along.ravel(), sd * (local - along).ravel()])


def _normals_of(points: Floats, like: Cloud) -> Floats:
    """Normals of points whose neighbours are those of a similar cloud: planes through them, turned as there."""
    _, near = like.tree.query(like.points, k=min(_NEIGHBOURS, len(points)))
    around = points[near] - points[near].mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nij,nik->njk", around, around))[1][:, :, 0]
    return np.asarray(normals * np.sign(np.einsum("ij,ij->i", normals, like.normals))[:, None])
