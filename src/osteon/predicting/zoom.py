"""Small structures are found on the plan's grid first, then refined in crops at a finer spacing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from osteon.core.boxes import Box, Index3, component_boxes
from osteon.plan.schema import Plan, Zoom
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.speed import BALANCED, SpeedPreset
from osteon.predicting.tiles import predict_probabilities
from osteon.preparing.resample import resample
from osteon.preparing.strategies import grid_strategy
from osteon.preparing.zoomed import scan_crops, zoom_indices, zoomed_image, zoomed_shape

MAX_PIECES = 16
"""Pieces of the zoom structures that are refined, the largest first: a network that sees specks all over a scan must
not take hours."""
MAX_PATCHES = 3
"""Along an axis: what is longer at the finer spacing is no small structure, and is not refined."""


@dataclass(frozen=True)
class RefinedCrop:
    """Probabilities in a part of a scan at the finer spacing.

    Attributes:
        box: The part, in voxels of the reoriented scan.
        probabilities: `[output, i, j, k]` at the finer spacing.
        weights: How much they count beside those of the plan's grid: `[i, j, k]` of the box.
    """

    box: Box
    probabilities: torch.Tensor
    weights: torch.Tensor

    def blend(self, part: torch.Tensor, output: int) -> None:
        """Put one output into that of the scan's `box` `[i, j, k]`, in place."""
        part += self.weights * (resample(self.probabilities[output], self.box.shape) - part)


def refine_structures(
    network: nn.Module,
    prepared: PreparedScan,
    probabilities: torch.Tensor,
    plan: Plan,
    *,
    speed: SpeedPreset = BALANCED,
) -> list[RefinedCrop]:
    """Predict again around the zoom structures that `probabilities` show; one that they miss stays missed.

    Args:
        network: In eval mode.
        prepared: The scan.
        probabilities: `[output, i, j, k]` on the plan's grid.
        plan: Grid, patch, structures and zoom; without zoom nothing is refined.
        speed: As for `predict_probabilities`.
    """
    zoom = plan.zoom
    if zoom is None or prepared.scan is None:
        return []
    transform = grid_strategy(plan).transform(prepared.scan.geometry)
    array, scan = transform.permutation.apply(prepared.scan.array), transform.reoriented
    mask = _zoom_mask(probabilities, plan, zoom)
    boxes = [_on_scan(box, transform.shape, scan.shape) for box in component_boxes(mask)[:MAX_PIECES]]
    refined = []
    for crop in scan_crops(boxes, scan.shape, scan.spacing_mm, plan, zoom):
        lengths = zoomed_shape(crop.tight.shape, scan.spacing_mm, plan, zoom)[: plan.grid.dimensions]
        if any(length > MAX_PATCHES * size for length, size in zip(lengths, plan.patch.size, strict=False)):
            continue
        image = zoomed_image(array, crop.wide, scan.spacing_mm, plan, zoom, prepared.intensities)
        found = predict_probabilities(network, torch.from_numpy(image), plan, speed=speed)
        weights = rim_weights(crop.wide, scan.shape, scan.spacing_mm, zoom.margin_mm / 2)
        refined.append(RefinedCrop(crop.wide, found, weights))
    return refined


def _zoom_mask(probabilities: torch.Tensor, plan: Plan, zoom: Zoom) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where the zoom structures are, `[i, j, k]` on the plan's grid."""
    indices = zoom_indices(plan, zoom)
    if plan.overlapping:
        return (probabilities[indices].amax(0) > 0.5).numpy()
    zoomed = [index + 1 for index in indices]
    others = [output for output in range(len(probabilities)) if output not in zoomed]
    return (probabilities[zoomed].amax(0) > probabilities[others].amax(0)).numpy()


def _on_scan(box: Box, grid: Index3, scan: Index3) -> Box:
    """The scan's voxels that a box of the plan's grid touches; both grids cover the same extent."""
    first = [a * n // g for a, g, n in zip(box.first, grid, scan, strict=True)]
    stop = [math.ceil(b * n / g) for b, g, n in zip(box.stop, grid, scan, strict=True)]
    return Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))


def rim_weights(box: Box, shape: Index3, spacing_mm: tuple[float, float, float], rim_mm: float) -> torch.Tensor:
    """`[i, j, k]` of a box: 1 inside, falling over its outermost `rim_mm` to 0 at its faces, not at the scan's own."""
    weights = torch.ones(box.shape)
    if not rim_mm:
        return weights
    for axis, (first, stop, count, spacing) in enumerate(zip(box.first, box.stop, shape, spacing_mm, strict=True)):
        depth_mm = (torch.arange(stop - first) + 0.5) * spacing
        along = torch.ones(stop - first)
        if first > 0:
            along = torch.minimum(along, depth_mm / rim_mm)
        if stop < count:
            along = torch.minimum(along, depth_mm.flip(0) / rim_mm)
        weights *= along.reshape([-1 if other == axis else 1 for other in range(3)])
    return weights
