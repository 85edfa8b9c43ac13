"""Patch, batch and the U-Net's stages, from the median scan and what the device can carry."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from osteon.plan.schema import Grid, Monai, Network, Pretrained
from osteon.planning.recipes import Recipe, SizeLimits

MIN_AXIS_VOXELS = 4
"""An axis is halved as long as at least this many voxels are left."""
MAX_STAGES = 7

WHOLE_SCAN_FACTOR = 1.5
"""What rounding up to whole strides may add to a patch that holds the whole scan."""


def fit_patch(
    shape: tuple[int, int, int], grid: Grid, limits: SizeLimits
) -> tuple[tuple[int, int, int], int, list[str]]:
    """The largest patch up to the median scan's shape that the device can carry, of even physical extent.

    Returns:
        Patch size along the grid's axes, batch, and the reasons.
    """
    patch = np.array(shape, dtype=float)
    spacing = np.array(grid.spacing_mm)
    while math.prod(math.ceil(n) for n in patch) > limits.voxels:
        patch[np.argmax(patch * spacing)] *= 0.97
    i, j, k = (max(1, math.ceil(n)) for n in patch)
    voxels = i * j * k
    whole = (i, j, k) == shape
    batch = min(32, max(2, limits.voxels // voxels)) if grid.dimensions == 2 else 2
    median = "×".join(map(str, shape))
    part = "the median scan as a whole" if whole else f"what {limits.voxels} voxels allow of it"
    unit = "slice" if grid.dimensions == 2 else "scan"
    return (i, j, k), batch, [f"the median {unit} has {median} voxels on this grid; the patch is {part}"]


def choose_stages(patch: tuple[int, int, int], grid: Grid, limits: SizeLimits, recipe: Recipe) -> Network:
    """The stages of the U-Net: an axis is halved while it is long enough and not much coarser than the finest."""
    length = np.array(patch, dtype=float)
    spacing = np.array(grid.spacing_mm)
    active = np.array([True, True, grid.dimensions == 3])
    strides, kernels = [(1, 1, 1)], [_choose_kernel(spacing, active)]
    while len(strides) < MAX_STAGES:
        enough = active & (length / 2 >= MIN_AXIS_VOXELS)
        if not enough.any():
            break
        halve = enough & (spacing < 2 * spacing[enough].min() - 1e-6)
        i, j, k = (2 if h else 1 for h in halve)
        strides.append((i, j, k))
        length = np.ceil(length / (i, j, k))
        spacing = spacing * (i, j, k)
        i, j, k = np.maximum(kernels[-1], _choose_kernel(spacing, active)).tolist()  # once 3, an axis stays convolved
        kernels.append((i, j, k))
    if len(strides) == 1:  # too small to be halved by the rule: one step is still better than none
        i, j, k = (2 if a and n > 1 else 1 for a, n in zip(active, patch, strict=True))
        strides.append((i, j, k))
        kernels.append(kernels[0])
    features = [min(limits.features * 2**stage, limits.max_features) for stage in range(len(strides))]
    return Network(
        features=features,
        strides=strides,
        kernels=kernels,
        deep_supervision=max(1, min(recipe.deep_supervision, len(strides) - 1 - recipe.unsupervised)),
        why=[
            f"an axis is halved while at least {MIN_AXIS_VOXELS} voxels are left and not twice as coarse as the others"
        ],
    )


def round_to_multiples(
    patch: tuple[int, int, int],
    network: Network | Pretrained | Monai,
    grid: Grid,
    limits: SizeLimits,
    *,
    whole: bool = False,
) -> tuple[int, int, int]:
    """The patch in multiples of the strides' product: rounded up, longest extents down where the device needs it.

    A patch that holds the whole scan may take `WHOLE_SCAN_FACTOR` times the device's voxels: cut, it would no longer.
    """
    max_voxels = limits.voxels * (WHOLE_SCAN_FACTOR if whole else 1)
    multiples = np.array(network.downsampling)
    counts = np.ceil(np.array(patch) / multiples).astype(int)
    if counts.prod() == 1:  # one voxel at the coarsest stage has no variance to be normalised by
        counts[: grid.dimensions] *= 2
    while (counts * multiples).prod() > max_voxels and counts.prod() > 2:
        extent = np.where(counts > 1, counts * multiples * grid.spacing_mm, 0)
        counts[np.argmax(extent)] -= 1
    i, j, k = (int(n) for n in counts * multiples)
    return i, j, k


def _choose_kernel(spacing: npt.NDArray[np.float64], active: npt.NDArray[np.bool_]) -> tuple[int, int, int]:
    """3 along an axis, 1 while its voxels are more than twice as long as the shortest (or it is not convolved)."""
    shortest = spacing[active].min()
    i, j, k = (3 if a and s <= 2 * shortest + 1e-6 else 1 for a, s in zip(active, spacing, strict=True))
    return i, j, k
