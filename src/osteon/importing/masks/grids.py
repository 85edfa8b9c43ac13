"""On which of many scans' grids a mask lies, found without comparing it with each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import POSITION_TOLERANCE, Geometry, reorient_like
from osteon.dataset.label_placement import lies_within
from osteon.importing.masks.dicom import fits_grid
from osteon.importing.masks.files import MaskFile
from osteon.importing.masks.groups import ScanGroup

Key = tuple[object, ...]

_BESIDE = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))

ROUNDING_VOXELS = 1e-3
"""Voxels by which a grid that is then compared may seem further away than the tolerance, for rounding's sake."""


def lies_on_grid(mask: MaskFile, group: ScanGroup) -> bool:
    """Whether the mask lies on the scan's grid, its axes in any order and direction."""
    scan, mask_grid = group.scans[0].geometry, mask.geometry
    if scan is None or mask.kind != "file":
        return scan is not None and fits_grid(mask, scan)
    return mask_grid is not None and _is_same_grid(scan, mask_grid)


class GridIndex:
    """The grids of groups, each different one once.

    What grids of the same voxels share, however their axes run, is looked up: the unit, the sizes in order, and the
    middle, rounded. Boxes of a grid are sought among all grids at once, by where their corners would lie. Only what is
    left is compared, and what was found for one mask counts for all on its grid.
    """

    def __init__(self, groups: Iterable[ScanGroup]) -> None:
        self._key: dict[ScanGroup, Key] = {}
        self._grids: dict[Key, Geometry] = {}
        for group in groups:
            if (grid := group.scans[0].geometry) is not None:
                self._key[group] = _key_of(grid)
                self._grids.setdefault(_key_of(grid), grid)
        grids = list(self._grids.values())
        slack = np.array([POSITION_TOLERANCE * min(grid.spacing_mm) for grid in grids])
        self._cell = 2 * float(slack.max(initial=0.5))
        self._rounded: dict[Key, list[Key]] = defaultdict(list)
        for key, grid in self._grids.items():
            shared, cell = self._rough(grid)
            self._rounded[shared, *cell.tolist()].append(key)
        affines = np.array([grid.affine_ras for grid in grids]).reshape(-1, 4, 4)
        self._first, self._inverse = affines[:, None, :3, 3], np.linalg.inv(affines[:, :3, :3])
        self._last = np.array([grid.shape for grid in grids]).reshape(-1, 1, 3) - 1
        self._slack = (np.linalg.norm(self._inverse, axis=(1, 2)) * slack + ROUNDING_VOXELS).reshape(-1, 1, 1)
        self._known: dict[tuple[Key, bool], set[Key]] = {}

    def find_matching(self, mask: MaskFile, candidates: Sequence[ScanGroup]) -> list[ScanGroup]:
        """Of the groups that may have the mask those on whose grid it lies; where there is none, on a box of it."""
        if mask.kind != "file":
            keys = {self._key[group] for group in candidates if group in self._key}
            matching = {key for key in keys if fits_grid(mask, self._grids[key])}
            return [group for group in candidates if self._key.get(group) in matching]
        if (grid := mask.geometry) is None:
            return []
        for boxes in (False, True):
            matching = self._found(grid, boxes=boxes)
            if found := [group for group in candidates if self._key.get(group) in matching]:
                return found
        return []

    def _found(self, grid: Geometry, *, boxes: bool) -> set[Key]:
        key = (_key_of(grid), boxes)
        if key not in self._known:
            candidates, is_match = (
                (self._enclosing(grid), lies_within) if boxes else (self._near_middle(grid), _is_same_grid)
            )
            self._known[key] = {key for key in candidates if is_match(self._grids[key], grid)}
        return self._known[key]

    def _near_middle(self, grid: Geometry) -> Iterator[Key]:
        """Grids whose middle lies in the same cell or one beside it; no cell is smaller than the tolerance."""
        shared, cell = self._rough(grid)
        for neighbour in (cell + _BESIDE).tolist():
            yield from self._rounded.get((shared, *neighbour), ())

    def _rough(self, grid: Geometry) -> tuple[Key, npt.NDArray[np.float64]]:
        middle = grid.to_world([(np.array(grid.shape) - 1) / 2])[0]
        return (grid.unit, *sorted(grid.shape)), np.floor(middle / self._cell)

    def _enclosing(self, grid: Geometry) -> list[Key]:
        """Grids in which all corners lie on voxels."""
        index = np.matmul(grid.corners_world - self._first, self._inverse.swapaxes(1, 2))
        inside = (index >= -self._slack) & (index <= self._last + self._slack)
        inside &= np.abs(index - np.rint(index)) <= self._slack
        keys = list(self._grids)
        return [keys[number] for number in np.flatnonzero(inside.all(axis=(1, 2)))]


def _is_same_grid(scan: Geometry, other: Geometry) -> bool:
    return scan.is_close(reorient_like(other, scan).geometry(other))


def _key_of(grid: Geometry) -> Key:
    return grid.unit, grid.shape, grid.affine_ras.tobytes()
