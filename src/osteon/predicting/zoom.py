"""A closer look at small structures: found on the plan's grid first, then looked at in a crop at a finer spacing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from osteon.core.boxes import Box, Index3, component_boxes
from osteon.core.volume import Volume
from osteon.plan.schema import Intensity, Plan, Zoom
from osteon.predicting.speed import BALANCED, Speed
from osteon.predicting.tiles import probabilities
from osteon.preparing.case import passage
from osteon.preparing.resample import resample
from osteon.preparing.zoomed import fine_image, fine_shape, scan_crops, zoom_numbers

MOST = 16
"""Pieces of the zoom structures that are looked at, the largest first: a network that sees specks all over a scan must
not take hours."""
LONGEST = 3
"""Patches along an axis: what is longer at the finer spacing is no small structure and stays as it was found."""


@dataclass(frozen=True)
class Detail:
    """What a closer look at a part of a scan says.

    Attributes:
        box: The part, in voxels of the turned scan.
        shares: `[output, i, j, k]` probabilities at the finer spacing.
        weights: How much they count beside those of the plan's grid: `[i, j, k]` of the box.
    """

    box: Box
    shares: torch.Tensor
    weights: torch.Tensor

    def blend(self, part: torch.Tensor, output: int) -> None:
        """Put one output into that of the scan's `box` `[i, j, k]`, in place."""
        part += self.weights * (resample(self.shares[output], self.box.shape) - part)


def closer_looks(
    network: nn.Module,
    volume: Volume,
    shares: torch.Tensor,
    plan: Plan,
    zoom: Zoom,
    intensities: list[Intensity],
    *,
    speed: Speed = BALANCED,
) -> list[Detail]:
    """Look again at the zoom structures that `shares` shows; a structure of which it shows nothing stays unseen.

    Args:
        network: In eval mode.
        volume: The scan.
        shares: `[output, i, j, k]` probabilities on the plan's grid.
        plan: Grid, patch and structures.
        zoom: Its section.
        intensities: As `preparing.case.prepare_with_intensities` gave them for the whole scan.
        speed: As for `probabilities`.
    """
    way = passage(volume.geometry, plan.grid)
    array, shape, spacing_mm = way.turn.apply(volume.array), way.turned.shape, way.turned.spacing_mm
    boxes = [_on_scan(box, way.shape, shape) for box in component_boxes(_found(shares, plan, zoom))[:MOST]]
    details = []
    for crop in scan_crops(boxes, shape, spacing_mm, plan, zoom):
        lengths = fine_shape(crop.tight.shape, spacing_mm, plan, zoom)[: plan.grid.dimensions]
        if any(length > LONGEST * size for length, size in zip(lengths, plan.patch.size, strict=False)):
            continue
        image = fine_image(array, crop.wide, spacing_mm, plan, zoom, intensities)
        looked = probabilities(network, torch.from_numpy(image), plan, speed=speed)
        details.append(Detail(crop.wide, looked, rim_weights(crop.wide, shape, spacing_mm, zoom.margin_mm / 2)))
    return details


def _found(shares: torch.Tensor, plan: Plan, zoom: Zoom) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    numbers = zoom_numbers(plan, zoom)
    if plan.overlapping:
        return (shares[numbers].amax(0) > 0.5).numpy()
    closely = [number + 1 for number in numbers]
    rest = [number for number in range(len(shares)) if number not in closely]
    return (shares[closely].amax(0) > shares[rest].amax(0)).numpy()


def _on_scan(box: Box, grid: Index3, scan: Index3) -> Box:
    """The scan's voxels that a box of the plan's grid touches; both grids cover the same extent."""
    first = [a * n // g for a, g, n in zip(box.first, grid, scan, strict=True)]
    stop = [math.ceil(b * n / g) for b, g, n in zip(box.stop, grid, scan, strict=True)]
    return Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))


def rim_weights(box: Box, shape: Index3, spacing_mm: tuple[float, float, float], rim_mm: float) -> torch.Tensor:
    """1 inside a box, falling over its outermost `rim_mm` to 0 at its faces, but not where the scan itself ends."""
    weights = torch.ones(box.shape)
    if not rim_mm:
        return weights
    for axis, (first, stop, count, spacing) in enumerate(zip(box.first, box.stop, shape, spacing_mm, strict=True)):
        place = torch.arange(stop - first) + 0.5
        along = torch.ones(stop - first)
        if first > 0:
            along = torch.minimum(along, place * spacing / rim_mm)
        if stop < count:
            along = torch.minimum(along, place.flip(0) * spacing / rim_mm)
        weights *= along.reshape([-1 if other == axis else 1 for other in range(3)])
    return weights
