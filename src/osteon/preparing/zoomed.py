"""The boxes around a plan's zoom structures at a finer spacing than the plan's grid.

A crop is a box of whole voxels of the scan's own grid, with the plan's axes, so that what is found in it is laid
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
from osteon.preparing.case import Labels, encode_labels, resample_labels
from osteon.preparing.normalisation import normalise_channels
from osteon.preparing.resample import resample_image, resampled_shape
from osteon.preparing.strategies import grid_strategy


@dataclass(frozen=True)
class ZoomedCrop:
    """One crop at the finer spacing.

    Attributes:
        image: `[channel, i, j, k]` float32, normalised as the whole scan is.
        labels: Index `[i, j, k]` or multi-hot `[structure, i, j, k]` of all structures.
        first_slice: Where it begins along the last axis, in voxels of the reoriented scan.
    """

    image: npt.NDArray[np.float32]
    labels: Labels
    first_slice: int


def zoomed_crops(
    volume: Volume, segmentation: Segmentation, plan: Plan, zoom: Zoom, intensities: Sequence[Intensity]
) -> Iterator[ZoomedCrop]:
    """The crops of a labelled scan, largest piece first; none where it shows no zoom structure.

    Args:
        volume: The scan.
        segmentation: Its labels, on the same grid.
        plan: Grid, patch and structures.
        zoom: The plan's section.
        intensities: As `GridStrategy.prepare` gave them for the whole scan.
    """
    transform = grid_strategy(plan).transform(volume.geometry)
    array = transform.permutation.apply(volume.array)
    labels = encode_labels(segmentation, plan)
    indices = zoom_indices(plan, zoom)
    shown = np.isin(labels, [n + 1 for n in indices]) if labels.ndim == 3 else labels[indices].max(0) > 0
    spacing_mm = transform.reoriented.spacing_mm
    for crop in scan_crops(component_boxes(shown), transform.reoriented.shape, spacing_mm, plan, zoom):
        box = crop.wide
        inside = (..., *box.slices)
        shape = zoomed_shape(box.shape, spacing_mm, plan, zoom)
        yield ZoomedCrop(
            zoomed_image(array, box, spacing_mm, plan, zoom, intensities),
            resample_labels(labels[inside], shape),
            box.first[2],
        )


def zoom_indices(plan: Plan, zoom: Zoom) -> list[int]:
    """The plan's zoom structures, as indices of `plan.structures`."""
    names = [structure.name for structure in plan.structures]
    return [names.index(name) for name in zoom.structures]


def scan_crops(boxes: Sequence[Box], shape: Index3, spacing_mm: Sequence[float], plan: Plan, zoom: Zoom) -> list[Crop]:
    """The crops around boxes of a reoriented scan: `margin_mm` more on each side, and no smaller than a zoomed patch.

    Args:
        boxes: In voxels of the reoriented scan.
        shape: Of it.
        spacing_mm: Of it.
        plan: Grid and patch.
        zoom: The plan's section.
    """
    margin = [math.ceil(zoom.margin_mm / s) for s in spacing_mm]
    patch_mm = [n * s for n, s in zip(plan.patch.size, _zoomed_spacing(plan, zoom), strict=True)]
    least = [math.ceil(length / s) for length, s in zip(patch_mm, spacing_mm, strict=True)]
    if plan.grid.dimensions == 2:
        least[2] = 1
    return crops_around(boxes, margin, least, shape)


def zoomed_shape(shape: Sequence[int], spacing_mm: Sequence[float], plan: Plan, zoom: Zoom) -> Index3:
    """The voxels of a crop of the reoriented scan at the finer spacing."""
    i, j, k = resampled_shape(shape, spacing_mm, _zoomed_spacing(plan, zoom))
    return i, j, k if plan.grid.resample_last else shape[2]


def zoomed_image(
    array: npt.NDArray[np.generic],
    box: Box,
    spacing_mm: Sequence[float],
    plan: Plan,
    zoom: Zoom,
    intensities: Sequence[Intensity],
) -> npt.NDArray[np.float32]:
    """`[channel, i, j, k]` of a box of the reoriented scan at the finer spacing, normalised as the whole scan is."""
    shape = zoomed_shape(box.shape, spacing_mm, plan, zoom)
    return normalise_channels(resample_image(array[(slice(None), *box.slices)], shape), intensities)


def _zoomed_spacing(plan: Plan, zoom: Zoom) -> tuple[float, float, float]:
    """In 2D slices stay what they are."""
    i, j, k = plan.grid.spacing_mm
    return i / zoom.factor, j / zoom.factor, k if plan.grid.dimensions == 2 else k / zoom.factor
