"""All changes to a batch, in the order in which they happen."""

from __future__ import annotations

import torch

from osteon.plan.schema import Plan
from osteon.training.augmenting.intensity import augment_intensities
from osteon.training.augmenting.parameters import AugmentationParameters
from osteon.training.augmenting.spatial import mirror_patches, resample_patches


def apply_augmentation(
    image: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor, parameters: AugmentationParameters, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Apply drawn changes.

    Args:
        image: `[batch, channel, i, j, k]` float; may be changed in place.
        labels: Index `[batch, i, j, k]` int64 or multi-hot `[batch, structure, i, j, k]` float; likewise.
        annotated: `[batch, structure]` bool, on the host; sides swap with their structures; likewise.
        parameters: From `draw_parameters`.
        plan: Says which structures swap when left and right do, how large voxels are, and which channels are MR.

    Returns:
        Image, labels and annotated, changed, where they were; smaller where the batch is cropped.
    """
    image, labels, annotated = mirror_patches(image, labels, annotated, parameters.mirror, plan)
    image, labels = resample_patches(image, labels, parameters, plan)
    image = augment_intensities(image, parameters, plan)
    if parameters.crop is not None and plan.sequence is not None:
        axis, first, length = (
            plan.sequence.axis - 3,
            parameters.crop.start,
            parameters.crop.stop - parameters.crop.start,
        )
        image, labels = (values.narrow(axis, first, length).contiguous() for values in (image, labels))
    return image, labels, annotated
