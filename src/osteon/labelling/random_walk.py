"""The random walker with priors: how probable it is that a walk from a voxel ends inside rather than outside.

Grady, IEEE TPAMI 28, 2006, and with priors CVPR 2005.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

WEAKEST = 1e-4
"""The weight of an edge across which no walk goes, so that no voxel is cut off."""
TOLERANCE = 1e-3
MAX_STEPS = 200


def random_walk(
    image: Floats,
    inside: npt.NDArray[np.bool_],
    outside: npt.NDArray[np.bool_],
    prior: Floats,
    *,
    trust: float,
    walls: npt.NDArray[np.bool_] | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Floats:
    """The probabilities `[i, j, k]` that a walk which prefers steps between like voxels ends inside.

    Args:
        image: `[i, j, k]`, in units of its own noise: two voxels that differ by 1 are still much alike.
        inside: `[i, j, k]`: seeds, where the probability is 1.
        outside: `[i, j, k]`: seeds, where it is 0.
        prior: `[i, j, k]` probabilities that each voxel has by itself.
        trust: The weight of the prior beside that of an edge between two voxels of one intensity.
        walls: `[i, j, k]`: voxels that no walk enters, and that so have no part in the others'.
        spacing: Lengths of a voxel's edges; only how they compare matters.
    """
    from scipy import sparse
    from scipy.sparse.linalg import cg

    number = np.arange(image.size).reshape(image.shape)
    firsts, seconds, weights = [], [], []
    for axis, length in enumerate(spacing):
        if image.shape[axis] < 2:
            continue
        along, places = np.moveaxis(image, axis, 0), np.moveaxis(number, axis, 0)
        nearness = np.float32((min(spacing) / length) ** 2)
        steps = nearness * np.exp(-np.square(along[1:] - along[:-1])) + np.float32(WEAKEST)
        if walls is not None:
            closed = np.moveaxis(walls, axis, 0)
            steps[closed[1:] | closed[:-1]] = 0
        weights.append(steps.ravel())
        firsts.append(places[:-1].ravel())
        seconds.append(places[1:].ravel())
    first, second, weight = (np.concatenate(parts) for parts in (firsts, seconds, weights))
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    edges = sparse.csr_array((np.concatenate([weight, weight]), pairs), shape=(image.size, image.size))
    degree = np.asarray(edges.sum(axis=1)).ravel() + trust
    known = (inside | outside).ravel()
    value = np.where(known, inside.ravel(), prior.ravel()).astype(np.float64)
    free = np.flatnonzero(~known)
    if not len(free):
        return np.asarray(value.reshape(image.shape), np.float32)
    rows = edges[free]
    target = trust * value[free] + rows[:, np.flatnonzero(known)] @ value[known]
    system = sparse.diags_array(degree[free]) - rows[:, free]
    easier = sparse.diags_array(1 / degree[free])
    value[free], _ = cg(system.tocsr(), target, x0=value[free], rtol=TOLERANCE, maxiter=MAX_STEPS, M=easier)
    return np.asarray(value.reshape(image.shape), np.float32)
