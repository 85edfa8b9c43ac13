"""How far two surfaces lie apart: Hausdorff distance, HD95, ASSD and the surface Dice at tolerances.

The definitions stand in docs/evaluate.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from osteon.core.geometry import Unit
from osteon.evaluating.surface_elements import Floats, SurfaceElements, surface_elements

PERCENT = 95.0
"""The part of a surface that HD95 looks at."""
SLACK = 1e-6
"""Part of a tolerance by which a distance may exceed it: files keep spacings in 32 bits, and 1.0000001 is 1."""
DENSE = 8
"""Where more than one corner in so many must be searched for (noise), a map of all distances is made faster."""
_LEAF = 32
"""Points in a leaf of the search tree: measured on vertebrae; 10 (scipy's) takes a tenth longer."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """How far each element of one surface lies from the nearest element of the other.

    Attributes:
        distances: `[n]` mm (px).
        sizes: `[n]` area or length of the elements.
    """

    distances: Floats
    sizes: Floats

    def within(self, tolerance: float) -> float:
        """Area (length) of the elements no further away than `tolerance`."""
        return float(self.sizes[self.distances <= tolerance * (1 + SLACK)].sum())

    def percentile(self, percent: float) -> float:
        """The smallest distance within which at least so many percent of the surface lie."""
        order = np.argsort(self.distances)
        reached = np.cumsum(self.sizes[order])
        place = int(np.searchsorted(reached, percent / 100 * reached[-1]))
        return float(self.distances[order[min(place, len(order) - 1)]])


def distance_metric_names(unit: Unit, tolerances: Sequence[float]) -> tuple[str, ...]:
    """The names of the metrics of `measure_distances`, each with its unit."""
    return f"hd_{unit}", f"hd95_{unit}", f"assd_{unit}", *(f"nsd_{tolerance:g}{unit}" for tolerance in tolerances)


def measure_distances(
    prediction: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_], steps: Floats, tolerances: Sequence[float]
) -> tuple[float, ...]:
    """HD, HD95 and ASSD in mm (px), then the NSD, 0 … 1, at each tolerance.

    Args:
        prediction: `[i, j, k]`, or `[i, j]` of a picture; not empty. Beyond its edges there is nothing.
        reference: The same of the reference.
        steps: `[d, d]`, as `surface_elements.voxel_steps` gives them.
        tolerances: In mm (px).
    """
    found, truth = surface_elements(prediction, steps), surface_elements(reference, steps)
    both = (
        SurfaceDistances(surface_distances(found, truth), found.sizes),
        SurfaceDistances(surface_distances(truth, found), truth.sizes),
    )
    total = sum(float(part.sizes.sum()) for part in both)
    return (
        max(float(part.distances.max()) for part in both),
        max(part.percentile(PERCENT) for part in both),
        sum(float(part.distances @ part.sizes) for part in both) / total,
        *(sum(part.within(tolerance) for part in both) / total for tolerance in tolerances),
    )


def surface_distances(own: SurfaceElements, other: SurfaceElements) -> Floats:
    """`[n]` distance from each of `own`'s elements to the nearest of `other`'s; both not empty.

    Where both have an element at the same corner it is 0, and nothing need be searched.
    """
    place = np.minimum(np.searchsorted(other.corners, own.corners), len(other.corners) - 1)
    apart = other.corners[place] != own.corners
    distances = np.zeros(len(apart))
    if DENSE * np.count_nonzero(apart) > np.prod(own.grid) and _rectangular(own.steps):
        empty = np.ones(other.grid, dtype=bool)
        empty.flat[other.corners] = False
        return ndimage.distance_transform_edt(empty, np.abs(np.diag(own.steps))).ravel()[own.corners]
    if apart.any():
        tree = cKDTree(other.points, leafsize=_LEAF, balanced_tree=False, compact_nodes=False)
        distances[apart] = tree.query(own.points[apart])[0]
    return distances


def _rectangular(steps: Floats) -> bool:
    return bool((np.abs(steps - np.diag(np.diag(steps))) < 1e-9 * np.abs(steps).max()).all())
