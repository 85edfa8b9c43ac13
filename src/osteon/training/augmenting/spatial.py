"""Changes of place: mirror images, and one resampling for rotation, zoom, shift and deformation together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from osteon.plan.schema import Plan
from osteon.training.augmenting.parameters import AugmentationParameters, Floats
from osteon.training.augmenting.smooth import expand_field, spline_basis
from osteon.training.host_to_device import send_like


def mirror_patches(
    image: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor, mirrored: npt.NDArray[np.bool_], plan: Plan
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mirror patches along the axes `mirrored` `[batch, 3]`; from left to right, sides swap their names."""
    partners = plan.mirror_partners
    here, swap = (send_like(np.array(n), labels) for n in (partners, [0, *(partner + 1 for partner in partners)]))
    sideways = plan.grid.left_right_axis
    for number, axes in enumerate(mirrored):
        dims = [int(axis) - 3 for axis in np.flatnonzero(axes)]
        if not dims:
            continue
        image[number] = image[number].flip(dims)
        labels[number] = labels[number].flip(dims)
        if sideways is not None and axes[sideways]:
            labels[number] = labels[number][here] if plan.overlapping else _swap_sides(labels[number], swap)
            annotated[number] = annotated[number][partners]
    return image, labels, annotated


def _swap_sides(labels: torch.Tensor, swap: torch.Tensor) -> torch.Tensor:
    """Labels with the numbers of `swap`; pieces (`plan.outputs.encode_pieces`) stay what they are."""
    numbers = labels % len(swap)
    return labels - numbers + swap[numbers]


def resample_patches(
    image: torch.Tensor, labels: torch.Tensor, parameters: AugmentationParameters, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor]:
    """Resample image (linear) and labels (nearest) once; beyond the edge the outermost voxel repeats.

    Shapes as in `apply_augmentation`.

    A voxel at x of a changed patch comes from A (x + d(x)): first the deformation, then the affine, so that the
    deformation alone decides whether space folds.
    """
    is_affine = ~np.isclose(parameters.affine, np.eye(3, 4)).all((1, 2))
    is_elastic = ~np.isnan(parameters.elastic_mm)
    moved_patches = np.flatnonzero(is_affine | is_elastic)
    if not len(moved_patches):
        return image, labels
    flat = plan.grid.dimensions == 2  # torch samples pictures several times faster than volumes of one slice
    if flat:
        image, labels = image.squeeze(-1), labels.squeeze(-1)
    axes = [1, 0] if flat else [2, 1, 0]  # grid_sample counts x, y, z: the last axis first
    reverse = parameters.affine[moved_patches][:, axes][:, :, [*axes, 3]]
    grid = F.affine_grid(send_like(reverse, image), [len(moved_patches), 1, *image.shape[2:]], align_corners=False)
    where = np.flatnonzero(is_elastic[moved_patches])
    if len(where):
        added = _displacement(parameters, moved_patches[where], axes, plan, image).reshape(len(where), *grid.shape[1:])
        grid.index_add_(0, send_like(where, grid), added)
    rows = send_like(moved_patches, image)
    moved, moved_labels = _sample_both(grid, image[rows], labels[rows])
    if len(moved_patches) == len(image):
        image, labels = moved, moved_labels
    else:
        image[rows], labels[rows] = moved, moved_labels
    return (image[..., None], labels[..., None]) if flat else (image, labels)


def _sample_both(grid: torch.Tensor, image: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    moved = sample(image, grid, "bilinear")
    if labels.is_floating_point():
        return moved, sample(labels, grid, "nearest")
    return moved, sample(labels[:, None].float(), grid, "nearest")[:, 0].long()


def _displacement(
    parameters: AugmentationParameters, numbers: npt.NDArray[np.intp], axes: list[int], plan: Plan, like: torch.Tensor
) -> torch.Tensor:
    """`[numbers, i, j, k, axes]` what patches' deformations add to their grids, in parts of half a patch."""
    size, spacing_mm = plan.patch.size, plan.grid.spacing_mm
    half = np.array(size) * np.array(spacing_mm) / 2
    points = parameters.elastic[numbers] * parameters.elastic_mm[numbers][:, None, None, None, None]
    # Turned and zoomed are the few points, rather than every voxel.
    points = np.einsum("nab,nbijk->naijk", parameters.affine[numbers][:, axes, :3] / half, points)
    bases = [
        spline_basis(count, edge, plan.augmentation.elastic_grain_mm)
        for count, edge in zip(size, spacing_mm, strict=True)
    ]
    return expand_field(send_like(points, like), bases).movedim(1, -1)


def sample(x: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """`grid_sample` of `[batch, channel, …]`, cut along i on a CPU, where torch runs batch entries in parallel only."""
    batch, length = grid.shape[:2]
    pieces = torch.get_num_threads() if x.device.type == "cpu" else 1
    while pieces > 1 and (length % pieces or batch * pieces > 64):
        pieces -= 1
    cut = grid.reshape(batch * pieces, length // pieces, *grid.shape[2:])
    source = x[:, None].expand(batch, pieces, *x.shape[1:]).flatten(0, 1) if pieces > 1 else x
    out = F.grid_sample(source, cut, mode=mode, padding_mode="border", align_corners=False)
    return out.unflatten(0, (batch, pieces)).transpose(1, 2).flatten(2, 3)


def in_millimetres(affine: Floats, plan: Plan) -> Floats:
    """`[3, 4]` a drawn affine as it is in mm (px): rotation times zoom, and the shift."""
    half = np.array(plan.patch.size) * np.array(plan.grid.spacing_mm) / 2
    return np.column_stack([affine[:, :3] * half[:, None] / half[None, :], affine[:, 3] * half])
