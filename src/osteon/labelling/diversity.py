"""How different scans are, by features, so that a batch of suggestions covers many kinds of scans.

Scans are taken farthest first (the greedy k-centre of core-set selection: Sener and Savarese, ICLR 2018,
arXiv:1708.00489): each suggestion makes those near it less interesting. Two of one subject count as similar whatever
their features are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SIMILAR = 0.1
"""Two scans nearer than this part of the median distance are nearly the same. It is low since a cohort of two kinds has
a great median; what is merely near is held back by its distance."""
MAX_SAMPLE = 500
"""Scans among which the median distance is taken."""

Floats = npt.NDArray[np.floating[Any]]


def standardise(features: Sequence[Sequence[float]]) -> Floats:
    """`[scan, feature]` with mean 0 and standard deviation 1 over the scans; NaN throughout where a scan has none.

    Args:
        features: Of each scan; empty where they are unknown.
    """
    length = max(map(len, features), default=0)
    unknown = [float("nan")] * length
    array = np.array([row if len(row) == length else unknown for row in features], dtype=np.float32)
    array = array.reshape(len(features), length)
    known = array[~np.isnan(array).any(1)]
    if not known.size:
        return np.full((len(features), 1), np.nan, dtype=np.float32)
    spread = known.std(0)
    return np.asarray((array - known.mean(0)) / np.where(spread > 0, spread, 1), dtype=np.float32)


def distances(first: Floats, second: Floats) -> Floats:
    """`[n, m]` Euclidean distances between the rows of both; infinite where one is unknown."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.asarray(np.nan_to_num(np.sqrt(np.maximum(squares, 0)), nan=np.inf), dtype=np.float32)


def similar_distance(features: Floats) -> float:
    """The distance below which two scans are nearly the same; 0 where nothing is known."""
    few = features[:: max(1, -(-len(features) // MAX_SAMPLE))]
    pairs = distances(few, few)[np.triu_indices(len(few), 1)]
    pairs = pairs[np.isfinite(pairs)]
    return SIMILAR * float(np.median(pairs)) if len(pairs) else 0.0


def quantiles(values: Floats, among: Floats | None = None) -> Floats:
    """The place of each value among those that are finite, 0 the lowest … 1 the highest; ½ for what is not finite.

    Equal values share a place; with places the scales of different figures do not matter.

    Args:
        values: Of each scan.
        among: The values that make the scale; None: these.
    """
    ordered = np.sort(values if among is None else among)
    ordered = ordered[np.isfinite(ordered)]
    known = np.isfinite(values)
    result = np.full(len(values), 0.5)
    if len(ordered) > 1:
        below, up_to = (np.searchsorted(ordered, values[known], side) for side in ("left", "right"))
        result[known] = np.clip((below + up_to - 1) / 2 / (len(ordered) - 1), 0, 1)
    return result
