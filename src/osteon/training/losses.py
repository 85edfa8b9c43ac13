"""Losses for index and multi-hot targets, in which a structure that nobody annotated is unknown, not background."""

from __future__ import annotations

import torch
import torch.nn.functional as F

SMOOTH = 1e-5
EXCLUDED = -1e4
"""A logit that no class wins with, finite so that gradients stay so."""


def deep_supervision_loss(
    logits: list[torch.Tensor], labels: torch.Tensor, annotated: torch.Tensor, *, overlapping: bool
) -> torch.Tensor:
    """The losses of the decoder's stages, weighted 1, ½, ¼ … and divided by the weights' sum.

    Args:
        logits: `[batch, output, i, j, k]` of each supervised stage, the finest first.
        labels: Index `[batch, i, j, k]` or multi-hot `[batch, structure, i, j, k]`.
        annotated: `[batch, structure]` bool.
        overlapping: Whether the labels are multi-hot.
    """
    loss = dice_and_bce if overlapping else dice_and_cross_entropy
    total = torch.zeros((), device=labels.device)
    weights = 0.0
    for stage, output in enumerate(logits):
        total = total + loss(output.float(), _coarser(labels, output.shape[2:]), annotated) / 2**stage
        weights += 1 / 2**stage
    return total / weights


def _coarser(labels: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Every n-th voxel of the labels, so that they fit a coarser stage."""
    steps = [n // m for n, m in zip(labels.shape[-3:], shape, strict=True)]
    return labels[..., :: steps[0], :: steps[1], :: steps[2]]


def dice_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss + cross-entropy, 1 : 1, for index labels.

    A class that was not annotated in a case is merged with the background there, so that either answer is right
    (marginal loss: Fang and Yan, IEEE TMI 39, 2020; Shi et al., Med. Image Anal. 70, 2021).

    Args:
        logits: `[batch, 1 + structure, i, j, k]`, the background first.
        labels: `[batch, i, j, k]` int64: 0 background, n the n-th structure.
        annotated: `[batch, structure]` bool.
    """
    if not bool(annotated.all()):
        known = torch.cat((torch.ones_like(annotated[:, :1]), annotated), dim=1)
        labels = labels * known.gather(1, labels.flatten(1)).view_as(labels)  # what is drawn of it is unknown too
        unknown = ~known[:, :, None, None, None]
        merged = logits.masked_fill(~unknown, EXCLUDED)
        background = torch.logsumexp(torch.cat((logits[:, :1], merged), dim=1), dim=1, keepdim=True)
        logits = torch.cat((background, logits[:, 1:].masked_fill(unknown[:, 1:], EXCLUDED)), dim=1)
    target = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)
    cross_entropy = F.cross_entropy(logits, labels, reduction="none").mean()  # torch's own mean varies on a GPU
    return cross_entropy + soft_dice_loss(logits.softmax(1)[:, 1:], target[:, 1:], annotated)


def dice_and_bce(logits: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss + binary cross-entropy, 1 : 1, for multi-hot labels; structures not annotated count nowhere.

    Args:
        logits: `[batch, structure, i, j, k]`.
        labels: `[batch, structure, i, j, k]` float 0/1.
        annotated: `[batch, structure]` bool.
    """
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean((2, 3, 4))
    cross_entropy = (each * annotated).sum() / annotated.sum().clamp_min(1)
    return cross_entropy + soft_dice_loss(logits.sigmoid(), labels, annotated)


def soft_dice_loss(shares: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """1 − soft Dice, its sums taken over the batch, its mean over the structures that the batch shows.

    A structure without a voxel in the batch has no Dice to rise; cross-entropy teaches its absence.

    Args:
        shares: `[batch, structure, i, j, k]` probabilities.
        target: The same shape, 0/1.
        annotated: `[batch, structure]` bool.
    """
    known = annotated[:, :, None, None, None].to(shares)
    shares, target = shares * known, target * known
    overlap = (shares * target).sum((0, 2, 3, 4))
    sizes = shares.sum((0, 2, 3, 4)) + target.sum((0, 2, 3, 4))
    shown = target.sum((0, 2, 3, 4)) > 0
    each = 1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)
    return (each * shown).sum() / shown.sum().clamp_min(1)
