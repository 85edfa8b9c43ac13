"""The plan's grid: its spacing, the axis that slices are cut across, and slices brought to a number of pixels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from osteon.core.errors import UsageError
from osteon.core.text import significant
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Grid
from osteon.planning.fingerprint import Fingerprint
from osteon.planning.recipes import Recipe, SizeLimits
from osteon.planning.spacing import coarser_spacing, target_spacing

WORLD_AXES: tuple[Literal["R"], Literal["A"], Literal["S"]] = ("R", "A", "S")
MIN_BATCH_SLICES = 16
"""A 2D batch should hold at least so many whole slices: the sum of its Dice needs structures that are there."""
MIN_IMAGE_SIZE = 16


def choose_grid(
    dataset: Dataset,
    fingerprint: Fingerprint,
    dimensions: Literal[2, 3],
    recipe: Recipe,
    limits: SizeLimits,
    image_size: int | None = None,
) -> Grid:
    """The plan's section `grid`.

    Args:
        dataset: Its labels are read where their loss on a coarser grid has to be measured.
        fingerprint: The measured cases.
        dimensions: 2: slices.
        recipe: How much of a scan a patch should cover.
        limits: What the device can carry.
        image_size: 2D: pixels along the longer side of the median slice; None: by the data.

    Raises:
        UsageError: An image size for a 3D plan, or one that is no size.
    """
    if image_size is not None and (dimensions == 3 or image_size < MIN_IMAGE_SIZE):
        what = "a 3D plan has no slices" if dimensions == 3 else f"is less than {MIN_IMAGE_SIZE} pixels"
        raise UsageError(f"--image-size {image_size}: {what}", hint="plan with --dimensions 2 --image-size 256")
    spacing, why = target_spacing(fingerprint)
    if dimensions == 3:
        if recipe.coverage:
            spacing, reasons = coarser_spacing(dataset, fingerprint, spacing, recipe.coverage, limits.voxels)
            why += reasons
        return Grid(dimensions=3, axes=WORLD_AXES, spacing_mm=_triple(spacing), why=why)
    slice_axis, reason = _choose_slice_axis(fingerprint)
    why.append(reason)
    if image_size is not None:
        spacing, reasons = _spacing_for_image_size(fingerprint, spacing, slice_axis, image_size)
        why += reasons
    elif recipe.coverage:
        slice_voxels = limits.voxels // MIN_BATCH_SLICES
        spacing, reasons = coarser_spacing(
            dataset, fingerprint, spacing, recipe.coverage, slice_voxels, across=slice_axis
        )
        why += reasons
    order = [axis for axis in range(3) if axis != slice_axis] + [slice_axis]
    return Grid(
        dimensions=2,
        axes=(WORLD_AXES[order[0]], WORLD_AXES[order[1]], WORLD_AXES[order[2]]),
        spacing_mm=_triple(spacing[order]),
        resample_last=False,
        why=why,
    )


def median_shape(fingerprint: Fingerprint, grid: Grid) -> tuple[int, int, int]:
    """The median scan's shape on the plan's grid, along the grid's axes; one voxel through a slice."""
    i, j, k = (max(1, round(float(n))) for n in np.median(_shapes_on_grid(fingerprint, grid), axis=0))
    return i, j, (1 if grid.dimensions == 2 else k)


def fit_whole_slices(fingerprint: Fingerprint, grid: Grid, image_size: int) -> tuple[tuple[int, int, int], list[str]]:
    """A patch that holds every slice whole, as far as `image_size` pixels along each side do.

    Returns:
        Patch size along the grid's axes, and the reasons.
    """
    shapes = np.ceil(_shapes_on_grid(fingerprint, grid)[:, :2] - 1e-6).astype(int)
    i, j = (int(min(image_size, n)) for n in shapes.max(axis=0))
    cut = int((shapes > (i, j)).any(axis=1).sum())
    whole = f"{i}×{j} pixels hold {len(shapes) - cut} of {len(shapes)} cases' slices whole"
    tiles = f"; the slices of {cut}, larger than the median, are seen in parts" if cut else ""
    return (i, j, 1), [f"an image size of {image_size}, as asked: {whole}{tiles}"]


def drop_slices(grid: Grid, slices: tuple[int | None, int | None]) -> Grid:
    """The grid with slices that are never trained on. Raises UsageError where there are none to drop."""
    if grid.dimensions == 3:
        raise UsageError("--drop-slices: a 3D plan has no slices", hint="plan with --dimensions 2")
    first, last = slices
    if slices == (None, None) or (None not in slices and not range(10**6)[first:last]):
        raise UsageError(f"--drop-slices: {first}:{last} is not a range of slices", hint="0:30 drops the first thirty")
    dropped = f"slices {'' if first is None else first}:{'' if last is None else last} along {grid.axes[2]}"
    return grid.model_copy(update={"drop_slices": slices, "why": [*grid.why, f"not trained on, as asked: {dropped}"]})


def _choose_slice_axis(fingerprint: Fingerprint) -> tuple[int, str]:
    """The axis that slices are cut across, and the reason."""
    median = fingerprint.median_spacing_mm
    extent = fingerprint.median_shape * median
    if fingerprint.median_shape.min() <= 1:
        return int(np.argmin(fingerprint.median_shape)), "the images are flat"
    if median.max() > 1.5 * median.min():
        slice_axis = int(np.argmax(median))
        return (
            slice_axis,
            f"slices across {WORLD_AXES[slice_axis]}, the axis with the thickest slices ({median.max():.3g} mm)",
        )
    slice_axis = int(np.argmin(extent))
    return (
        slice_axis,
        f"slices across {WORLD_AXES[slice_axis]}, the shortest extent ({extent.min():.4g} mm): largest slices",
    )


def _spacing_for_image_size(
    fingerprint: Fingerprint, spacing: npt.NDArray[np.float64], slice_axis: int, image_size: int
) -> tuple[npt.NDArray[np.float64], list[str]]:
    extents = np.array([np.array(case.shape) * np.array(case.spacing_mm) for case in fingerprint.cases])
    longest = np.delete(extents, slice_axis, axis=1).max(axis=1)
    edge = float(np.median(longest)) / image_size
    unit = fingerprint.cases[0].unit
    reason = f"{image_size} pixels along the longer side of the median slice, {np.median(longest):.4g} {unit}, as asked"
    return np.where(np.arange(3) == slice_axis, spacing, edge), [f"{reason}: {edge:.4g} {unit} each"]


def _shapes_on_grid(fingerprint: Fingerprint, grid: Grid) -> npt.NDArray[np.float64]:
    """`[case, 3]`: each case's shape on the grid, along the grid's axes."""
    order = list(grid.world_axes)
    extents = np.array([np.multiply(case.shape, case.spacing_mm)[order] for case in fingerprint.cases])
    shapes: npt.NDArray[np.float64] = extents / np.array(grid.spacing_mm)
    return shapes


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    i, j, k = (significant(v) for v in values)
    return i, j, k
