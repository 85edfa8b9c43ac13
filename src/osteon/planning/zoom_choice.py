"""Small structures: enlarged crops around those that are named, and those that a patch or the grid does not do well."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np

from osteon.core.boxes import Box, crops_around
from osteon.core.errors import UsageError
from osteon.core.text import shorten_list
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Grid, Plan, Zoom
from osteon.planning.fingerprint import CaseFacts, Fingerprint
from osteon.planning.options import PlanOptions
from osteon.planning.sequences import find_sequences

SMALLEST = re.compile(r"smallest(?::(\d+))?")
"""In place of names: the so many smallest structures; a recipe knows no names."""
DEFAULT_COUNT = 5
MIN_VOXELS = 2
"""Voxels along an axis: a structure with fewer comes and goes with its place on the grid."""
TOLERANCE = 1e-6
"""Of rounding in spacings, which no warning is about."""
MAX_NAMED = 6
"""Structures that a warning names; it counts the others."""


def expand_smallest(fingerprint: Fingerprint, names: Sequence[str]) -> list[str]:
    """The structures' names, those that `smallest` (five) or `smallest:N` stands for among them.

    Args:
        fingerprint: Their median volumes (areas in radiographs) over the cases are compared.
        names: Names, or `smallest:N`.

    Raises:
        UsageError: The N smallest would be none.
    """
    volumes: dict[str, list[float]] = {}
    for case in fingerprint.cases:
        for name, facts in case.structures.items():
            volumes.setdefault(name, []).append(facts.voxels * float(np.prod(case.spacing_mm)))
    expanded: list[str] = []
    for word in names:
        match = None if word in volumes else SMALLEST.fullmatch(word)
        if match is None:
            expanded.append(word)
            continue
        count = int(match[1] or DEFAULT_COUNT)
        if not count:
            raise UsageError(f"--zoom {word}: are no structures", hint=f"--zoom smallest:{DEFAULT_COUNT}, for example")
        expanded += sorted(volumes, key=lambda name: (float(np.median(volumes[name])), name))[:count]
    return list(dict.fromkeys(expanded))


def choose_zoom(dataset: Dataset, fingerprint: Fingerprint, grid: Grid, options: PlanOptions) -> Zoom | None:
    """The plan's section `zoom`, where structures were named for it.

    Raises:
        UsageError: A structure is not in the dataset. (One that no case shows has been refused before.)
    """
    if not options.zoom:
        return None
    names = [structure.name for structure in dataset.structures]
    for name in options.zoom:
        if name not in names:
            near = get_close_matches(name, names, 3, 0.4) or names
            raise UsageError(f"--zoom: there is no structure {name}", hint=f"near it: {', '.join(near)}")
    extent = max(float(_median_extent(fingerprint, name).max()) for name in options.zoom)
    margin = float(f"{max(extent / 2, 4 * max(grid.spacing_mm[:2])):.3g}")
    why = [
        f"{', '.join(options.zoom)}: as asked",
        f"margin {margin:g}: half of the longest of them ({extent:.3g} in the median case), at least four voxels",
    ]
    in_sequence = not dataset.manifest.overlapping and bool(find_sequences(fingerprint))
    if in_sequence:
        why.append("no closer look in predicting: these structures get their names from the whole row of them")
    return Zoom(structures=list(dict.fromkeys(options.zoom)), margin_mm=margin, predict=not in_sequence, why=why)


def coverage_warnings(plan: Plan, fingerprint: Fingerprint) -> list[str]:
    """What a patch cannot hold or the plan's grid hardly shows, judged by each structure's median extent.

    Slices of a 2D plan stand alone, so nothing is said of the axis across them.
    """
    order = list(plan.grid.world_axes)
    large, small = [], []
    for structure in plan.structures:
        if not any(structure.name in case.structures for case in fingerprint.cases):
            continue
        extent = _median_extent(fingerprint, structure.name)[order]
        for axis in range(plan.grid.dimensions):
            voxels = float(extent[axis] / plan.grid.spacing_mm[axis])
            description = f"{structure.name} ({extent[axis]:.3g} {plan.unit} along {plan.grid.axes[axis]})"
            if voxels > plan.patch.size[axis] * (1 + TOLERANCE):
                large.append((voxels / plan.patch.size[axis], description))
            if voxels < MIN_VOXELS * (1 - TOLERANCE):
                small.append((1 / voxels, description))
    warnings = []
    if large:
        sizes = " × ".join(f"{n * s:.3g}" for n, s in zip(plan.patch.size, plan.grid.spacing_mm, strict=True))
        warnings.append(
            f"larger than a patch ({sizes} {plan.unit}), so that no patch shows them whole: {_list_worst(large)}; a "
            "larger patch.size, or a coarser grid.spacing_mm, would hold them"
        )
    if small:
        warnings.append(
            f"smaller than {MIN_VOXELS} voxels of the plan's grid: {_list_worst(small)}; a finer grid.spacing_mm, or "
            "--zoom with their names, would show them better"
        )
    return warnings


def estimate_zoom_voxels(plan: Plan, zoom: Zoom, case: CaseFacts) -> int:
    """About how many voxels the enlarged crops of a case have: its structures are taken for boxes."""
    order = list(plan.grid.world_axes)
    shown = [case.structures[name] for name in zoom.structures if name in case.structures]
    flat = plan.grid.dimensions == 2
    spacing = np.array(plan.grid.spacing_mm) / (zoom.factor, zoom.factor, 1 if flat else zoom.factor)
    if not plan.grid.resample_last:
        spacing[2] = case.spacing_mm[order[2]]
    shape = np.maximum(1, np.round(np.array(case.shape)[order] * np.array(case.spacing_mm)[order] / spacing)).astype(
        int
    )
    boxes = []
    for facts in shown:
        centre, half = np.array(facts.centre_mm)[order], np.array(facts.extent_mm)[order] / 2
        first = np.clip(np.floor((centre - half) / spacing), 0, shape - 1).astype(int)
        stop = np.clip(np.ceil((centre + half) / spacing), first + 1, shape).astype(int)
        boxes.append(Box(_triple(first), _triple(stop)))
    margin = [math.ceil(zoom.margin_mm / s) for s in spacing]
    crops = crops_around(boxes, margin, plan.patch.size, shape.tolist())
    return sum(math.prod(crop.wide.shape) for crop in crops)


def _median_extent(fingerprint: Fingerprint, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """`[3]` along R, A, S, over the cases that show it."""
    extents = [case.structures[name].extent_mm for case in fingerprint.cases if name in case.structures]
    return np.median(extents, axis=0).astype(np.float64)


def _list_worst(rated: list[tuple[float, str]]) -> str:
    worst = [text for _, text in sorted(rated, key=lambda pair: -pair[0])]
    return shorten_list(worst, MAX_NAMED)


def _triple(values: Iterable[int]) -> tuple[int, int, int]:
    i, j, k = (int(v) for v in values)
    return i, j, k
