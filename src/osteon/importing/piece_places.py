"""Whether the same value lies on unlike places in different cases: then values may number pieces, and are no classes.

From one value to another the way is about the same in every case where they are bones: the femur lies above the tibia,
L1 above L2, however much of the body a scan shows. Where values number pieces, it points anywhere. The measure is the
part of the ways' squared length that their mean has, over all pairs of values: 1 where all agree, about 0 by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from osteon.core.labels import Segmentation
from osteon.core.structure_boxes import structure_masks

Place = tuple[float, float, float]
FEWEST = 3
"""Cases that a pair of values must be in, and that have several values."""
UNLIKE = 0.4
"""Real bones and parts have .83 and more, in any four cases; values in random order between −.3 and .4."""
STEADY = 0.3
"""A value that spreads less than this part of what all spread over stays where it is."""


def measure_places(segmentation: Segmentation) -> dict[str, Place]:
    """The centroid of each structure along R, A and S, as a part of the box that holds all of them: from 0 to 1."""
    grid, centres, corners = segmentation.geometry, {}, []
    for structure, box, mask in structure_masks(segmentation):
        rows = [np.count_nonzero(mask, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
        middle = [float(row @ np.arange(len(row))) / row.sum() for row in rows]
        centres[structure.name] = grid.to_world(np.add(box.first, middle)[None])[0]
        corners += [box.first, np.subtract(box.stop, 1)]
    if not centres:
        return {}
    world = grid.to_world(np.array(corners, dtype=np.float64))
    lowest, size = world.min(axis=0), np.maximum(np.ptp(world, axis=0), 1e-9)
    return {name: tuple(((centre - lowest) / size).tolist()) for name, centre in centres.items()}


def are_unlike(cases: Sequence[Mapping[str, Place]]) -> bool:
    """Whether values look as if they numbered pieces.

    The ways between values point anywhere, though each case be mirrored so that they agree best (left and right arms
    are mixed in many cohorts); and no value stays where it is, as a bone does of which another value marks a lesion.

    Args:
        cases: Where the values of each case lie, from `measure_places`.
    """
    names = sorted({name for case in cases for name in case})
    places = np.array([[case.get(name, (np.nan,) * 3) for name in names] for case in cases], dtype=np.float64)
    places = places.reshape(len(cases), len(names), 3) - 0.5
    pairs = [places[:, b] - places[:, a] for a, b in combinations(range(len(names)), 2)]
    ways = [way for way in pairs if np.count_nonzero(~np.isnan(way[:, 0])) >= FEWEST]
    if not ways:
        return False
    flips = _mirror(np.stack(ways))[:, None] * np.array([1.0, 0.0, 0.0]) + np.array([0.0, 1.0, 1.0])
    agreement = [_agreement(way * flips) for way in ways]
    if sum(agreed for agreed, _ in agreement) >= UNLIKE * sum(length for _, length in agreement):
        return False
    placed = places * flips[:, None]
    counts = np.count_nonzero(~np.isnan(placed[..., 0]), axis=0)
    own = np.sqrt(np.nanvar(placed[:, counts >= FEWEST], axis=0).sum(axis=-1))
    everywhere = np.sqrt(np.nanvar(placed.reshape(-1, 3), axis=0).sum())
    return bool((own > STEADY * everywhere).all())


def _agreement(way: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Of ways `[case, 3]` the squared length of their mean, without what chance adds, and of all of them."""
    known = way[~np.isnan(way[:, 0])]
    total, n = float((known**2).sum()), len(known)
    return (n * n * float((known.mean(axis=0) ** 2).sum()) - total) / (n - 1), total


def _mirror(ways: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 or −1 for each case: the side along R on which its ways `[pair, case, 3]` agree best with those of others."""
    _, _, parts = np.linalg.svd(np.nan_to_num(ways[..., 0]), full_matrices=False)
    return np.where(parts[0] < 0, -1.0, 1.0)
