"""The boxes around a plan's zoom structures at a finer spacing than the plan's grid.

A crop is a box of whole voxels of the scan's own grid, turned as the plan has it, so that what is found in it is laid
back over the scan exactly. Training cuts it around the labels, predicting around what was found on the plan's grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, Crop, Index3, component_boxes, crops_around
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.plan.schema import Intensity, Plan, Zoom
from osteon.preparing.case import Labels, normalise_all, passage, planned_labels, resample_labels
from osteon.preparing.resample import resample_image, resampled_shape


@dataclass(frozen=True)
class FineCrop:
    """One crop at the finer spacing.

    Attributes:
        image: `[channel, i, j, k]` float32, normalised as the whole scan is.
        labels: Index `[i, j, k]` or multi-hot `[structure, i, j, k]` of all structures.
        first_slice: Where it begins along the last axis, in voxels of the turned scan.
    """

    image: npt.NDArray[np.float32]
    labels: Labels
    first_slice: int


def fine_crops(
    volume: Volume, segmentation: Segmentation, plan: Plan, zoom: Zoom, intensities: Sequence[Intensity]
) -> Iterator[FineCrop]:
    """The crops of a labelled scan, largest piece first; none where it shows no zoom structure.

    Args:
        volume: The scan.
        segmentation: Its labels, on the same grid.
        plan: Grid, patch and structures.
        zoom: The plan's section.
        intensities: As `preparing.case.prepare_with_intensities` gave them for the whole scan.
    """
    way = passage(volume.geometry, plan.grid)
    array = way.turn.apply(volume.array)
    labels = planned_labels(segmentation, plan)
    numbers = zoom_numbers(plan, zoom)
    shown = np.isin(labels, [n + 1 for n in numbers]) if labels.ndim == 3 else labels[numbers].max(0) > 0
    spacing_mm = way.turned.spacing_mm
    for crop in scan_crops(component_boxes(shown), way.turned.shape, spacing_mm, plan, zoom):
        box = crop.wide
        inside = (..., *box.slices)
        shape = fine_shape(box.shape, spacing_mm, plan, zoom)
        yield FineCrop(
            fine_image(array, box, spacing_mm, plan, zoom, intensities),
            resample_labels(labels[inside], shape),
            box.first[2],
        )


def zoom_numbers(plan: Plan, zoom: Zoom) -> list[int]:
    """Which of the plan's structures, from 0, are looked at closely."""
    names = [structure.name for structure in plan.structures]
    return [names.index(name) for name in zoom.structures]


def scan_crops(boxes: Sequence[Box], shape: Index3, spacing_mm: Sequence[float], plan: Plan, zoom: Zoom) -> list[Crop]:
    """The crops around boxes of a turned scan: `margin_mm` more on each side, and no smaller than a fine patch.

    Args:
        boxes: In voxels of the turned scan.
        shape: Of it.
        spacing_mm: Of it.
        plan: Grid and patch.
        zoom: The plan's section.
    """
    margin = [math.ceil(zoom.margin_mm / s) for s in spacing_mm]
    patch_mm = [n * s for n, s in zip(plan.patch.size, _fine_spacing(plan, zoom), strict=True)]
    least = [math.ceil(length / s) for length, s in zip(patch_mm, spacing_mm, strict=True)]
    if plan.grid.dimensions == 2:
        least[2] = 1
    return crops_around(boxes, margin, least, shape)


def fine_shape(shape: Sequence[int], spacing_mm: Sequence[float], plan: Plan, zoom: Zoom) -> Index3:
    """The voxels of a crop of the turned scan at the finer spacing."""
    i, j, k = resampled_shape(shape, spacing_mm, _fine_spacing(plan, zoom))
    return i, j, k if plan.grid.resample_last else shape[2]


def fine_image(
    array: npt.NDArray[np.generic],
    box: Box,
    spacing_mm: Sequence[float],
    plan: Plan,
    zoom: Zoom,
    intensities: Sequence[Intensity],
) -> npt.NDArray[np.float32]:
    """`[channel, i, j, k]` of a box of the turned scan at the finer spacing, normalised as the whole scan is."""
    shape = fine_shape(box.shape, spacing_mm, plan, zoom)
    return normalise_all(resample_image(array[(slice(None), *box.slices)], shape), intensities)


def _fine_spacing(plan: Plan, zoom: Zoom) -> tuple[float, float, float]:
    """In 2D slices stay what they are."""
    i, j, k = plan.grid.spacing_mm
    return i / zoom.factor, j / zoom.factor, k if plan.grid.dimensions == 2 else k / zoom.factor
