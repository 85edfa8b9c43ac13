"""What the first model of a cascade found, as the second one sees it: a channel of 0 and 1 for each label."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.labels import BACKGROUND, Segmentation
from osteon.plan.schema import NnUNet, Plan
from osteon.preparing.nnunet_strategy import NnUNetStrategy

NEAREST, LINEAR = 0, 1
TIE = 1e-5
"""A lead that rounding cannot give."""


def paint_labels(segmentation: Segmentation) -> npt.NDArray[np.integer]:
    """The index map `[i, j, k]` of values; where structures overlap, later ones are painted over earlier."""
    if not segmentation.overlapping:
        return segmentation.array
    labels = np.zeros(segmentation.geometry.shape, dtype=np.int32)
    for structure, mask in zip(segmentation.structures, segmentation.array, strict=True):
        labels[mask > 0] = structure.value
    return labels


def label_channels(segmentation: Segmentation, plan: Plan) -> torch.Tensor:
    """`[label, i, j, k]` float32 on the plan's grid: each label's mask is interpolated linearly, the greatest wins.

    Between two that are equally great the nearest voxel's label wins, as in batchgenerators, which nnU-Net uses.

    Args:
        segmentation: Of the first model, on the scan's grid (or on the part of it that is prepared).
        plan: Of the second; its network names the labels.
    """
    if not isinstance(plan.network, NnUNet):
        raise ValueError("the plan is none of a cascade")
    strategy = NnUNetStrategy(plan)
    transform = strategy.transform(segmentation.geometry)
    splines = strategy.onto_grid(transform, LINEAR)
    labels = transform.permutation.apply(paint_labels(segmentation))
    nearest = strategy.onto_grid(transform, NEAREST).resample(
        labels.shape, lambda planes: labels[planes].astype(np.float32)
    )
    values = [BACKGROUND, *plan.network.before]
    greatest = np.full(transform.shape, -1.0, dtype=np.float32)
    winner = np.zeros(transform.shape, dtype=np.intp)
    for number, value in enumerate(values):
        share = splines.resample(labels.shape, partial(_mask_planes, labels, value)) + TIE * (nearest == value)
        winner[share > greatest] = number
        np.maximum(greatest, share, out=greatest)
    channels = np.stack([winner == number for number in range(1, len(values))])
    return torch.from_numpy(channels.astype(np.float32))


def _mask_planes(labels: npt.NDArray[np.generic], value: int, planes: slice) -> npt.NDArray[np.float32]:
    return (labels[planes] == value).astype(np.float32)
