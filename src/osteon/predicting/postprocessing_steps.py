"""Steps that change one structure's mask after a prediction. A new step is one function and one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.boxes import bounding_box

Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class StepKind:
    """A kind of step.

    Attributes:
        change: `(mask [i, j, k], spacing, amount, near [i, j, k] or None)` → the changed mask; none of its arguments is
            changed.
        unit: Of its amount; empty where it has none.
        grows: Whether the mask may get larger than it was. It never takes voxels of other structures.
        description: What it does, with places for its amount, unit and structure.
    """

    change: Callable[[Mask, Spacing, float, Mask | None], Mask]
    unit: str
    grows: bool
    description: str


def components(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Pieces that touch by faces, numbered from 1 `[i, j, k]`, and the voxels of each."""
    labels, count = ndimage.label(mask)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)[1:]


def _largest(mask: Mask, _: Spacing, __: float, ___: Mask | None) -> Mask:
    labels, sizes = components(mask)
    return labels == 1 + int(np.argmax(sizes)) if len(sizes) > 1 else mask


def _least_size(mask: Mask, spacing: Spacing, amount: float, _: Mask | None) -> Mask:
    """`amount` in cm³; where all voxels' edges are pixels, in square pixels (`voxel_size`)."""
    labels, sizes = components(mask)
    kept = np.concatenate([[False], sizes * voxel_size(spacing) >= amount])
    return np.asarray(kept[labels])


def _fill_holes(mask: Mask, _: Spacing, __: float, ___: Mask | None) -> Mask:
    if 1 not in mask.shape:
        return np.asarray(ndimage.binary_fill_holes(mask))
    axis = mask.shape.index(1)  # a slice has holes in its plane
    return np.expand_dims(ndimage.binary_fill_holes(mask.squeeze(axis)), axis)


def _close(mask: Mask, spacing: Spacing, amount: float, _: Mask | None) -> Mask:
    """Grown by `amount` and shrunk again, by Euclidean distances; what was there stays."""
    margin = [math.ceil(amount / s) + 1 for s in spacing]
    wide = np.pad(mask, [(m, m) for m in margin])
    near = ndimage.distance_transform_edt(~wide, sampling=spacing) <= amount
    closed = ndimage.distance_transform_edt(near, sampling=spacing) > amount
    inner = tuple(slice(m, m + n) for m, n in zip(margin, mask.shape, strict=True))
    return np.asarray(closed[inner] | mask)


def _smooth(mask: Mask, spacing: Spacing, amount: float, _: Mask | None) -> Mask:
    """Where a Gaussian of SD `amount` over the mask stays above a half; at the edge the outermost voxels repeat."""
    sigma = [amount / s if n > 1 else 0.0 for s, n in zip(spacing, mask.shape, strict=True)]
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="nearest") > 0.5)


def _keep_near(mask: Mask, spacing: Spacing, amount: float, near: Mask | None) -> Mask:
    """Pieces that come within `amount` of another structure; all where that structure was not found."""
    if near is None or not near.any():
        return mask
    labels, sizes = components(mask)
    reach = ndimage.distance_transform_edt(~near, sampling=spacing) <= amount
    kept = np.zeros(len(sizes) + 1, dtype=bool)
    kept[np.unique(labels[reach & mask])] = True
    kept[0] = False
    return np.asarray(kept[labels])


STEPS: dict[str, StepKind] = {
    "largest": StepKind(_largest, "", False, "the largest piece alone"),
    "least_size": StepKind(_least_size, "cm³", False, "no piece below {amount:g} {unit}"),
    "keep_near": StepKind(_keep_near, "mm", False, "no piece further than {amount:g} {unit} from {near}"),
    "fill_holes": StepKind(_fill_holes, "", True, "holes filled"),
    "close": StepKind(_close, "mm", True, "gaps up to {amount:g} {unit} closed"),
    "smooth": StepKind(_smooth, "mm", True, "smoothed by {amount:g} {unit}"),
}
"""In the order in which they are tried."""


def voxel_size(spacing: Spacing) -> float:
    """A voxel's volume: mm³ in cm³."""
    return math.prod(spacing) / 1000


def apply_to_part(
    kind: str, mask: Mask, spacing: Spacing, amount: float, near: Mask | None, free: Mask | None
) -> tuple[Slices, Mask]:
    """A step on a mask: the part of the grid that it can change, and the mask there afterwards.

    Args:
        kind: A row of `STEPS`.
        mask: `[i, j, k]`.
        spacing: Of the grid: mm, or pixels.
        amount: What the step's unit says, in mm (px); for `least_size` in cm³ (thousands of px).
        near: The other structure, for `keep_near`.
        free: Voxels of no other structure, which alone a growing mask may take; None: all are.
    """
    reach = amount if STEPS[kind].unit == "mm" else 0.0
    around = bounding_box(mask)
    if around is None:
        return (slice(0), slice(0), slice(0)), mask[:0, :0, :0]
    margin = [math.ceil(2 * reach / s) + 2 for s in spacing]
    inside = around.expand(margin, mask.shape).slices
    part = mask[inside]
    made = STEPS[kind].change(part, spacing, amount, None if near is None else near[inside])
    if STEPS[kind].grows and free is not None:
        made = made & (free[inside] | part)
    return inside, made


def describe_step(step: Mapping[str, Any], pixels: bool) -> str:
    """One line that describes a step of postprocessing.yaml."""
    kind = STEPS[step["step"]]
    unit = {"mm": "px", "cm³": "1000 px"}.get(kind.unit, kind.unit) if pixels else kind.unit
    return kind.description.format(amount=step.get("amount") or 0.0, unit=unit, near=step.get("near") or "")
